"""One burner: a named load, from the order to start it until the last of its processes is reaped.

It answers when a thing is *done*: a start or a change when every process has shown the load (see
:mod:`stokerd.burners.burn`), a stop when nothing of it is left. Its states are those of
:data:`stoker.protocol.states.BURNER_MOVES`. A burner that ended is forgotten; one that failed after it was up stays
listed, with the reason, until somebody stops or replaces it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from stoker.errors import DeadlineExceeded, IllegalMove, StartFailed, StokerError
from stoker.protocol.events import BurnerChanged
from stoker.protocol.models import BurnerInfo
from stoker.protocol.states import BURNER_MOVES, BurnerEvent, BurnerState, step
from stokerd.burners.course import Course
from stokerd.burners.crew import DEATH_SECONDS, DEATHS, Crew, Place
from stokerd.burners.guards import Post
from stokerd.burners.hearth import ENDED, Hearth
from stokerd.burners.limit import TimeLimit
from stokerd.burners.settings import Settings
from stokerd.burners.stage import Stage
from stokerd.burners.timeline import Timeline, constant, over
from stokerd.burners.waits import Waits
from stokerd.bus import Bus
from stokerd.child import Forker
from stokerd.clock import Clock
from stokerd.promise import Promise

GRACE_SECONDS = 2.0
"""From the stop flag to SIGKILL, unless somebody says otherwise."""

OBSERVE_SECONDS, OBSERVE_SECONDS_EACH = 10.0, 0.1
"""For a load to be observed: once, and for every process (they share the cores)."""

FILL_RATE = 200e6
"""Bytes per second at which memory is filled at least: a busy, slow machine."""


class Burner:
    """See the module.

    Args:
        clock: time; its monotonic time must be CLOCK_MONOTONIC.
        bus: told of every change.
        forker: who forks.
        stage: what it shares with the other burners.
        settings: what it should be, checked.
        on_gone: called when it is to be forgotten.
    """

    def __init__(
        self,
        clock: Clock,
        bus: Bus,
        forker: Forker,
        stage: Stage,
        settings: Settings,
        on_gone: Callable[[Burner], None],
    ) -> None:
        self._clock, self._bus, self._stage, self._on_gone = clock, bus, stage, on_gone
        self.settings = settings
        self.state = BurnerState.STARTING
        self._reason = "starting: its load has not been observed yet"
        self._crew = Crew(clock, forker, settings, self)
        self._epoch = 1
        self.hearth = Hearth(clock, bus, stage, self._crew, self)
        """Its load, for the stage."""
        self._started = clock.time()
        self._limit = TimeLimit(clock, lambda reason: self.stop(reason=reason))
        self._course = Course(clock, settings.profile or constant(settings.load), self._moved, self._course_over)
        self._verdict: StokerError | None = None
        self._waits = Waits(clock)
        self._stops: list[Promise[str]] = []

    @property
    def size(self) -> int:
        """Processes that it should have; 0 once it ends."""
        return self.hearth.size

    @property
    def overdue(self) -> int:
        """Its processes that were killed and did not end."""
        return self._crew.overdue

    def start(self) -> Promise[BurnerInfo]:
        """Start its processes; settles when each has shown the load, or when all are reaped and it has failed."""
        patience = _patience(self.settings)
        self._limit.set(patience + self.settings.seconds)  # until its load is observed, from when on it counts
        self._announce()
        promise = self._waits.add(self._epoch, patience, self._late)
        try:
            self._crew.resize(self.settings.workers, GRACE_SECONDS)
        except StokerError as why:
            self._fail(why)
        return promise

    @property
    def timeline(self) -> Timeline:
        """What it is asked for over time, and where in it it is."""
        return self._course.timeline

    def change(
        self, settings: Settings, *, paused: bool | None, limit: bool, timeline: Timeline | None = None
    ) -> Promise[BurnerInfo]:
        """Be otherwise, without disturbing what stays; settles when it has been observed.

        Args:
            settings: load, workers and seconds may differ from the present ones.
            paused: True: burn nothing until further notice; False: go on; None: as it is.
            limit: the time limit counts anew from now.
            timeline: what to follow from now on; None: what it does.

        Raises:
            IllegalMove: it is ending, or it is to be paused before it runs.
            StokerError: a process could not be forked; nothing was changed.
        """
        if self.state in ENDED:
            raise IllegalMove(f"burner {settings.name!r} is {self.state} and cannot be changed", hint="start it anew")
        state = _after_pause(self.state, paused=paused)
        self._crew.resize(settings.workers, GRACE_SECONDS)
        before = self.hearth.demand()
        self.settings, self.state = settings, state
        self._steer(timeline)
        self._epoch += self.hearth.demand() != before
        if limit and state is not BurnerState.STARTING:
            self._limit.set(settings.seconds)
        self._announce()
        promise = self._waits.add(self._epoch, _patience(settings), self._late)
        self.crew_progressed()
        return promise

    def stop(self, grace: float | None = None, reason: str = "stopped") -> Promise[str]:
        """End it; settles with its name when its last process is reaped.

        Args:
            grace: seconds until SIGKILL; None: 2.
            reason: for the event.
        """
        promise: Promise[str] = Promise()
        self._stops.append(promise)
        if self.state is not BurnerState.FAILED:
            before, self.state = self.state, step(BURNER_MOVES, self.state, BurnerEvent.STOP)
            if before is not self.state:
                self._reason = reason
                self._announce(reason)
        self._end(GRACE_SECONDS if grace is None else grace)
        return promise

    def info(self) -> BurnerInfo:
        """What it is and does now; the figures are read from the pages in this call."""
        return self.hearth.info(
            started=self._started,
            ends=self._ends(),
            reason=self._reason,
            rest=f"paused; goes on at {self.asked:g} %" if self.state is BurnerState.PAUSED else "",
            profile=self.timeline.info(self._clock.monotonic()),
        )

    # --- what its load is asked to be: see stokerd.burners.hearth.Keeper

    @property
    def asked(self) -> float:
        """Percent that is asked of it now; of what, say its settings."""
        return round(self._course.target, 6)

    @property
    def epoch(self) -> int:
        """The number of what is asked of it: figures of different ones are never mixed."""
        return self._epoch

    @property
    def deadline(self) -> float:
        """When its processes end by themselves, monotonic seconds."""
        return min(self._limit.deadline, self.timeline.ends)

    def guard_acts(self, post: Post) -> None:
        """A guard that has tripped, or is clear again, is to have its effect."""
        if post.tripped and post.guard.action == "abort":
            self.stop(reason=post.reason)
        elif post.guard.action != "warn" and self.state not in ENDED:
            self._announce(post.reason or f"guard {post.guard.text} is clear again")

    # --- its processes: see stokerd.burners.crew.Listener

    def crew_progressed(self) -> None:
        """See :class:`stokerd.burners.crew.Listener`."""
        if self.state in ENDED:
            if self._crew.alive == 0:
                self._gone()
            return
        if self.state is BurnerState.STARTING and self._crew.unsettled(self._epoch) == 0:
            self.state = step(BURNER_MOVES, self.state, BurnerEvent.OBSERVE)
            self._started, self._reason = self._clock.time(), ""
            self._limit.set(self.settings.seconds)
            self._course.run()
            self._announce()
        self._waits.settle(lambda epoch: self._crew.unsettled(epoch) == 0, self.info)

    def crew_lost(self, place: Place, reason: str) -> None:
        """See :class:`stokerd.burners.crew.Listener`."""
        if self._limit.is_over:  # it saw that before our timer did
            self.stop(reason=self._limit.reason)
        elif self._course.is_over:
            self._course_over()
        elif place.refusal is not None:  # it would only give up again
            did = "did not start" if self.state is BurnerState.STARTING else "gave up"
            message, hint = place.refusal
            self._fail(StartFailed(f"burner {self.settings.name!r} {did}: {message}", hint=hint))
        elif self.state is BurnerState.STARTING:
            self._fail(StartFailed(f"burner {self.settings.name!r} did not start: {reason}"))
        elif place.is_hopeless(self._clock.monotonic()):
            self._fail(StartFailed(f"{reason}; {DEATHS} in a row within {DEATH_SECONDS:g} s"))
        else:
            self._announce(reason)
            self._crew.replace(place)

    def crew_overdue(self) -> None:
        """See :class:`stokerd.burners.crew.Listener`."""
        error = DeadlineExceeded(
            f"{self.overdue} processes of burner {self.settings.name!r} were killed and have not ended",
            hint="they hang in the kernel; look at their state with ps",
        )
        stops, self._stops = self._stops, []
        self._waits.reject(error)
        for stop in stops:
            stop.reject(error)

    def _late(self, promise: Promise[BurnerInfo]) -> None:
        what = f"{self._crew.unsettled(self._epoch)} of {self.settings.workers} processes have not shown it in time"
        if self.state is BurnerState.STARTING:
            self._fail(StartFailed(f"the load of burner {self.settings.name!r} was not observed: {what}"))
        else:
            promise.reject(DeadlineExceeded(f"the new load was not observed: {what}", hint="`status` tells more"))

    def _fail(self, verdict: StokerError) -> None:
        forget = self.state is BurnerState.STARTING
        self.state = step(BURNER_MOVES, self.state, BurnerEvent.FAIL)
        self._verdict, self._reason = verdict, verdict.message
        self._announce(self._reason)
        if forget:
            self._stops.append(Promise())  # nobody asked, but there is nothing to keep it for
        self._end(GRACE_SECONDS)

    def _steer(self, timeline: Timeline | None) -> None:
        """Follow another timeline where there is one; it goes on while the burner runs, and only then."""
        if timeline is not None:
            self._course.follow(timeline)
        if self.state is BurnerState.RUNNING:
            self._course.run()
        else:
            self._course.stand()

    def _moved(self, jump: bool) -> None:  # noqa: FBT001 - a callback's
        """The profile asks for another level. After a jump the figures are of the new level alone."""
        if jump and not self._waits.pending:  # who waits, waits for the present epoch
            self._epoch += 1
        self._stage.settle_soon()

    def _course_over(self) -> None:
        self.stop(reason=over(self.timeline))

    def _ends(self) -> float | None:
        """When its time limit or its profile ends it, UTC."""
        ends = self.deadline
        return None if math.isinf(ends) else self._clock.time() + ends - self._clock.monotonic()

    def _end(self, grace: float) -> None:
        self._limit.cancel()
        self._course.cancel()
        self._crew.end(grace)
        self.crew_progressed()

    def _gone(self) -> None:
        """The last process is reaped: forget it, tell everybody, answer, in this order."""
        if self.state is BurnerState.STOPPING:
            self.state = step(BURNER_MOVES, self.state, BurnerEvent.REAPED)
        stops, self._stops = self._stops, []
        if stops or self.state is BurnerState.STOPPED:
            self._on_gone(self)
        if self.state is BurnerState.STOPPED:
            self._announce(self._reason)
        name, why = self.settings.name, f": {self._reason}" if self._reason.startswith("guard ") else ""
        ended = StartFailed(f"burner {name!r} was stopped before its load was observed{why}")
        self._waits.reject(self._verdict or ended)
        for stop in stops:
            stop.resolve(name)

    def _announce(self, reason: str = "") -> None:
        """Tell what holds now: the processes, then everybody."""
        self._stage.settle()
        name, target = self.settings.name, self.hearth.target
        self._bus.emit(BurnerChanged(name=name, state=self.state, target=target, workers=self.size, reason=reason))


def _after_pause(state: BurnerState, *, paused: bool | None) -> BurnerState:
    if paused is None or paused is (state is BurnerState.PAUSED):
        return state
    return step(BURNER_MOVES, state, BurnerEvent.PAUSE if paused else BurnerEvent.RESUME)


def _patience(settings: Settings) -> float:
    """Seconds within which the load is to be observed; memory is filled before it begins."""
    filling: float = settings.params.get("bytes", 0) * settings.workers / FILL_RATE
    return OBSERVE_SECONDS + OBSERVE_SECONDS_EACH * settings.workers + filling
