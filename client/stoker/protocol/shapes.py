"""The shapes that segments of a profile have: level, slope and exact integral over time. Pure.

Time ``t`` is seconds from the beginning of the segment; levels are percent. Between two moments of ``until`` a shape is
smooth, so that a level that is looked at there misses no edge.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Protocol

EDGE = 1e-9
"""Of a period: a moment that is this near to an edge has reached it (the sums of floats are not exact)."""

MOST_DRAWS = 100_000
"""Draws of noise that an integral adds up one by one; what is longer has the mean, from which they differ by less
than 0.2 % of the swing (standard error of a uniform distribution, three times)."""

_MASK = (1 << 64) - 1


class Shape(Protocol):
    """Levels over time."""

    def at(self, t: float) -> float:
        """The level."""

    def before(self, t: float) -> float:
        """The level that it comes from at ``t``: at an edge, that before it."""

    def slope(self, t: float) -> float:
        """How fast the level moves at most from here until :meth:`until`, points per second, 0 or above."""

    def until(self, t: float) -> float:
        """The next edge, after ``t``; ``inf``: none."""

    def area(self, begin: float, end: float) -> float:
        """The integral of the level, percent times seconds."""

    def span(self, seconds: float) -> tuple[float, float]:
        """What the level stays between in the first so many seconds."""

    def stretched(self, t: float, seconds: float, more: float) -> Shape:
        """The shape for a segment that was to last ``seconds`` and, at ``t``, is to last so many more."""


class Line:
    """A straight line, level before and after it.

    Args:
        start: level at 0.
        end: level at ``seconds``.
        seconds: above 0.
    """

    def __init__(self, start: float, end: float, seconds: float) -> None:
        self._start, self._end, self._seconds = start, end, seconds

    def at(self, t: float) -> float:
        """See :class:`Shape`."""
        if self._start == self._end:
            return self._end
        part = min(max(t / self._seconds, 0.0), 1.0)
        return self._start * (1 - part) + self._end * part

    def before(self, t: float) -> float:
        """See :class:`Shape`."""
        return self.at(t)

    def slope(self, t: float) -> float:
        """See :class:`Shape`."""
        return abs(self._end - self._start) / self._seconds if t < self._seconds else 0.0

    def until(self, t: float) -> float:
        """See :class:`Shape`."""
        return self._seconds if t < self._seconds and self._start != self._end else math.inf

    def area(self, begin: float, end: float) -> float:
        """See :class:`Shape`."""
        if self._start == self._end:
            return self._end * (end - begin)
        bend = min(max(begin, self._seconds), end)
        return (self.at(begin) + self.at(bend)) / 2 * (bend - begin) + self._end * (end - bend)

    def span(self, seconds: float) -> tuple[float, float]:
        """See :class:`Shape`."""
        ends = (self._start, self.at(seconds) if math.isfinite(seconds) else self._end)
        return min(ends), max(ends)

    def stretched(self, t: float, seconds: float, more: float) -> Shape:
        """See :class:`Shape`."""
        if self._start == self._end:
            return self
        ramp = Points([0.0, seconds], [self._start, self._end], linear=True, elastic=True)
        return ramp.stretched(t, seconds, more)


class Wave:
    """A sine, from the middle up.

    Args:
        middle: percent.
        swing: percent; it reaches from ``middle - swing`` to ``middle + swing``.
        period: seconds.
    """

    def __init__(self, middle: float, swing: float, period: float) -> None:
        self._middle, self._swing, self._pace = middle, swing, math.tau / period

    def at(self, t: float) -> float:
        """See :class:`Shape`."""
        return min(max(self._middle + self._swing * math.sin(self._pace * t), 0.0), 100.0)

    def before(self, t: float) -> float:
        """See :class:`Shape`."""
        return self.at(t)

    def slope(self, t: float) -> float:  # noqa: ARG002 - the same everywhere
        """See :class:`Shape`."""
        return self._swing * self._pace

    def until(self, t: float) -> float:  # noqa: ARG002 - it has none
        """See :class:`Shape`."""
        return math.inf

    def area(self, begin: float, end: float) -> float:
        """See :class:`Shape`."""
        waves = math.cos(self._pace * begin) - math.cos(self._pace * end)
        return self._middle * (end - begin) + self._swing / self._pace * waves

    def span(self, seconds: float) -> tuple[float, float]:
        """See :class:`Shape`."""
        turn = self._pace * seconds
        low = -1.0 if turn >= 0.75 * math.tau else min(0.0, math.sin(turn))
        high = 1.0 if turn >= 0.25 * math.tau else math.sin(turn)
        return self._middle + self._swing * low, self._middle + self._swing * high

    def stretched(self, t: float, seconds: float, more: float) -> Shape:  # noqa: ARG002 - it goes on as it is
        """See :class:`Shape`."""
        return self


class _Cycle:
    """Whole periods and what is over, with an edge counted as reached."""

    def __init__(self, period: float) -> None:
        self._period = period

    def _split(self, t: float) -> tuple[float, float]:
        turns = math.floor(t / self._period + EDGE)
        return turns, max(t - turns * self._period, 0.0)

    def _split_before(self, t: float) -> tuple[float, float]:
        turns, rest = self._split(t)
        return (turns - 1, self._period) if turns and rest <= EDGE * self._period else (turns, rest)


class Squares(_Cycle):
    """Two levels in turn.

    Args:
        low: the second level.
        high: the first level.
        period: seconds.
        duty: share of the period that the first has, 0 to 1.
    """

    def __init__(self, low: float, high: float, period: float, duty: float) -> None:
        super().__init__(period)
        self._low, self._high, self._turn = low, high, duty * period

    def at(self, t: float) -> float:
        """See :class:`Shape`."""
        return self._high if self._split(t)[1] < self._turn - EDGE * self._period else self._low

    def before(self, t: float) -> float:
        """See :class:`Shape`."""
        return self._high if self._split_before(t)[1] <= self._turn + EDGE * self._period and self._turn else self._low

    def slope(self, t: float) -> float:  # noqa: ARG002 - the same everywhere
        """See :class:`Shape`."""
        return 0.0

    def until(self, t: float) -> float:
        """See :class:`Shape`."""
        turns, rest = self._split(t)
        if self._turn and rest < self._turn - EDGE * self._period < self._period * (1 - 2 * EDGE):
            return turns * self._period + self._turn
        return (turns + 1) * self._period if 0 < self._turn < self._period else math.inf

    def area(self, begin: float, end: float) -> float:
        """See :class:`Shape`."""
        return self._sum(end) - self._sum(begin)

    def _sum(self, t: float) -> float:
        turns, rest = self._split(t)
        whole = self._high * self._turn + self._low * (self._period - self._turn)
        return turns * whole + self._high * min(rest, self._turn) + self._low * max(rest - self._turn, 0.0)

    def span(self, seconds: float) -> tuple[float, float]:
        """See :class:`Shape`."""
        levels = {self._high} if self._turn else set()
        levels |= {self._low} if self._turn < min(self._period, seconds) else set()
        return min(levels), max(levels)

    def stretched(self, t: float, seconds: float, more: float) -> Shape:  # noqa: ARG002 - it goes on as it is
        """See :class:`Shape`."""
        return self


class Saws(_Cycle):
    """A straight line, over and over.

    Args:
        first: level at the beginning of a period.
        last: level at its end.
        period: seconds.
    """

    def __init__(self, first: float, last: float, period: float) -> None:
        super().__init__(period)
        self._first, self._last = first, last

    def at(self, t: float) -> float:
        """See :class:`Shape`."""
        return self._level(self._split(t)[1])

    def _level(self, rest: float) -> float:
        part = min(rest / self._period, 1.0)
        return self._first * (1 - part) + self._last * part

    def before(self, t: float) -> float:
        """See :class:`Shape`."""
        return self._level(self._split_before(t)[1])

    def slope(self, t: float) -> float:  # noqa: ARG002 - the same everywhere
        """See :class:`Shape`."""
        return abs(self._last - self._first) / self._period

    def until(self, t: float) -> float:
        """See :class:`Shape`."""
        return (self._split(t)[0] + 1) * self._period

    def area(self, begin: float, end: float) -> float:
        """See :class:`Shape`."""
        return self._sum(end) - self._sum(begin)

    def _sum(self, t: float) -> float:
        turns, rest = self._split(t)
        whole = (self._first + self._last) / 2 * self._period
        return turns * whole + (self._first + (self._last - self._first) * rest / self._period / 2) * rest

    def span(self, seconds: float) -> tuple[float, float]:
        """See :class:`Shape`."""
        end = self._last if seconds >= self._period else self.at(seconds)
        return min(self._first, end), max(self._first, end)

    def stretched(self, t: float, seconds: float, more: float) -> Shape:  # noqa: ARG002 - it goes on as it is
        """See :class:`Shape`."""
        return self


class Draws(_Cycle):
    """Noise: another level, all in a band equally likely, at each turn.

    Draw number k of a seed is :func:`draw`, so that the same seed gives the same levels everywhere and at any position.

    Args:
        middle: percent.
        swing: percent; the levels are between ``middle - swing`` and ``middle + swing``.
        seed: from 0.
        every: seconds from draw to draw.
    """

    def __init__(self, middle: float, swing: float, seed: int, every: float) -> None:
        super().__init__(every)
        self._middle, self._swing, self._seed = middle, swing, seed

    def at(self, t: float) -> float:
        """See :class:`Shape`."""
        return self._draw(int(self._split(t)[0]))

    def _draw(self, number: int) -> float:
        return self._middle + self._swing * (2 * draw(self._seed, number) - 1)

    def before(self, t: float) -> float:
        """See :class:`Shape`."""
        return self._draw(int(self._split_before(t)[0]))

    def slope(self, t: float) -> float:  # noqa: ARG002 - the same everywhere
        """See :class:`Shape`."""
        return 0.0

    def until(self, t: float) -> float:
        """See :class:`Shape`."""
        return (self._split(t)[0] + 1) * self._period

    def area(self, begin: float, end: float) -> float:
        """See :class:`Shape`."""
        first, last = int(self._split(begin)[0]), int(self._split(end)[0])
        if last - first > MOST_DRAWS:
            return self._middle * (end - begin)
        edges = [begin, *(turn * self._period for turn in range(first + 1, last + 1)), end]
        return math.fsum(self._draw(first + at) * (b - a) for at, (a, b) in enumerate(pairwise(edges)))

    def span(self, seconds: float) -> tuple[float, float]:  # noqa: ARG002 - what it may be at any time
        """See :class:`Shape`."""
        return self._middle - self._swing, self._middle + self._swing

    def stretched(self, t: float, seconds: float, more: float) -> Shape:  # noqa: ARG002 - it goes on as it is
        """See :class:`Shape`."""
        return self


def draw(seed: int, number: int) -> float:
    """Number ``number`` of a sequence that is spread evenly over 0 to 1 (1 excluded).

    SplitMix64 (Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014): its state after so many
    steps is known without going through them. The sequences of neighbouring seeds have nothing in common: the seed is
    mixed by the same function first.
    """
    return (_mix(_mix(seed) + number * 0x9E3779B97F4A7C15) >> 11) / (1 << 53)


def _mix(state: int) -> int:
    state = (state + 0x9E3779B97F4A7C15) & _MASK
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    state = (state ^ state >> 27) * 0x94D049BB133111EB & _MASK
    return state ^ state >> 31


class Points:
    """Levels at given moments, and between them a straight line or the level before.

    Args:
        times: seconds, the first 0, rising.
        values: a level for each.
        linear: straight lines; else steps, and the last value is only where the last step ends.
        loop: begin again after the last; else its level stays.
        elastic: a segment that is to last longer has the rest stretched.
    """

    def __init__(
        self,
        times: Sequence[float],
        values: Sequence[float],
        *,
        linear: bool,
        loop: bool = False,
        elastic: bool = False,
    ) -> None:
        self._times, self._values = times, values
        self._linear, self._loop, self._elastic = linear, loop, elastic
        self.whole = times[-1]
        """Seconds from the first to the last."""
        self._sums = list(
            accumulate(
                (
                    (v + w) / 2 * (b - a) if linear else v * (b - a)
                    for (a, b), (v, w) in zip(*self._pairs(), strict=True)
                ),
                initial=0.0,
            )
        )

    def _pairs(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        return list(pairwise(self._times)), list(pairwise(self._values))

    def _split(self, t: float) -> tuple[float, float]:
        if not self._loop:
            return 0, t
        turns = math.floor(t / self.whole + EDGE)
        return turns, max(t - turns * self.whole, 0.0)

    def _piece(self, rest: float) -> int:
        """The number of the piece that a moment of one turn is in."""
        return min(bisect_right(self._times, rest + EDGE) - 1, len(self._times) - 2)

    def at(self, t: float) -> float:
        """See :class:`Shape`."""
        rest = self._split(t)[1]
        return self._values[-1] if rest >= self.whole else self._level(self._piece(rest), rest)

    def _level(self, piece: int, rest: float) -> float:
        if not self._linear:
            return self._values[piece]
        begin, end = self._times[piece], self._times[piece + 1]
        part = min(max((rest - begin) / (end - begin), 0.0), 1.0)
        return self._values[piece] * (1 - part) + self._values[piece + 1] * part

    def before(self, t: float) -> float:
        """See :class:`Shape`."""
        rest = self._split(t)[1]
        if t > 0 and self._loop and rest <= EDGE * self.whole:
            return self._values[-1]
        at = self._piece(rest)
        on_edge = not self._linear and at and rest <= self._times[at] + EDGE and rest < self.whole
        return self._values[at - 1] if on_edge else self.at(t)

    def slope(self, t: float) -> float:
        """See :class:`Shape`."""
        rest = self._split(t)[1]
        if not self._linear or rest >= self.whole:
            return 0.0
        at = self._piece(rest)
        return abs(self._values[at + 1] - self._values[at]) / (self._times[at + 1] - self._times[at])

    def until(self, t: float) -> float:
        """See :class:`Shape`."""
        turns, rest = self._split(t)
        if rest >= self.whole:
            return math.inf
        return turns * self.whole + self._times[self._piece(rest) + 1]

    def area(self, begin: float, end: float) -> float:
        """See :class:`Shape`."""
        return self._sum(end) - self._sum(begin)

    def _sum(self, t: float) -> float:
        turns, rest = self._split(t)
        if rest >= self.whole:
            return self._sums[-1] * (turns + 1) + self._values[-1] * (rest - self.whole)
        at = self._piece(rest)
        first = self._values[at]
        mean = (first + self._level(at, rest)) / 2 if self._linear else first
        return self._sums[-1] * turns + self._sums[at] + mean * (rest - self._times[at])

    def span(self, seconds: float) -> tuple[float, float]:
        """See :class:`Shape`."""
        values = [value for time, value in zip(self._times, self._values, strict=True) if time < seconds]
        values += [self.at(seconds)] if self._linear and seconds < self.whole else []
        return min(values), max(values)

    def stretched(self, t: float, seconds: float, more: float) -> Shape:
        """See :class:`Shape`."""
        if not self._elastic or t >= seconds:
            return self
        by = (seconds - t + more) / (seconds - t)
        later = [(time, value) for time, value in zip(self._times, self._values, strict=True) if time > t]
        past = [(time, value) for time, value in zip(self._times, self._values, strict=True) if time < t]
        points = [*past, (t, self.at(t)), *((t + (time - t) * by, value) for time, value in later)]
        times, values = zip(*points, strict=True)
        return Points(times, values, linear=True, elastic=True)
