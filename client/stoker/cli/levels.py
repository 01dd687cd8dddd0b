"""What calls took at each level of a load: from when each ran, and what the load was to be then. Pure.

A level is one number where the profile holds it: in ``hold``, ``step`` and ``square``. Elsewhere, as in a ramp, it is a
band of ten points. A call belongs to the level at the middle of its time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from stoker.cli import render
from stoker.protocol.curve import Curve
from stoker.protocol.shapes import Line, Squares

BAND = 10
LOOK = 1.0
"""Seconds that a look is about."""

_MOMENTS = 20_000
"""Moments of a profile that are looked at, to know how long it is at each level."""

_BAR = 40
Map = dict[str, Any]


class Level(NamedTuple):
    """A level in percent; ``low`` = ``high`` where the profile holds it, else a band."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g} %" if self.low == self.high else f"{self.low:g} to {self.high:g} %"


class Outcome(NamedTuple):
    """One call; times in seconds from the beginning of the profile.

    Args:
        begin: when it was handed in.
        end: when its result was there.
        failed: it raised, or was ended.
    """

    begin: float
    end: float
    failed: bool


class Look(NamedTuple):
    """What the burner burnt in the second before a moment.

    Args:
        at: the middle of that second, from the beginning of the profile.
        achieved: percent.
    """

    at: float
    achieved: float


def level_at(curve: Curve, position: float) -> Level:
    """The level at a position of a profile."""
    shape, value = curve.place(position).leg.shape, round(curve.at(position), 6)
    if isinstance(shape, Squares) or (isinstance(shape, Line) and shape.slope(0.0) == 0):
        return Level(value, value)
    low = min(int(value // BAND) * BAND, 100 - BAND)
    return Level(low, low + BAND)


def figures(curve: Curve, seconds: float, outcomes: Sequence[Outcome], looks: Sequence[Look] = ()) -> list[Map]:
    """One map for each level, the lowest first; times in seconds.

    Args:
        curve: of the profile.
        seconds: how much of it.
        outcomes: the calls; those whose middle lies outside of it do not count.
        looks: at the burner.
    """
    lasted: dict[Level, float] = {}
    for number in range(_MOMENTS):
        level = level_at(curve, (number + 0.5) * seconds / _MOMENTS)
        lasted[level] = lasted.get(level, 0.0) + seconds / _MOMENTS
    calls: dict[Level, list[Outcome]] = {level: [] for level in lasted}
    for outcome in outcomes:
        if 0 <= (middle := (outcome.begin + outcome.end) / 2) < seconds:
            calls.setdefault(level_at(curve, middle), []).append(outcome)
    burnt: dict[Level, list[float]] = {}
    for look in looks:
        first, last = look.at - LOOK / 2, look.at + LOOK / 2
        if first >= 0 and level_at(curve, first) == (level := level_at(curve, last)):
            burnt.setdefault(level, []).append(look.achieved)
    return [_figures(level, lasted.get(level, 0.0), calls[level], burnt.get(level, [])) for level in sorted(calls)]


def _figures(level: Level, seconds: float, outcomes: Sequence[Outcome], burnt: Sequence[float]) -> Map:
    took = sorted(outcome.end - outcome.begin for outcome in outcomes if not outcome.failed)
    return {
        "level": level.low if level.low == level.high else [level.low, level.high],
        "achieved": round(sum(burnt) / len(burnt), 3) if burnt else None,
        "seconds": round(seconds, 3),
        "calls": len(outcomes),
        "failed": sum(outcome.failed for outcome in outcomes),
        "per_second": round(len(took) / seconds, 3) if seconds else None,
        **{f"p{percent}": percentile(took, percent) for percent in (50, 90, 99)},
    }


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """The nearest-rank percentile: the least value that so many percent are not above; None: there are none."""
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)] if ordered else None


def table(rows: Sequence[Map], *, colour: bool = False) -> str:
    """The figures as a table."""
    head = (">LOAD", ">BURNT", ">CALLS", ">FAILED", ">PER SECOND", ">P50", ">P90", ">P99")
    cells = [
        (
            _name(row),
            "-" if row["achieved"] is None else f"{row['achieved']:.1f} %",
            row["calls"],
            row["failed"],
            "-" if row["per_second"] is None else f"{row['per_second']:.1f}",
            *(_spell(row[key]) for key in ("p50", "p90", "p99")),
        )
        for row in rows
    ]
    return render.table(head, cells, colour=colour)


def plot(rows: Sequence[Map]) -> str:
    """A bar for each level: full up to the median, shaded up to the 99th percentile; all on one scale from 0."""
    most = max((row["p99"] for row in rows if row["p99"] is not None), default=0.0)
    if not most:
        return ""
    width = max(len(_name(row)) for row in rows)
    lines = [f"{'':>{width}}  █ up to p50  ▒ up to p90  ░ up to p99"]
    for row in rows:
        if row["p99"] is None:
            continue
        p50, p90, p99 = (max(1, round(row[key] / most * _BAR)) for key in ("p50", "p90", "p99"))
        bar = "█" * p50 + "▒" * (p90 - p50) + "░" * (p99 - p90)
        lines.append(f"{_name(row):>{width}}  {bar} {_spell(row['p99'])}")
    return "\n".join(lines)


def _name(row: Map) -> str:
    level = row["level"]
    return str(Level(*level) if isinstance(level, list) else Level(level, level))


def _spell(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
