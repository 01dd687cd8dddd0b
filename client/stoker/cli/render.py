"""How things look: plain values for ``--json``, aligned tables, colour, times.

Pure but for :func:`wants_colour`. No rich: ``status`` must start fast.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_GOOD = frozenset({"running", "up", "done", "idle", "busy", "ready", "ok", "watching"})
_BAD = frozenset(
    {"failed", "worker-died", "timed-out", "quarantined", "lost-with-daemon", "dead", "fail", "flapping", "fatal"}
)
_MIDDLE = frozenset(
    {"starting", "stopping", "backoff", "paused", "cancelled", "draining", "warn", "tripped", "waiting"}
)
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def wants_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether ``stream`` shows colours: a terminal that is not dumb, and no ``NO_COLOR``."""
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb" and stream.isatty()


def paint(text: str, style: str, *, colour: bool) -> str:
    """``text`` in a style, or as it is."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if colour and text else text


def state(word: str, *, colour: bool) -> str:
    """A state in the colour of its meaning."""
    for words, style in ((_GOOD, "green"), (_BAD, "red"), (_MIDDLE, "yellow")):
        if word in words:
            return paint(word, style, colour=colour)
    return word


def table(head: Sequence[str], rows: Sequence[Sequence[object]], *, colour: bool = False) -> str:
    """Aligned columns under a head; a column whose head starts with ``>`` is aligned to the right."""
    right = [title.startswith(">") for title in head]
    lines = [[title.removeprefix(">") for title in head], *([str(cell) for cell in row] for row in rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(head))]
    out = []
    for number, line in enumerate(lines):
        cells = [
            " " * (width - _width(cell)) + cell if flush else cell + " " * (width - _width(cell))
            for cell, width, flush in zip(line, widths, right, strict=True)
        ]
        text = "  ".join(cells).rstrip()
        out.append(paint(text, "bold", colour=colour) if number == 0 else text)
    return "\n".join(out)


def _width(cell: str) -> int:
    return len(_ESCAPE.sub("", cell))


def clean(text: str) -> str:
    """Text for one line of a terminal: control characters are shown, not obeyed."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def shorten(text: str, width: int) -> str:
    """At most ``width`` characters, the last an ellipsis where something was cut."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def plain(value: Any) -> Any:
    """A MessagePack value as a JSON value: bytes become ``{"base64": …}``, what JSON lacks becomes text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else _key(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(value).decode()}
    return repr(value)


def _key(key: Any) -> str:
    return key.decode(errors="backslashreplace") if isinstance(key, bytes) else str(key)


def as_json(value: Any) -> str:
    """One line of JSON."""
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False)


def result(value: Any) -> str:
    """A job's value for people: text as it is, JSON where it has a JSON form, else its repr."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return repr(value)


def clock(seconds: float | None) -> str:
    """A moment in local time: the time of day, with the date where it is not today."""
    if not seconds:
        return "-"
    then = time.localtime(seconds)
    today = time.localtime()[:3] == then[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", then)


def size(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def cores(numbers: Sequence[int]) -> str:
    """Core numbers as ``0-3,5``."""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in spans)


def terminal_width(default: int = 80) -> int:
    """Columns of the terminal; ``COLUMNS`` first, as everywhere."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns) > 0:
        return int(columns)
    for fd in (1, 2, 0):
        try:
            return os.get_terminal_size(fd).columns or default
        except OSError:
            continue
    return default
