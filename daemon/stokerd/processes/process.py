"""One supervised process: what is wanted of it, apart from what it is.

Its states are those of :data:`stoker.protocol.states.PROCESS_MOVES`. It answers when a thing is *done*: a start when
the program has been executed, a stop when it has been reaped and its process group killed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from stoker.errors import StartFailed, StokerError
from stoker.protocol.events import ProcessChanged
from stoker.protocol.models import ProcessInfo
from stoker.protocol.states import PROCESS_MOVES, ProcessEvent, ProcessState, step
from stokerd.bus import Bus
from stokerd.child import Exit, Forker
from stokerd.clock import Clock, Timer
from stokerd.output import Output
from stokerd.processes.restart import Again, GiveUp, Patience, Restarts
from stokerd.processes.run import Ended, Run
from stokerd.processes.settings import Settings
from stokerd.processes.transcript import Transcript
from stokerd.promise import Promise

KEEP_BYTES = 1024 * 1024
"""Of what a process writes, per stream."""


@final
class Process:
    """See the module.

    Args:
        clock: time and readiness.
        bus: told of every change.
        forker: who forks.
        settings: what it should be.
        patience: how often and when it is started again.
        on_gone: called when it is to be forgotten.
    """

    def __init__(
        self,
        clock: Clock,
        bus: Bus,
        forker: Forker,
        settings: Settings,
        patience: Patience,
        on_gone: Callable[[Process], object],
    ) -> None:
        self.settings = settings
        self.state = ProcessState.DOWN
        self.wanted = True
        self._clock, self._bus, self._forker, self._on_gone = clock, bus, forker, on_gone
        self._restarts = Restarts(settings.restart, patience)
        self._transcript = Transcript(clock, KEEP_BYTES)
        self._run: Run | None = None
        self._timer: Timer | None = None
        self._came_up = False
        self._started: float | None = None
        self._since = clock.monotonic()
        self._exit_code: int | None = None
        self._count = 0
        self._reason = ""
        self._on_end: Callable[[ProcessInfo], object] | None = None
        self._starting: Promise[ProcessInfo] = Promise()
        self._stops: list[Promise[str]] = []

    @property
    def over(self) -> bool:
        """It is down, and nobody wants it up: all that is left of it is what it wrote and how it ended."""
        return not self.wanted and self.state in {ProcessState.DOWN, ProcessState.FAILED}

    def start(self) -> Promise[ProcessInfo]:
        """Start it for the first time; settles when the program has been executed.

        Raises:
            StokerError: it can't be forked.
        """
        self._launch()
        return self._starting

    def stop(self, grace: float | None) -> Promise[str]:
        """End it; settles with its name when it is reaped, at once if it is down.

        Args:
            grace: seconds from the stop signal to SIGKILL; None: its own.
        """
        self.wanted = False
        stopped: Promise[str] = Promise()
        self._stops.append(stopped)
        if self._timer is not None:
            self._timer.cancel()
        self._move(ProcessEvent.STOP, "stopped" if self._run is None else "stopping")
        if self._run is None:
            self._gone()
        else:
            self._run.stop(self.settings.grace if grace is None else grace)
        return stopped

    def signal(self, signum: int, *, group: bool) -> bool:
        """Send it a signal, and nothing more: its policy decides what comes of its end. False where it is down.

        Args:
            signum: which.
            group: to its whole process group.
        """
        return self._run is not None and self._run.signal(signum, group=group)

    def follow(self, tap: Callable[[bytes, bytes], object], on_end: Callable[[ProcessInfo], object]) -> None:
        """Have all that it writes handed on as it is read, and be told of its end, after that and once.

        Args:
            tap: gets what was written to stdout and to stderr.
            on_end: gets its last snapshot.
        """
        self._on_end = on_end
        self._transcript.follow(tap)

    def unfollow(self) -> None:
        """Nobody listens any more."""
        self._on_end = None
        self._transcript.follow(None)

    def info(self) -> ProcessInfo:
        """A snapshot."""
        task = self.settings.task
        return ProcessInfo(
            name=self.settings.name,
            state=self.state,
            wanted=self.wanted,
            pid=self._run.pid if self._run is not None else None,
            argv=self.settings.argv,
            target="" if task is None else task.label,
            session=self.settings.owner or "",
            started=self._started,
            exit_code=self._exit_code,
            restarts=self._count,
            restart=self.settings.restart,
            reason=self._reason,
        )

    def output(self) -> tuple[Output, bool]:
        """What it wrote, over all of its runs, and whether there will be no more."""
        return self._transcript.output(), self.over

    def when_news(self, listener: Callable[[], None]) -> None:
        """Call once, when it has written something or will not write any more."""
        self._transcript.when_news(listener)

    def _launch(self) -> None:
        self._since, self._started = self._clock.monotonic(), self._clock.time()
        self._run = Run(self._clock, self._forker, self.settings, self._transcript, self._up, self._ended)
        self._move(ProcessEvent.START, "")

    def _up(self) -> None:
        self._came_up = True
        if self.state is ProcessState.STARTING:
            self._move(ProcessEvent.READY, "")
        self._starting.resolve(self.info())

    def _ended(self, ended: Ended) -> None:
        self._run = None
        self._exit_code = ended.how.code
        reason = ended.refused.message if ended.refused is not None else f"ended with {ended.how}"
        self._move(ProcessEvent.EXIT, reason)
        if not self._came_up:  # it never was what was asked for, so the start has failed, and nothing is left of it
            self.wanted = False
            stopped = StartFailed(f"process {self.settings.name!r} was stopped before it was up")
            self._starting.reject(stopped if self._stops else ended.refused or stopped)
        if self._stops or not self._came_up:
            self._gone()
        else:
            self._decide(ended.how, reason)

    def _decide(self, how: Exit, reason: str) -> None:
        verdict = self._restarts.decide(how.code, self._clock.monotonic() - self._since)
        if isinstance(verdict, Again):
            self._timer = self._clock.later(verdict.delay, self._start_again)
            self._move(ProcessEvent.WAIT, f"{reason}; to be started again in {verdict.delay:g} s")
            return
        self.wanted = False
        if isinstance(verdict, GiveUp):
            self._move(ProcessEvent.GIVE_UP, f"given up: {verdict.reason}; it last {reason}")
        if self.settings.owner is not None:  # whoever it was for has been told all there is to know
            self._gone()
        else:
            self._transcript.tell()

    def _start_again(self) -> None:
        self._timer = None
        self._count += 1
        try:
            self._launch()
        except StokerError as why:  # as if it had ended at once
            self._move(ProcessEvent.START, "")
            self._move(ProcessEvent.EXIT, why.message)
            self._decide(Exit(code=None, error=why.message), why.message)

    def _move(self, event: ProcessEvent, reason: str) -> None:
        before, self.state = self.state, step(PROCESS_MOVES, self.state, event)
        self._reason = reason
        if before is not self.state:
            pid = self._run.pid if self._run is not None else None
            self._bus.emit(ProcessChanged(name=self.settings.name, state=self.state, pid=pid, reason=reason))

    def _gone(self) -> None:
        self._on_gone(self)
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(self.info())
        self._transcript.tell()
        for stopped in self._stops:
            stopped.resolve(self.settings.name)
