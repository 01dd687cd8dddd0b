"""The guards of all burners: read on one timer, while a burner that has any runs. Each knows whether it has tripped.

A guard trips as soon as its threshold is passed, and is clear when the reading has been back behind its ``clear`` value
for ``hold`` seconds without a break: a reading between the two changes nothing, so that a guard whose own effect
brings the reading back does not flutter. A sensor that fell silent counts as passed: a guard that sees nothing does not
let everything through. The grammar is :mod:`stoker.protocol.guards`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from stoker.protocol.guards import Guard
from stoker.protocol.models import GuardInfo
from stoker.protocol.states import GUARD_MOVES, GuardEvent, GuardState, step
from stokerd.burners import sensors
from stokerd.burners.host import Host, Snapshot, usage
from stokerd.burners.probe import Probe
from stokerd.child import Forker
from stokerd.clock import Clock, Timer

LOOK_SECONDS = 0.25
"""Between two looks at the sensors."""

STEAL_SECONDS = 1.0
"""Over which steal is taken: its counters move in steps of 10 ms."""

CAPPED = 0.5
"""The part of what it should burn that a capped burner does burn."""


class Post:
    """One guard of one burner.

    Args:
        guard: what to watch, and for what.
    """

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.state = GuardState.WATCHING
        self.reading: float | None = None
        self.reason = ""
        self._calm_since: float | None = None

    @property
    def tripped(self) -> bool:
        """It holds its burner back, or would."""
        return self.state is GuardState.TRIPPED

    def see(self, reading: float | None, now: float, what: str = "") -> bool:
        """Take a reading; True: it has tripped with it, or is clear again.

        Args:
            reading: in the guard's unit; None: the sensor says nothing.
            now: monotonic seconds.
            what: for a probe: what went wrong.
        """
        self.reading = reading
        if self.tripped:
            return self._is_over(reading, now)
        if reading is not None and not self.guard.exceeded(reading):
            return False
        self.state = step(GUARD_MOVES, self.state, GuardEvent.EXCEED)
        self._calm_since = None
        self.reason = f"guard {self.guard.text}: {what or _said(self.guard, reading)}"
        return True

    def _is_over(self, reading: float | None, now: float) -> bool:
        if reading is None or not self.guard.is_calm(reading):
            self._calm_since = None
            return False
        if self._calm_since is None:
            self._calm_since = now
        if now - self._calm_since < self.guard.hold:
            return False
        self.state, self.reason = step(GUARD_MOVES, self.state, GuardEvent.CALM), ""
        return True

    def info(self) -> GuardInfo:
        """Where it stands."""
        return GuardInfo(
            text=self.guard.text,
            action=self.guard.action,
            tripped=self.tripped,
            reading=self.reading,
            reason=self.reason,
        )


def brake(posts: Iterable[Post]) -> tuple[float, str]:
    """The part of what a burner should burn that its guards let through, and why it is not all."""
    tripped = {post.guard.action: post.reason for post in posts if post.tripped}
    for action, part in (("abort", 0.0), ("pause", 0.0), ("cap", CAPPED)):
        if action in tripped:
            return part, tripped[action]
    return 1.0, ""


def _said(guard: Guard, reading: float | None) -> str:
    if reading is None:
        return "its sensor says nothing any more"
    shown = {
        "memory": f"{reading / (1 << 20):.0f} MiB are available",
        "lateness": f"the loop is {reading * 1000:.0f} ms late",
    }
    return shown.get(guard.sensor, f"{guard.sensor} is {reading:g}")


class Guarded(Protocol):
    """A burner, as far as it is guarded."""

    @property
    def posts(self) -> Sequence[Post]:
        """Its guards, while it runs; none once it ends."""

    def guard_changed(self, post: Post) -> None:
        """A guard has tripped, or is clear again."""


class Sentry:
    """See the module.

    Args:
        clock: time.
        host: the machine.
        forker: who forks probes.
        burners: all that there are.
    """

    def __init__(self, clock: Clock, host: Host, forker: Forker, burners: Callable[[], Iterable[Guarded]]) -> None:
        self._clock, self._host, self._forker, self._burners = clock, host, forker, burners
        self._timer: Timer | None = None
        self._due = 0.0
        self._late = 0.0
        self._probes: dict[Post, Probe] = {}
        self._stolen: tuple[float, Snapshot] | None = None
        self._steal: float | None = None

    def settle(self) -> None:
        """Burners have come or gone: watch those that are there, and sleep where none is guarded."""
        posts = {post: burner for burner in self._burners() for post in burner.posts}
        for post in [post for post in self._probes if post not in posts]:
            self._probes.pop(post).close()
        for post, burner in posts.items():
            if post.guard.sensor == "probe" and post not in self._probes:
                self._probes[post] = self._probe(post, burner)
        reading = any(post.guard.sensor != "probe" for post in posts)
        if reading and self._timer is None:
            self._late, self._steal, self._stolen = 0.0, None, None
            self._next()
        elif not reading and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _probe(self, post: Post, burner: Guarded) -> Probe:
        def told(code: int, what: str) -> None:
            if post.see(float(code), self._clock.monotonic(), what):
                burner.guard_changed(post)

        probe = Probe(self._clock, self._forker, self._forker.default, post.guard.argv, told)
        self._clock.soon(probe.start)
        return probe

    def _next(self) -> None:
        self._due = self._clock.monotonic() + LOOK_SECONDS
        self._timer = self._clock.later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        now = self._clock.monotonic()
        self._late = max(0.0, now - self._due)
        self._next()
        readings: dict[str, float | None] = {}
        for burner in list(self._burners()):
            for post in list(burner.posts):
                sensor = post.guard.sensor
                if sensor == "probe":
                    continue
                if sensor not in readings:
                    readings[sensor] = self._read(sensor, now)
                if sensor == "steal" and readings[sensor] is None and self._host.times():
                    continue  # the first second is not over
                if post.see(readings[sensor], now):
                    burner.guard_changed(post)

    def _read(self, sensor: str, now: float) -> float | None:
        if sensor == "lateness":
            return self._late
        if sensor != "steal":
            return sensors.read(sensor, self._host)
        times = self._host.times()
        if not times:
            return None
        if self._stolen is None:
            self._stolen = (now, times)
        elif (seconds := now - self._stolen[0]) >= STEAL_SECONDS:
            stretch = usage(self._stolen[1], times, seconds)
            self._steal, self._stolen = stretch.percent(stretch.steal), (now, times)
        return self._steal
