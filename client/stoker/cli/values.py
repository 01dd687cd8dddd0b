"""What the text of an argument stands for: durations, core lists, percentages, values, NAME=VALUE.

Pure. Each of these raises :class:`UsageError`, which argparse is not asked to word.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from stoker.errors import EXIT_USAGE, StokerError

MAX_CPU = 4095
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}
_PART = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ms|s|m|h|d)"


class UsageError(StokerError):
    """The command line is not one that can be carried out."""

    code = "usage"
    exit_code = EXIT_USAGE


def duration(text: str) -> float:
    """Seconds in ``30``, ``30s``, ``1.5h``, ``500ms``, ``1h30m``; infinite for ``forever``.

    Raises:
        UsageError: not a duration.
    """
    word = text.strip().lower()
    if word in ("forever", "inf", "infinity"):
        return math.inf
    if re.fullmatch(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+", word):
        return float(word)
    if re.fullmatch(f"(?:{_PART})+", word):
        return sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, word))
    raise UsageError(
        f"{text!r} is not a duration",
        hint="write seconds or a number with a unit: 500ms, 30s, 10m, 1h30m, 2d, or forever",
    )


def positive_duration(text: str) -> float:
    """As :func:`duration`, and more than nothing.

    Raises:
        UsageError: not a duration, or 0.
    """
    seconds = duration(text)
    if seconds <= 0:
        raise UsageError(f"a duration of {text!r} is no time at all", hint="give more than 0, or forever")
    return seconds


def finite_duration(text: str) -> float:
    """As :func:`duration`, with an end.

    Raises:
        UsageError: not a duration, or ``forever``.
    """
    seconds = duration(text)
    if math.isinf(seconds):
        raise UsageError(f"{text!r} has no end here", hint="give a time such as 10s")
    return seconds


def cpus(text: str) -> tuple[int, ...]:
    """Core numbers in ``0-3,5``, in the order given, each once.

    Raises:
        UsageError: not a list of cores.
    """
    found: dict[int, None] = {}
    for part in text.split(","):
        span = re.fullmatch(r"\s*([0-9]{1,5})(?:-([0-9]{1,5}))?\s*", part)
        first, last = (int(span[1]), int(span[2] or span[1])) if span else (0, -1)
        if not span or last < first or last > MAX_CPU:
            raise UsageError(
                f"{text!r} is not a list of cores: {part!r}", hint="write numbers and ranges, such as 0-3,5"
            )
        found.update(dict.fromkeys(range(first, last + 1)))
    return tuple(found)


def percent(text: str) -> float:
    """A load from 0 to 100; a ``%`` at the end is allowed.

    Raises:
        UsageError: not a number from 0 to 100.
    """
    try:
        load = float(text.strip().removesuffix("%"))
    except ValueError:
        load = math.nan
    if not 0 <= load <= 100:
        raise UsageError(
            f"a load of {text!r} is not possible", hint="give percent of one core per process, from 0 to 100"
        )
    return load


def whole(text: str) -> int:
    """A whole number from 0.

    Raises:
        UsageError: not one.
    """
    if not re.fullmatch(r"[0-9]{1,12}", text.strip()):
        raise UsageError(f"{text!r} is not a whole number", hint="give a number such as 4")
    return int(text)


def count(text: str) -> int:
    """A whole number from 1.

    Raises:
        UsageError: not one.
    """
    if (number := whole(text)) < 1:
        raise UsageError(f"{text!r} is too few", hint="give at least 1")
    return number


def integer(text: str) -> int:
    """A whole number with a sign.

    Raises:
        UsageError: not one.
    """
    if not re.fullmatch(r"\s*[+-]?[0-9]{1,12}\s*", text):
        raise UsageError(f"{text!r} is not a whole number", hint="give a number such as 5 or -5")
    return int(text)


def job_id(text: str) -> int:
    """A job's id; ``#17`` is 17.

    Raises:
        UsageError: not a positive whole number.
    """
    word = text.strip().removeprefix("#")
    if not re.fullmatch(r"[0-9]{1,18}", word) or int(word) < 1:
        raise UsageError(f"{text!r} is not a job id", hint="an id is a number such as 17; `stoker jobs` lists them")
    return int(word)


def value(text: str) -> Any:
    """An argument of a function: JSON if it parses, else the text as it is."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text


def _refuse(word: str) -> None:
    raise ValueError(word)  # NaN and Infinity are Python's addition to JSON: here they are text


def named(text: str) -> tuple[str, str]:
    """The two sides of ``NAME=VALUE``.

    Raises:
        UsageError: there is no name or no ``=``.
    """
    name, equals, right = text.partition("=")
    if not equals or not name:
        raise UsageError(f"{text!r} is not NAME=VALUE", hint="write for instance --arg base=2")
    return name, right


def words(text: str) -> tuple[str, ...]:
    """A command line in one argument, split as a shell does.

    Raises:
        UsageError: nothing in it, or a quote that is not closed.
    """
    import shlex

    try:
        found = tuple(shlex.split(text))
    except ValueError as why:
        raise UsageError(f"{text!r} cannot be split into words: {why}", hint="close the quote") from None
    if not found:
        raise UsageError("an empty command", hint="give a program and its arguments in quotes")
    return found


def codes(text: str) -> tuple[int, ...]:
    """Exit codes in ``78,64``.

    Raises:
        UsageError: one is not from 1 to 255.
    """
    found = tuple(whole(part) for part in text.split(","))
    if not all(1 <= code <= 255 for code in found):
        raise UsageError(f"{text!r} holds something else than exit codes", hint="they are from 1 to 255")
    return found


def rlimit(text: str) -> tuple[str, int | str]:
    """``nofile=4096`` or ``core=unlimited``.

    Raises:
        UsageError: it is neither.
    """
    name, limit = named(text)
    return name.lower(), limit if limit == "unlimited" else whole(limit)


def spell(seconds: float | None) -> str:
    """Seconds for people: ``0.25s``, ``12s``, ``3m 05s``, ``2h 07m``, ``4d 02h``; ``forever`` without an end."""
    if seconds is None or math.isinf(seconds):
        return "forever"
    if seconds < 10:
        seconds = max(seconds, 0)
        return f"{seconds:.0f}s" if seconds == int(seconds) else f"{seconds:.2f}s"
    whole_seconds = round(seconds)
    for unit, size, below, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole_seconds >= size:
            return f"{whole_seconds // size}{unit} {whole_seconds % size // part:02d}{below}"
    return f"{whole_seconds}s"


def moment(text: str) -> float:
    """UTC seconds since the epoch of ``2030-01-31T08:00``, local unless it says otherwise, or of the next ``18:30``.

    Raises:
        UsageError: not a time.
    """
    from datetime import datetime, timedelta

    now = datetime.now().astimezone()
    clock = re.fullmatch(r"\s*([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?\s*", text)
    try:
        if clock:
            hour, minute, second = int(clock[1]), int(clock[2]), int(clock[3] or 0)
            today = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
            return (today if today > now else today + timedelta(days=1)).timestamp()
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        raise UsageError(
            f"{text!r} is not a time", hint="write 18:30 for the next half past six, or 2030-01-31T08:00"
        ) from None
