"""One supervised process, or one instance of several: what is wanted of it, apart from what it is.

Its states are those of :data:`stoker.protocol.states.PROCESS_MOVES`. It answers when a thing is *done*: a start when
the process is up, a stop when it has been reaped and its process group killed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, final

from stoker.errors import StartFailed, StokerError
from stoker.protocol.events import ProcessChanged
from stoker.protocol.models import ProcessInfo
from stoker.protocol.states import PROCESS_MOVES, ProcessEvent, ProcessState, step
from stokerd.bus import Bus
from stokerd.child import Forker
from stokerd.clock import Clock, Timer
from stokerd.output import Output
from stokerd.processes.restart import Again, Fatal, GiveUp, Restarts
from stokerd.processes.run import Ended, Run
from stokerd.processes.settings import Settings, of_instance
from stokerd.processes.transcript import Transcript
from stokerd.promise import Promise

if TYPE_CHECKING:
    from stokerd.processes.logfiles import LogFile, LogFiles

_TRYING = frozenset({ProcessState.WAITING, ProcessState.STARTING, ProcessState.BACKOFF})
_DOWN = frozenset({ProcessState.DOWN, ProcessState.FLAPPING, ProcessState.FATAL})


@dataclass(frozen=True, slots=True)
class House:
    """What every process is given.

    Args:
        clock: time and readiness.
        bus: told of every change.
        forker: who forks.
        logs: where log files are; None: nowhere.
    """

    clock: Clock
    bus: Bus
    forker: Forker
    logs: LogFiles | None


@final
class Process:
    """See the module.

    Args:
        house: what it needs.
        name: its own, as ``status`` shows it.
        settings: of all instances.
        number: which instance it is.
        on_gone: called when it is to be forgotten.
    """

    def __init__(
        self, house: House, name: str, settings: Settings, number: int, on_gone: Callable[[Process], object]
    ) -> None:
        self.name, self.number = name, number
        self.settings = of_instance(settings, number)
        self.state = ProcessState.DOWN
        self.wanted = False
        self._house, self._on_gone = house, on_gone
        self._restarts = Restarts(settings.keep)
        self._transcript = Transcript(house.clock, settings.keep.keep_bytes)
        self._logs: tuple[LogFile, LogFile] | None = None
        self._open_logs()
        self._run: Run | None = None
        self._timer: Timer | None = None
        self._kept = settings.configured
        self._came_up = self._again = False
        self._started: float | None = None
        self._since = house.clock.monotonic()
        self._exit_code: int | None = None
        self._count = 0
        self._reason = ""
        self._on_end: Callable[[ProcessInfo], object] | None = None
        self._starts: list[Promise[ProcessInfo]] = []
        self._verdicts: list[Promise[ProcessInfo]] = []
        self._stops: list[Promise[str]] = []

    @property
    def over(self) -> bool:
        """It is down, and nobody wants it up: all that is left of it is what it wrote and how it ended."""
        return not self.wanted and self.state in _DOWN

    @property
    def runs(self) -> bool:
        """There is a process of it, ready or not."""
        return self._run is not None

    # --- what can be asked of it

    def start(self) -> Promise[ProcessInfo]:
        """Have it up; settles when it is, at once where it is already; rejected when this attempt has failed.

        Raises:
            StokerError: it can't be forked.
        """
        started: Promise[ProcessInfo] = Promise()
        if self.state is ProcessState.UP:
            started.resolve(self.info())
            return started
        self.wanted = True
        self._starts.append(started)
        if self.state is ProcessState.STOPPING:
            self._again = True
        elif self.state is not ProcessState.STARTING:
            self._cancel_timer()
            self._restarts.forget()
            try:
                self._launch()
            except StokerError:
                self._starts.remove(started)
                raise
        return started

    def hold(self, reason: str) -> Promise[ProcessInfo]:
        """It is wanted, and waits for others; settles as :meth:`start` does."""
        if self.state not in _DOWN | {ProcessState.WAITING}:
            return self.start()
        held: Promise[ProcessInfo] = Promise()
        self.wanted = True
        self._starts.append(held)
        if self.state in _DOWN:
            self._move(ProcessEvent.HOLD, reason)
        return held

    def fail(self, why: StartFailed) -> None:
        """What it waits for will not come."""
        if self.state is ProcessState.WAITING:
            self.wanted = False
            self._move(ProcessEvent.FAIL, why.message)
            self._answer(why)

    def verdict(self) -> Promise[ProcessInfo]:
        """Settles when it is up, or is rejected when nobody tries any more; at once where neither is awaited."""
        verdict: Promise[ProcessInfo] = Promise()
        if self.state is ProcessState.UP:
            verdict.resolve(self.info())
        elif self.state in _TRYING or self._again:
            self._verdicts.append(verdict)
        else:
            verdict.reject(StartFailed(f"process {self.name!r} is {self.state}: {self._reason or 'nobody started it'}"))
        return verdict

    def restart(self, grace: float | None) -> Promise[ProcessInfo]:
        """Stop it, and start it again; settles when it is up.

        Args:
            grace: seconds from the stop signal to SIGKILL; None: its own.
        """
        if self._run is None or self._stops:
            return self.start()
        started: Promise[ProcessInfo] = Promise()
        self._starts.append(started)
        self.wanted = self._again = True
        self._restarts.forget()
        self._move(ProcessEvent.STOP, "to be started again")
        self._run.stop(self.settings.keep.grace if grace is None else grace)
        return started

    def unwant(self) -> None:
        """Whatever happens to it, it is not started again."""
        self.wanted = self._again = False
        self._cancel_timer()

    def stop(self, grace: float | None, *, forget: bool = False) -> Promise[str]:
        """End it; settles with its name when it is reaped, at once if it is down.

        Args:
            grace: seconds from the stop signal to SIGKILL; None: its own.
            forget: also where it is configured.
        """
        self.unwant()
        self._kept = self._kept and not forget
        stopped: Promise[str] = Promise()
        self._stops.append(stopped)
        self._move(ProcessEvent.STOP, "stopped" if self._run is None else "stopping")
        if self._run is None:
            self._answer(StartFailed(f"process {self.name!r} was stopped before it was up"))
            self._gone()
        else:
            self._run.stop(self.settings.keep.grace if grace is None else grace)
        return stopped

    def adopt(self, settings: Settings) -> None:
        """Be kept as these say from now on; what is of a run begins with the next one."""
        before, self.settings = self.settings.keep, of_instance(settings, self.number)
        self._restarts.keep = settings.keep
        self._kept = settings.configured
        self._transcript.resize(settings.keep.keep_bytes)
        if (before.log_bytes, before.log_files) != (settings.keep.log_bytes, settings.keep.log_files):
            self._release_logs()
            self._open_logs()

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
        settings, task = self.settings, self.settings.task
        written, dropped = self._transcript.sizes
        return ProcessInfo(
            name=self.name,
            state=self.state,
            wanted=self.wanted,
            pid=self._run.pid if self._run is not None else None,
            argv=settings.argv,
            target="" if task is None else task.label,
            session=settings.owner or "",
            group=settings.name,
            instance=self.number,
            configured=settings.configured,
            status=self._run.status if self._run is not None else "",
            written=written,
            dropped=dropped,
            log="" if self._logs is None else str(self._logs[0].path),
            log_dropped=sum(log.dropped for log in self._logs or ()),
            requires=settings.keep.requires,
            after=settings.keep.after,
            started=self._started,
            exit_code=self._exit_code,
            restarts=self._count,
            restart=settings.keep.restart,
            reason=self._reason,
        )

    def output(self) -> tuple[Output, bool]:
        """What it wrote, over all of its runs, and whether there will be no more."""
        return self._transcript.output(), self.over

    def when_news(self, listener: Callable[[], None]) -> None:
        """Call once, when it has written something or will not write any more."""
        self._transcript.when_news(listener)

    def forget_news(self, listener: Callable[[], None]) -> None:
        """Do not call it any more."""
        self._transcript.forget(listener)

    # --- what happens to it

    def _launch(self) -> None:
        house = self._house
        self._since, self._started, self._came_up = house.clock.monotonic(), house.clock.time(), False
        try:
            self._run = Run(house.clock, house.forker, self.settings, self._transcript, self._up, self._ended)
        except StokerError:
            self.wanted = self._kept
            raise
        self._move(ProcessEvent.START, "")

    def _up(self) -> None:
        self._came_up = True
        if self.state is ProcessState.STARTING:
            self._move(ProcessEvent.READY, "")
            self._answer(None)
        else:  # it is being stopped again: whoever started it may know that it was
            self._settle(self._starts, None)

    def _ended(self, ended: Ended) -> None:
        self._run = None
        self._exit_code = ended.how.code
        self._release_logs()
        refused = ended.refused
        reason = refused.message if refused is not None else f"ended with {ended.how}"
        reason = f"stopped, {reason}" if self._stops else reason
        self._move(ProcessEvent.EXIT, reason)
        if self._again:
            self._again = False
            self._tell_stopped()
            self._start_again(counted=False)
        elif self._stops or not self.wanted:
            stopped = StartFailed(f"process {self.name!r} was stopped before it was up")
            self._answer(stopped if self._stops else refused or stopped)
            self._gone()
        elif refused is not None and not self._is_tried_again(ended):
            self._lost(refused)
        else:
            self._settle(self._starts, refused)
            code = ended.how.code if self._came_up or ended.how.code else None
            self._decide(code, reason)

    def _is_tried_again(self, ended: Ended) -> bool:
        """A start that fails is a start that failed, unless it is the configuration's, or was up before."""
        return self._count > 0 or (self._kept and ended.executed)

    def _lost(self, why: StartFailed) -> None:
        """It never was what was asked for: of what is not configured, nothing is left."""
        self.wanted = False
        if self._kept:
            self._move(ProcessEvent.FAIL, why.message)
        self._answer(why)
        if not self._kept:
            self._gone()

    def _decide(self, code: int | None, reason: str) -> None:
        now = self._house.clock.monotonic()
        verdict = self._restarts.decide(code, now - self._since, now)
        if isinstance(verdict, Again):
            self._timer = self._house.clock.later(verdict.delay, partial(self._start_again, counted=True))
            self._move(ProcessEvent.WAIT, f"{reason}; to be started again in {verdict.delay:g} s")
            return
        self.wanted = False
        if isinstance(verdict, GiveUp | Fatal):
            event = ProcessEvent.GIVE_UP if isinstance(verdict, GiveUp) else ProcessEvent.FAIL
            self._move(event, f"given up: {verdict.reason}; last: {reason}")
        self._answer(StartFailed(f"process {self.name!r} is {self.state}: {self._reason}"))
        if self.settings.owner is not None:  # whoever it was for has been told all there is to know
            self._gone()
        else:
            self._transcript.tell()

    def _start_again(self, *, counted: bool) -> None:
        self._timer = None
        self._count += counted
        try:
            self._launch()
        except StokerError as why:  # as if it had ended at once
            self.wanted = True
            self._move(ProcessEvent.START, "")
            self._move(ProcessEvent.EXIT, why.message)
            self._settle(self._starts, why)
            self._decide(None, why.message)

    # --- who hears of it

    def _move(self, event: ProcessEvent, reason: str) -> None:
        before, self.state = self.state, step(PROCESS_MOVES, self.state, event)
        self._reason = reason
        if before is not self.state:
            pid = self._run.pid if self._run is not None else None
            self._house.bus.emit(ProcessChanged(name=self.name, state=self.state, pid=pid, reason=reason))

    def _answer(self, why: StokerError | None) -> None:
        """Nobody waits any longer: it is up, or (``why``) it will not be."""
        self._settle(self._starts, why)
        self._settle(self._verdicts, why)

    def _settle(self, waiting: list[Promise[ProcessInfo]], why: StokerError | None) -> None:
        promises = waiting[:]
        waiting.clear()
        for promise in promises:
            if why is not None:
                promise.reject(why)
            else:
                promise.resolve(self.info())

    def _gone(self) -> None:
        if not self._kept:
            self._on_gone(self)
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(self.info())
        self._transcript.tell()
        self._tell_stopped()

    def _tell_stopped(self) -> None:
        stops, self._stops = self._stops, []
        for stopped in stops:
            stopped.resolve(self.name)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _open_logs(self) -> None:
        keep, logs = self.settings.keep, self._house.logs
        if logs is None or self.settings.owner is not None or not keep.log_files:
            self._logs = None
            self._transcript.copy_to(None)
            return
        before, self._logs = self._logs or (), logs.open(self.name, keep.log_bytes, keep.log_files)
        out, err = self._logs
        out.refused += sum(log.dropped for log in before)
        self._transcript.copy_to((partial(logs.write, out), partial(logs.write, err)))

    def _release_logs(self) -> None:
        if self._house.logs is not None:
            for log in self._logs or ():
                self._house.logs.release(log)
