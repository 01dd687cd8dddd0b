"""One run of a supervised process: from the order to fork it until it is reaped."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from stoker.errors import StartFailed
from stokerd.child import Child, Exit, Forker, ForkSpec
from stokerd.clock import Clock, Timer
from stokerd.processes import readiness
from stokerd.processes.exec_main import GO
from stokerd.processes.readiness import settling
from stokerd.processes.settings import Settings, Task
from stokerd.processes.transcript import Transcript

_CHANNEL_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended.

    Args:
        how: as the forkserver reported it.
        refused: why it never was up; None: it was.
        executed: whether the program was executed.
    """

    how: Exit
    refused: StartFailed | None
    executed: bool


@final
class Run:
    """Knows whether the program was executed, and ends it.

    Args:
        clock: time and readiness.
        forker: who forks.
        settings: what to run.
        transcript: takes what it writes.
        on_up: called once, when it is up: executed, and ready where it has a way to tell.
        on_ended: called once, and last.

    Raises:
        StokerError: it can't be ordered.
    """

    def __init__(
        self,
        clock: Clock,
        forker: Forker,
        settings: Settings,
        transcript: Transcript,
        on_up: Callable[[], object],
        on_ended: Callable[[Ended], object],
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._transcript = transcript
        self._on_up = on_up
        self._on_ended = on_ended
        self._said = b""
        self._closed = self._up = False
        self._ladder: Timer | None = None
        self._half_way: Timer | None = None
        self._deadline = math.inf
        environment = forker.default if settings.task is None else settings.task.environment
        self._late: Timer | None = None
        self._too_late = ""
        self._executed = self._ended = False
        self._readiness = readiness.make(clock, forker, settings, self._ready)
        try:
            spec = _spec(settings, {} if self._readiness is None else self._readiness.variables)
            self._child = forker.fork(environment, spec, self._started, self._exited)
        except BaseException:
            if self._readiness is not None:
                self._readiness.close()
            raise
        if settings.task is not None:
            _hand_over(self._child, settings.task)
        if self._child.output is not None:
            transcript.attach(self._child.output)
        if self._child.channel is not None:
            clock.watch(self._child.channel.fileno(), self._hear)

    @property
    def pid(self) -> int | None:
        """Its process id, which is that of its group too; None until it was forked."""
        return self._child.pid

    @property
    def status(self) -> str:
        """What it last said of itself."""
        return "" if self._readiness is None else self._readiness.status

    def signal(self, signum: int, *, group: bool) -> bool:
        """Send it a signal; False where it has ended already."""
        return self._child.signal(signum, group=group)

    def stop(self, grace: float) -> None:
        """Ask it to end, and its whole group; kill it after ``grace`` seconds. A second call can only shorten them.

        SIGINT, which a program may be deaf to, is followed by SIGTERM half-way.
        """
        if self._ladder is None:
            self._child.signal(self._settings.signum)
            self._child.signal(signal.SIGCONT)  # one that is stopped would not hear of it
        deadline = self._clock.monotonic() + grace
        if deadline >= self._deadline:
            return
        self._cancel_ladder()
        self._deadline = deadline
        self._ladder = self._clock.later(grace, self._child.signal, signal.SIGKILL)
        if self._settings.signum == signal.SIGINT:
            self._half_way = self._clock.later(grace / 2, self._child.signal, signal.SIGTERM)

    def _cancel_ladder(self) -> None:
        for timer in (self._ladder, self._half_way):
            if timer is not None:
                timer.cancel()

    def _started(self, _child: Child) -> None:
        self._look()

    def _hear(self) -> None:
        """Read what it says, up to the end of the stream."""
        channel = self._child.channel
        while channel is not None and not self._closed:
            try:
                data = channel.recv(_CHANNEL_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            self._said += data
            if not data:
                self._closed = True
                self._clock.unwatch(channel.fileno())
                channel.close()
                self._look()

    def _look(self) -> None:
        """It has been executed once the channel was closed, by the exec or before the call, and the forkserver has told
        its pid.
        """
        if self._executed or not self._closed or self.pid is None:
            return
        told = self._told()
        if "exec" not in told or "error" in told:
            return
        self._executed = True
        if self._readiness is None:
            self._ready()
        elif not self._ended:
            self._late = self._clock.later(self._settings.keep.ready_timeout, self._is_late)
            self._readiness.begin(self.pid)

    def _ready(self) -> None:
        if self._up or self._too_late:
            return
        self._up = True
        if self._late is not None:
            self._late.cancel()
        if self._readiness is not None:
            self._readiness.up()
        self._on_up()

    def _is_late(self) -> None:
        """It has been waited for long enough: it is ended, and why it was is told with its end."""
        if self._readiness is not None and not self._up:
            seconds = self._settings.keep.ready_timeout
            self._too_late = f"was not ready within {seconds:g} s: {self._readiness.why_not()}"
            self._readiness.close()
            self.stop(self._settings.keep.grace)

    def _told(self) -> dict[str, Any]:
        lines = self._said.split(b"\n")[:-1]
        return {key: value for line in lines for key, value in json.loads(line).items()}

    def _exited(self, _child: Child, how: Exit) -> None:
        self._ended = True
        self._hear()
        self._look()
        self._give_back()
        refused = None if self._up else self._refusal(how)
        self._on_ended(Ended(how, refused, self._executed))

    def _refusal(self, how: Exit) -> StartFailed:
        told, name = self._told(), self._settings.name
        data = {"name": name, "exit_code": how.code}
        if not self._executed:
            error = told.get("error", how)
            return StartFailed(f"process {name!r} could not be started: {error}", hint=told.get("hint", ""), data=data)
        last = self._transcript.last_line()
        hint = f"it last wrote: {last}" if last else "it wrote nothing"
        what = self._too_late or f"ended with {how} before it was ready"
        return StartFailed(f"process {name!r} {what}", hint=hint, data=data)

    def _give_back(self) -> None:
        self._cancel_ladder()
        if self._late is not None:
            self._late.cancel()
        if self._readiness is not None:
            self._readiness.close()
        self._transcript.detach()
        channel = self._child.channel
        if channel is not None and not self._closed:  # held open by somebody who was handed it
            self._closed = True
            self._clock.unwatch(channel.fileno())
            channel.close()


def _spec(settings: Settings, variables: dict[str, str]) -> ForkSpec:
    task, args = settings.task, settling(settings)
    args["env"] |= variables
    if task is None:
        target, size = "stokerd.processes.exec_main:main", 0
        args["argv"] = settings.argv
    else:
        target, size = "stokerd.processes.call_main:main", len(task.data)
        args |= {"form": task.form, "size": size}
    return ForkSpec(
        target=target,
        name=settings.name,
        args=args,
        channel=True,
        pipes=True,
        page_bytes=0 if task is None else max(size, 1),
        nice=settings.keep.nice,
        cpus=settings.keep.cpus,
    )


def _hand_over(child: Child, task: Task) -> None:
    """Put what is to be called in the shared page, then say that it is there. The order to fork may be on its way."""
    if child.page is not None:
        child.page[: len(task.data)] = task.data
        child.page.close()
    if child.channel is not None:
        child.channel.send(GO)
