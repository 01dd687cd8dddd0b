"""What a burner is asked for over time: a profile, and where in it the burner is. Pure: moments are handed in.

A :class:`Timeline` is a value. Its *position*, seconds from the beginning of the profile, is the burner's and not a
process's: a process that is replaced goes on where the others are. While a burner is paused its position stands still.
A burner without a profile has a timeline too: one level, for ever.

Processes are told one target at a time, so the daemon cuts what moves into *slices* and asks in each for the mean of
it: whatever the slices, the CPU seconds are those of the profile. A stretch that does not move is one slice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace as altered

from stoker.errors import IllegalMove
from stoker.protocol.curve import Curve, TracePoints, curve
from stoker.protocol.models import ProfileInfo
from stoker.protocol.profile import Profile, Ramp, Step, duration, spelled
from stoker.protocol.profile_text import parse

GRID = 0.05
"""Seconds: slices end on multiples of it, so that many burners that move are seen to in one turn of the loop."""

STEP_POINTS = 0.5
"""A target that moves is set anew when it is another by so many points: half of that is how far it is off, at most …"""

LONGEST_SLICE = 1.0
"""… and after so many seconds at the latest."""

_NEAR = 1e-6
"""Seconds: a timer that is this early is on time."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A stretch for which one target is asked.

    Args:
        until: moment of its end; ``inf``: none.
        area: the integral of the level over it, percent times seconds; of one without end: 0.
        level: the level, where it does not move.
        moves: it does.
    """

    until: float
    area: float
    level: float
    moves: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    """See the module.

    Args:
        curve: the levels.
        text: the profile, spelled anew; empty: there is none, and the curve is one level.
        began: the moment of position 0, were it never interrupted; None: it stands still.
        still: the position at which it stands.
    """

    curve: Curve
    text: str = ""
    began: float | None = None
    still: float = 0.0

    def position(self, now: float) -> float:
        """Seconds of the profile that are over."""
        return self.still if self.began is None else min(max(now - self.began, 0.0), self.curve.seconds)

    def at(self, position: float) -> float:
        """The level, percent."""
        return self.curve.at(position)

    def level(self, now: float) -> float:
        """The level at a moment, percent."""
        return self.at(self.position(now))

    def area(self, begin: float, end: float) -> float:
        """What is asked for between two moments, percent times seconds; it must not have been changed in between."""
        if self.began is None:
            return self.at(self.still) * (end - begin)
        return self.curve.area(begin - self.began, end - self.began)

    @property
    def ends(self) -> float:
        """The moment of its end; ``inf``: it has none, or stands still."""
        return math.inf if self.began is None else self.began + self.curve.seconds

    def is_over(self, now: float) -> bool:
        """The end is reached."""
        return now >= self.ends - _NEAR

    def slice(self, now: float) -> Slice:
        """The slice that begins now."""
        level = self.level(now)
        if self.began is None:
            return Slice(math.inf, 0.0, level, moves=False)
        position = self.position(now) + _NEAR
        edge = min(self.began + self.curve.next_change(position, 100.0), self.ends)
        change = self.began + self.curve.next_change(position, STEP_POINTS)
        if change >= edge:
            level = self.at(position)
            moves = abs(self.at(max(edge - self.began - _NEAR, 0.0)) - level) > _NEAR if edge < math.inf else False
            return Slice(edge, self.area(now, edge) if edge < math.inf else 0.0, level, moves=moves)
        step = min(change - now, LONGEST_SLICE)
        until = min(edge, max(math.floor((now + step) / GRID), math.floor(now / GRID + 0.5) + 1) * GRID)
        return Slice(until, self.area(now, until), level, moves=True)

    def run(self, now: float) -> Timeline:
        """Go on from where it stands."""
        return self if self.began is not None else altered(self, began=now - self.still)

    def stand(self, now: float) -> Timeline:
        """Stand still."""
        return altered(self, began=None, still=self.position(now))

    def skip(self, now: float) -> Timeline:
        """Go to where the next segment begins.

        Raises:
            IllegalMove: there is none.
        """
        self._require_profile()
        end = self.curve.place(self.position(now)).end
        if end >= self.curve.seconds:
            raise IllegalMove(
                "this is the last segment of the profile: there is none to skip to", hint="stop the burner"
            )
        return altered(self, still=end, began=None if self.began is None else now - end)

    def extend(self, now: float, seconds: float) -> Timeline:
        """Have the present segment last longer: the rest of a ramp is stretched, anything else goes on.

        Raises:
            IllegalMove: it has no end.
        """
        self._require_profile()
        position = self.position(now)
        if math.isinf(self.curve.place(position).leg.seconds):
            raise IllegalMove("the present segment has no end, and cannot be longer", hint="extend the time limit")
        return altered(self, curve=self.curve.extended(position, seconds))

    def _require_profile(self) -> None:
        if not self.text:
            raise IllegalMove("this burner follows no profile", hint="start it with a profile, or ramp to a load")

    def info(self, now: float) -> ProfileInfo | None:
        """Where it is; None: there is no profile."""
        if not self.text:
            return None
        position = self.position(now)
        place, whole = self.curve.place(position), self.curve.seconds
        count = len(self.curve.round)
        return ProfileInfo(
            text=self.text,
            position=round(position, 3),
            seconds=_finite(whole),
            remaining=_finite(whole - position),
            segment=place.leg.number,
            segments=count,
            now=place.leg.text,
            now_position=round(min(max(position - place.begin, 0.0), place.leg.seconds), 3),
            now_seconds=_finite(place.leg.seconds),
            round=place.index // count + 1,
            rounds=None if math.isinf(self.curve.times) else int(self.curve.times),
        )


def constant(load: float) -> Timeline:
    """No profile: one level, percent."""
    return Timeline(curve(Profile((Step(load),))))


def followed(text: str, traces: Sequence[TracePoints] = (), *, start: float = 0.0) -> Timeline:
    """A profile, from its beginning.

    Args:
        text: the profile.
        traces: the points of each trace in it, in order.
        start: percent; what a first segment that names no level begins at.

    Raises:
        BadProfile: the text describes none, or the traces are not those that it names.
    """
    profile = parse(text)
    return Timeline(curve(profile, traces, start=start), spelled(profile))


def ramp(start: float, end: float, seconds: float) -> Timeline:
    """A ramp between two levels, percent, and then the second for ever."""
    profile = Profile((Ramp(end, seconds, round(start, 3)), Step(end)))
    return Timeline(curve(profile), spelled(profile))


def over(timeline: Timeline) -> str:
    """What to say of a burner whose profile is over."""
    return f"its profile of {duration(round(timeline.curve.seconds, 3))} is over"


def _finite(seconds: float) -> float | None:
    return None if math.isinf(seconds) else round(max(seconds, 0.0), 3)
