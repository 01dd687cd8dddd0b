"""Load profiles: what a load is to be over time, as data, and the one text form that the CLI, TOML and the wire share.

``hold 10m @60, ramp 0->80 over 5m, sine 40±20 period 60s for 10m; repeat 3`` is a :class:`Profile` of three segments.
:mod:`stoker.protocol.profile_text` reads the text, :func:`spelled` writes it, :mod:`stoker.protocol.curve` tells the
target at any moment. docs/profiles.md describes the grammar for people. Pure: no clock, no files.

Levels are percent, 0 to 100. Durations are seconds; ``inf`` is for ever, None was left out. A level that was left out
is that at which the segment before ended.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

LONGEST = 10 * 365 * 86400.0
"""Seconds: the longest duration that can be written; what is longer is ``forever``."""

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
"""Seconds in each unit that a duration may have."""


@dataclass(frozen=True, slots=True)
class Hold:
    """``hold 10m @60``: one level."""

    seconds: float
    level: float | None = None


@dataclass(frozen=True, slots=True)
class Ramp:
    """``ramp 0->80 over 5m``: a straight line."""

    end: float
    seconds: float
    start: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """``step 20 [for 5m]``: a level at once; without a duration it stays until the end, or until the next segment."""

    level: float
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Sine:
    """``sine 40±20 period 60s [for 10m]``: from the middle up."""

    middle: float = 50.0
    swing: float = 50.0
    period: float = 60.0
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Square:
    """``square 10/90 period 30s duty 50 [for 5m]``: first ``high`` for ``duty`` percent of the period, then ``low``."""

    low: float = 0.0
    high: float = 100.0
    period: float = 60.0
    duty: float = 50.0
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Saw:
    """``saw 10->90 period 30s [for 5m]``: a straight line, over and over."""

    first: float = 0.0
    last: float = 100.0
    period: float = 60.0
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Noise:
    """``noise 50±10 seed 7 every 1s [for 1h]``: one level in ``middle ± swing`` after another, all equally likely."""

    middle: float = 50.0
    swing: float = 50.0
    seed: int = 0
    every: float = 1.0
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """``trace FILE [col=cpu] [t=time] [interp=linear] [loop] [scale 100] [speed 10] [gap 1h] [for 1d]``: a recording.

    Args:
        file: CSV or JSON lines, see :mod:`stoker.protocol.trace`.
        column: of the level: its name or, from 1, its number; None: the first that is not the time.
        time: of the seconds; None: the one that is called so.
        interp: ``step``: a level holds until the next; ``linear``: a straight line between them.
        loop: begin again at the end.
        scale: what the levels are multiplied with to be percent.
        speed: how many of its seconds pass in one.
        gap: seconds that two rows may be apart; None: ten times what is usual in the file.
        seconds: how long; None: as long as the file.
    """

    file: str
    column: str | None = None
    time: str | None = None
    interp: Literal["step", "linear"] = "step"
    loop: bool = False
    scale: float = 1.0
    speed: float = 1.0
    gap: float | None = None
    seconds: float | None = None


Segment: TypeAlias = Hold | Ramp | Step | Sine | Square | Saw | Noise | Trace


@dataclass(frozen=True, slots=True)
class Profile:
    """Segments, one after the other.

    Args:
        segments: at least one.
        repeat: how often all of it is gone through; ``inf``: for ever.
        speed: how many of its seconds pass in one.
        scale: what its levels are multiplied with.
    """

    segments: tuple[Segment, ...]
    repeat: float = 1
    speed: float = 1.0
    scale: float = 1.0

    @property
    def traces(self) -> tuple[Trace, ...]:
        """Its segments that are traces, in order."""
        return tuple(segment for segment in self.segments if isinstance(segment, Trace))


def spelled(profile: Profile) -> str:
    """A profile as text; reading it gives an equal profile."""
    often = "forever" if math.isinf(profile.repeat) else str(int(profile.repeat))
    whole = [f"repeat {often}"] if profile.repeat != 1 else []
    whole += [f"speed {number(profile.speed)}"] if profile.speed != 1 else []
    whole += [f"scale {number(profile.scale)}"] if profile.scale != 1 else []
    return "; ".join([", ".join(map(segment_text, profile.segments)), *whole])


def segment_text(segment: Segment) -> str:
    """One segment as text."""
    match segment:
        case Hold(seconds, level):
            return f"hold {duration(seconds)}" + ("" if level is None else f" @{number(level)}")
        case Ramp(end, seconds, start):
            return f"ramp {'' if start is None else number(start)}->{number(end)} over {duration(seconds)}"
        case Trace():
            return _trace(segment)
        case Step(level):
            text = f"step {number(level)}"
        case Sine(middle, swing, period):
            text = f"sine {number(middle)}±{number(swing)} period {duration(period)}"
        case Square(low, high, period, duty):
            text = f"square {number(low)}/{number(high)} period {duration(period)} duty {number(duty)}"
        case Saw(first, last, period):
            text = f"saw {number(first)}->{number(last)} period {duration(period)}"
        case Noise(middle, swing, seed, every):
            text = f"noise {number(middle)}±{number(swing)} seed {seed}"
            text += f" every {duration(every)}" if every != 1 else ""
    return text + _lasting(segment.seconds)


def _trace(trace: Trace) -> str:
    words = [f"trace {_word(trace.file)}"]
    words += [f"{key}={_word(value)}" for key, value in (("col", trace.column), ("t", trace.time)) if value is not None]
    words += [f"interp={trace.interp}"] if trace.interp != "step" else []
    words += ["loop"] if trace.loop else []
    words += [f"scale {number(trace.scale)}"] if trace.scale != 1 else []
    words += [f"speed {number(trace.speed)}"] if trace.speed != 1 else []
    words += [f"gap {duration(trace.gap)}"] if trace.gap is not None else []
    return " ".join(words) + _lasting(trace.seconds)


def _lasting(seconds: float | None) -> str:
    return "" if seconds is None else f" for {duration(seconds)}"


def _word(text: str) -> str:
    """As it is, where it can be read back so; else in quotes, with JSON's escapes."""
    return text if re.fullmatch(r"""[^\s,;"'#][^\s,;"']*""", text) else json.dumps(text, ensure_ascii=False)


def number(value: float) -> str:
    """As short as reads back equal."""
    return str(int(value)) if abs(value) < 1e15 and value == int(value) else repr(float(value))


def duration(seconds: float) -> str:
    """``1h30m``, ``90.5s``, ``forever``: reads back equal."""
    if math.isinf(seconds):
        return "forever"
    if seconds != int(seconds) or not seconds:
        return f"{number(seconds)}s"
    text, rest = "", int(seconds)
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, int(UNITS[unit]))
        text += f"{count}{unit}" if count else ""
    return text
