"""What a profile amounts to: the target at any moment, its exact integral, and when it changes next. Pure.

A :class:`Curve` is laid out from a :class:`~stoker.protocol.profile.Profile` and the points of its traces. A *position*
is seconds from its beginning. It is a row of *legs*, one for each segment, which the profile's ``repeat`` has over and
over; a segment without a duration lasts until the end if it is the last, else as long as is natural to it: a step no
time, a wave one period, a trace once through.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from dataclasses import replace as altered
from itertools import accumulate

from stoker.errors import BadProfile
from stoker.protocol.profile import (
    Hold,
    Noise,
    Profile,
    Ramp,
    Saw,
    Segment,
    Sine,
    Square,
    Step,
    Trace,
    number,
    segment_text,
)
from stoker.protocol.shapes import Draws, Line, Points, Saws, Shape, Squares, Wave

TracePoints = Sequence[tuple[float, float]]
"""``(seconds, percent)``, times rising."""

MOST_POINTS = 131_072
"""Points of all traces of one profile together: a day and a half at one a second."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One segment as it is gone through.

    Args:
        shape: its levels.
        seconds: how long; ``inf``: for ever.
        number: of the segment in the profile, from 1.
        text: the segment as written.
    """

    shape: Shape
    seconds: float
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a position is.

    Args:
        leg: on which leg.
        begin: position at which it began.
        index: of the leg, counted through all rounds from 0.
    """

    leg: Leg
    begin: float
    index: int

    @property
    def end(self) -> float:
        """Position at which it ends."""
        return self.begin + self.leg.seconds


class Curve:
    """See the module; unchangeable.

    Args:
        round: the legs of one round.
        times: how many rounds; ``inf``: for ever.
    """

    def __init__(self, round: Sequence[Leg], times: float = 1) -> None:  # noqa: A002 - the word for it
        self.round = tuple(round)
        self.times = times
        self._head: tuple[Leg, ...] = ()
        self._index = 0
        self._begin = 0.0
        self._round_sum: float | None = None
        self._near: Place | None = None  # where was looked last, which is mostly where is looked next
        self._lay()

    def _lay(self) -> None:
        self._starts = list(accumulate((leg.seconds for leg in self._head), initial=self._begin))
        self._round_starts = list(accumulate((leg.seconds for leg in self.round), initial=0.0))
        rounds = self.times - (self._index + len(self._head)) / len(self.round)
        self.seconds = self._starts[-1] + (self._round_starts[-1] * rounds if rounds > 0 else 0.0)
        """Position of the end; ``inf``: there is none."""

    def place(self, position: float) -> Place:
        """Where a position is; before the beginning and after the end: on the first and on the last leg."""
        near = self._near
        if near is not None and near.begin <= position < near.end:
            return near
        self._near = self._found(position)
        return self._near

    def _found(self, position: float) -> Place:
        if position < self._starts[-1]:
            at = max(bisect_right(self._starts, position) - 1, 0)
            return Place(self._head[at], self._starts[at], self._index + at)
        done = (self._index + len(self._head)) // len(self.round)
        if done >= self.times:
            return Place(self._head[-1], self._starts[-2], self._index + len(self._head) - 1)
        whole = self._round_starts[-1]
        past = position - self._starts[-1]
        turn = 0 if math.isinf(whole) else max(min(math.floor(past / whole + 1e-12), self.times - done - 1), 0)
        begin = self._starts[-1] + (turn * whole if turn else 0.0)
        at = min(max(bisect_right(self._round_starts, position - begin) - 1, 0), len(self.round) - 1)
        while at and not self.round[at].seconds:  # the end is on the last leg that takes time
            at -= 1
        return Place(self.round[at], begin + self._round_starts[at], (done + int(turn)) * len(self.round) + at)

    def at(self, position: float) -> float:
        """The level, percent."""
        place = self.place(position)
        if position >= self.seconds:
            return place.leg.shape.before(place.leg.seconds)
        return place.leg.shape.at(min(max(position - place.begin, 0.0), place.leg.seconds))

    def area(self, begin: float, end: float) -> float:
        """The integral of the level between two positions, percent times seconds; nothing beyond the end."""
        total, end = [], min(end, self.seconds)
        while begin < end:
            place = self.place(begin)
            if (rounds := self._rounds(place, begin, end)) > 1:
                total.append(rounds * self._round_area())
                begin += rounds * self._round_starts[-1]
                continue
            until = min(max(place.end, math.nextafter(begin, math.inf)), end)
            total.append(place.leg.shape.area(max(begin - place.begin, 0.0), until - place.begin))
            begin = until
        return math.fsum(total)

    def _rounds(self, place: Place, begin: float, end: float) -> int:
        """How many whole rounds lie between two positions, the first of which is at the beginning of one; else 0."""
        whole = self._round_starts[-1]
        if begin > place.begin or place.index % len(self.round) or place.leg is not self.round[0] or math.isinf(whole):
            return 0
        return int((end - begin) / whole) if whole else 0

    def _round_area(self) -> float:
        if self._round_sum is None:
            self._round_sum = math.fsum(leg.shape.area(0.0, leg.seconds) for leg in self.round if leg.seconds)
        return self._round_sum

    def next_change(self, position: float, points: float = 0.0) -> float:
        """The next position at which the level is another, or another by so many points; ``inf``: it stays."""
        place = self.place(position)
        t = max(position - place.begin, 0.0)
        shape = place.leg.shape
        slope = shape.slope(t)
        steady = min(shape.until(t), place.leg.seconds)
        change = place.begin + (min(steady, t + points / slope) if slope else steady)
        return max(change, position)

    def legs(self) -> Iterator[tuple[float, Leg]]:
        """Each leg of the first round, with the position at which it begins."""
        return zip(self._round_starts, self.round, strict=False)

    @property
    def highest(self) -> float:
        """The level that it never goes above, percent."""
        return min(max(leg.shape.span(leg.seconds)[1] for leg in self.round if leg.seconds), 100.0)

    def mean(self) -> float:
        """The mean level of one round that has an end, percent."""
        whole = self._round_starts[-1]
        return self._round_area() / whole if 0 < whole < math.inf else self.at(0.0)

    def extended(self, position: float, seconds: float) -> Curve:
        """The same, but the leg at this position lasts longer: the rest of a ramp is stretched, all else goes on.

        What lies before this leg is forgotten. Legs of later rounds are as they were.
        """
        place = self.place(position)
        longer = altered(
            place.leg,
            shape=place.leg.shape.stretched(min(position - place.begin, place.leg.seconds), place.leg.seconds, seconds),
            seconds=place.leg.seconds + seconds,
        )
        rest: list[Leg] = list(self._head[place.index - self._index + 1 :])
        if place.index >= self._index + len(self._head):
            rest = list(self.round[place.index % len(self.round) + 1 :])
        curve = Curve(self.round, self.times)
        curve._head, curve._index, curve._begin = (longer, *rest), place.index, place.begin
        curve._lay()
        return curve


def curve(profile: Profile, traces: Sequence[TracePoints] = (), *, start: float = 0.0) -> Curve:
    """Lay a profile out.

    Args:
        profile: what to lay out.
        traces: the points of each of its traces, in order.
        start: percent; what a first segment that names no level begins at.

    Raises:
        BadProfile: there are more or fewer traces than it names, they are too long together, do not rise in time, or
            have levels outside 0 to 100.
    """
    if len(traces) != len(profile.traces):
        raise BadProfile(
            f"the profile has {len(profile.traces)} traces, and the points of {len(traces)} came with it",
            hint="a trace is read by the client, which sends its points along",
        )
    if (total := sum(map(len, traces))) > MOST_POINTS:
        raise BadProfile(
            f"the traces have {total} points together, and {MOST_POINTS} can be followed", hint="thin them out"
        )
    legs, level, found = [], start / profile.scale, iter(traces)
    for count, segment in enumerate(profile.segments, 1):
        last = count == len(profile.segments) and profile.repeat == 1
        points = next(found) if isinstance(segment, Trace) else ()
        leg = _leg(segment, count, level, points, profile, last=last)
        legs.append(leg)
        level = leg.shape.before(min(leg.seconds, 1e12)) / profile.scale
    return Curve(legs, profile.repeat)


def _leg(
    segment: Segment, count: int, level: float, points: TracePoints, profile: Profile, *, last: bool
) -> Leg:  # scaled and at the profile's speed
    shape, natural = _shape(segment, count, level, points, profile)
    seconds = natural if segment.seconds is None else segment.seconds / profile.speed
    if segment.seconds is None and last and not (isinstance(segment, Trace) and not segment.loop):
        seconds = math.inf
    return Leg(shape, seconds, count, segment_text(segment))


def _shape(segment: Segment, count: int, level: float, points: TracePoints, profile: Profile) -> tuple[Shape, float]:
    """Its levels over time, and how long it lasts where it does not say."""
    by, fast = profile.scale, profile.speed
    match segment:
        case Hold(seconds, wanted):
            flat = (level if wanted is None else wanted) * by
            return Line(flat, flat, 1.0), seconds / fast
        case Step(wanted):
            return Line(wanted * by, wanted * by, 1.0), 0.0
        case Ramp(end, seconds, start):
            return Line((level if start is None else start) * by, end * by, seconds / fast), seconds / fast
        case Sine(middle, swing, period):
            return Wave(middle * by, swing * by, period / fast), period / fast
        case Square(low, high, period, duty):
            return Squares(low * by, high * by, period / fast, duty / 100), period / fast
        case Saw(first, end, period):
            return Saws(first * by, end * by, period / fast), period / fast
        case Noise(middle, swing, seed, every):
            return Draws(middle * by, swing * by, seed, every / fast), 0.0
        case Trace():
            return _trace(segment, count, points, profile)


def _trace(trace: Trace, count: int, points: TracePoints, profile: Profile) -> tuple[Points, float]:
    if len(points) < 2:
        raise BadProfile(f"the trace of segment {count} has {len(points)} points, and needs two", hint="record more")
    first, fast = points[0][0], trace.speed * profile.speed
    before = -math.inf
    for seconds, level in points:
        if not seconds > before or math.isinf(seconds):
            raise BadProfile(
                f"the trace of segment {count} does not rise in time at {number(seconds)} s",
                hint="each point comes after the one before it",
            )
        if not 0 <= level * profile.scale <= 100:
            raise BadProfile(
                f"the trace of segment {count} has a level of {number(level * profile.scale)} at {number(seconds)} s,"
                " outside 0 to 100",
                hint="`scale` brings it there",
            )
        before = seconds
    linear = trace.interp == "linear"
    times = [(seconds - first) / fast for seconds, _ in points]
    if not linear:  # the last level lasts as long as the one before
        times.append(2 * times[-1] - times[-2])
    values = [level * profile.scale for _, level in points]
    shape = Points(times, values if linear else [*values, values[-1]], linear=linear, loop=trace.loop)
    return shape, times[-1]
