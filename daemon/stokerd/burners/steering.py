"""What becomes of a burner's timeline when somebody steers it: another load, a ramp, another profile, skip, extend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace as altered

from stoker.errors import InvalidParams
from stoker.protocol.curve import TracePoints
from stokerd.burners.settings import Settings, check_load
from stokerd.burners.timeline import Timeline, constant, followed, ramp

RAMP_SECONDS = 30.0
"""Of a ramp that does not say how long it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steer:
    """What is asked of a burner that runs; at most one of these, but for what belongs to it.

    Args:
        load: leave the profile for this level, percent.
        profile: follow this one from now on.
        traces: the points of each trace in it, in order.
        ramp_to: leave the profile for a ramp from the present target to this one, percent.
        over: seconds of the ramp; None: :data:`RAMP_SECONDS`.
        skip: go to the next segment of the profile.
        extend: seconds that its present segment is to last longer.
    """

    load: float | None = None
    profile: str | None = None
    traces: Sequence[TracePoints] = ()
    ramp_to: float | None = None
    over: float | None = None
    skip: bool = False
    extend: float | None = None

    @property
    def leaves(self) -> bool:
        """What was followed so far is left."""
        return self.load is not None or self.profile is not None or self.ramp_to is not None


def asked(profile: str | None, traces: Sequence[TracePoints], load: float | None) -> Timeline | None:
    """The profile that a burner is to start with; None: it has none, and a load.

    Raises:
        InvalidParams: it has neither, or the load is outside 0 to 100.
        BadProfile: the profile can't be followed.
    """
    if load is not None:
        check_load(load)
    if profile is not None:
        return followed(profile, traces, start=load or 0.0)
    if traces:
        raise InvalidParams("there are traces and no profile that names them", hint="give the profile as well")
    if load is None:
        raise InvalidParams("a burner needs a load or a profile", hint="give load in percent, such as 50")
    return None


def steered(steer: Steer, present: Timeline, now: float) -> Timeline | None:
    """What a burner is to follow from now on; None: what it does.

    Raises:
        InvalidParams: two things at once, or a level outside 0 to 100.
        BadProfile: the profile can't be followed.
        IllegalMove: there is nothing to skip or to extend.
    """
    _check(steer)
    if steer.load is not None:
        return constant(steer.load)
    if steer.profile is not None:
        return followed(steer.profile, steer.traces, start=present.level(now))
    if steer.ramp_to is not None:
        return ramp(present.level(now), steer.ramp_to, RAMP_SECONDS if steer.over is None else steer.over)
    if steer.skip:
        return present.skip(now)
    return None if steer.extend is None else present.extend(now, steer.extend)


def _check(steer: Steer) -> None:
    each = {name: getattr(steer, name) for name in ("load", "profile", "ramp_to", "extend")} | {
        "skip": steer.skip or None
    }
    wanted = [name for name, value in each.items() if value is not None]
    if len(wanted) > 1:
        raise InvalidParams(f"{wanted[0]} and {wanted[1]} at once mean nothing", hint="set one after the other")
    if steer.over is not None and steer.ramp_to is None:
        raise InvalidParams("over is the time of a ramp, and there is none", hint="give ramp_to as well")
    if steer.traces and steer.profile is None:
        raise InvalidParams("there are traces and no profile that names them", hint="give the profile as well")
    for level in (steer.load, steer.ramp_to):
        if level is not None:
            check_load(level)


def limited(
    settings: Settings, steer: Steer, timeline: Timeline, *, given: bool, default: float
) -> tuple[Settings, bool]:
    """The settings with another timeline, and whether the time limit in them counts from now.

    A profile that has an end is its own time limit. Who leaves one for something without an end has the default time
    limit from then on; any other time limit stays.

    Args:
        settings: as they were.
        steer: what was asked for.
        timeline: what came of it.
        given: a time limit was asked for as well.
        default: seconds of the default time limit.
    """
    if not steer.leaves:
        return settings, given
    fresh = steer.profile is not None
    bounded = fresh and not given and not math.isinf(timeline.curve.seconds)
    unbounded = not bounded and not given and (settings.by_profile or fresh)
    seconds = math.inf if bounded else default if unbounded else settings.seconds
    changed = altered(settings, load=timeline.curve.highest, seconds=seconds, by_profile=bounded)
    return changed, given or bounded or unbounded
