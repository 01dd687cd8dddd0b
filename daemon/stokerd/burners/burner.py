"""One burner: a named load, from the order to start it until the last of its processes is reaped.

It answers when a thing is *done*: a start or a change when every process has shown the load (see
:mod:`stokerd.burners.burn`), a stop when nothing of it is left. Its states are those of
:data:`stoker.protocol.states.BURNER_MOVES`. A burner that ended is forgotten; one that failed after it was up stays
listed, with the reason, until somebody stops or replaces it.
"""

from __future__ import annotations

from collections.abc import Callable

from stoker.errors import DeadlineExceeded, IllegalMove, StartFailed, StokerError
from stoker.protocol.events import BurnerChanged
from stoker.protocol.models import BurnerInfo
from stoker.protocol.states import BURNER_MOVES, BurnerEvent, BurnerState, step
from stokerd.burners import figures
from stokerd.burners.crew import DEATH_SECONDS, DEATHS, Crew, Place
from stokerd.burners.limit import TimeLimit
from stokerd.burners.page import Order
from stokerd.burners.settings import Settings
from stokerd.burners.waits import Waits
from stokerd.bus import Bus
from stokerd.child import Forker
from stokerd.clock import Clock
from stokerd.promise import Promise

GRACE_SECONDS = 2.0
"""From the stop flag to SIGKILL, unless somebody says otherwise."""

OBSERVE_SECONDS, OBSERVE_SECONDS_EACH = 10.0, 0.1
"""For a load to be observed: once, and for every process (they share the cores)."""

ENDED = frozenset({BurnerState.STOPPING, BurnerState.STOPPED, BurnerState.FAILED})


class Burner:
    """See the module.

    Args:
        clock: time; its monotonic time must be CLOCK_MONOTONIC.
        bus: told of every change.
        forker: who forks.
        settings: what it should be, checked.
        on_gone: called when it is to be forgotten.
    """

    def __init__(
        self, clock: Clock, bus: Bus, forker: Forker, settings: Settings, on_gone: Callable[[Burner], None]
    ) -> None:
        self._clock, self._bus, self._on_gone = clock, bus, on_gone
        self.settings = settings
        self.state = BurnerState.STARTING
        self._reason = "starting: its load has not been observed yet"
        self._crew = Crew(clock, forker, settings, self)
        self._epoch = 1
        self._started = clock.time()
        self._limit = TimeLimit(clock, lambda reason: self.stop(reason=reason))
        self._verdict: StokerError | None = None
        self._waits = Waits(clock)
        self._stops: list[Promise[str]] = []

    @property
    def size(self) -> int:
        """Processes that it should have; 0 once it ends."""
        return 0 if self.state in ENDED else self.settings.workers

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

    def change(self, settings: Settings, *, paused: bool | None, limit: bool) -> Promise[BurnerInfo]:
        """Be otherwise, without disturbing what stays; settles when it has been observed.

        Args:
            settings: load, workers and seconds may differ from the present ones.
            paused: True: burn nothing until further notice; False: go on; None: as it is.
            limit: the time limit counts anew from now.

        Raises:
            IllegalMove: it is ending, or it is to be paused before it runs.
            StokerError: a process could not be forked; nothing was changed.
        """
        if self.state in ENDED:
            raise IllegalMove(f"burner {settings.name!r} is {self.state} and cannot be changed", hint="start it anew")
        state = _after_pause(self.state, paused=paused)
        self._crew.resize(settings.workers, GRACE_SECONDS)
        before = _share(self.settings, self.state)
        self.settings, self.state = settings, state
        self._epoch += _share(settings, state) != before
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
        now = self._clock.monotonic()
        share, places = _share(self.settings, self.state), self._crew.places
        readings = [figures.reading_of(place, share, now) for place in places]
        rest = f"paused; goes on at {self.settings.load:g} %" if self.state is BurnerState.PAUSED else ""
        mean = figures.mean(readings)
        return BurnerInfo(
            name=self.settings.name,
            state=self.state,
            kind=self.settings.generator,
            target=mean.target,
            achieved=mean.achieved,
            shortfall=mean.shortfall,
            size=self.size,
            nice=self.settings.nice,
            cpus=self.settings.cpus,
            started=self._started,
            ends=self._limit.ends,
            reason=self._reason or figures.reason(places, readings, self.settings, now) or rest,
            workers=tuple(map(figures.worker_info, places, readings, [self.settings] * len(places))),
        )

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
            self._announce()
        self._waits.settle(lambda epoch: self._crew.unsettled(epoch) == 0, self.info)

    def crew_lost(self, place: Place, reason: str) -> None:
        """See :class:`stokerd.burners.crew.Listener`."""
        if self._limit.is_over:  # it saw that before our timer did
            self.stop(reason=self._limit.reason)
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

    def _end(self, grace: float) -> None:
        self._limit.cancel()
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
        name = self.settings.name
        self._waits.reject(self._verdict or StartFailed(f"burner {name!r} was stopped before its load was observed"))
        for stop in stops:
            stop.resolve(name)

    def _announce(self, reason: str = "") -> None:
        """Tell what holds now: the processes, then everybody."""
        share = _share(self.settings, self.state)
        self._crew.give(Order(self._epoch, share, self._limit.deadline))
        self._bus.emit(
            BurnerChanged(
                name=self.settings.name, state=self.state, target=share * 100, workers=self.size, reason=reason
            )
        )


def _share(settings: Settings, state: BurnerState) -> float:
    """The share of a core that each process is to burn now, 0 to 1."""
    return settings.load / 100 if state in {BurnerState.STARTING, BurnerState.RUNNING} else 0.0


def _after_pause(state: BurnerState, *, paused: bool | None) -> BurnerState:
    if paused is None or paused is (state is BurnerState.PAUSED):
        return state
    return step(BURNER_MOVES, state, BurnerEvent.PAUSE if paused else BurnerEvent.RESUME)


def _patience(settings: Settings) -> float:
    """Seconds within which the load is to be observed."""
    return OBSERVE_SECONDS + OBSERVE_SECONDS_EACH * settings.workers
