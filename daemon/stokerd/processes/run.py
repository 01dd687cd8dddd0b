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
from stokerd.processes.exec_main import GO
from stokerd.processes.settings import Settings, Task
from stokerd.processes.transcript import Transcript

_CHANNEL_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended.

    Args:
        how: as the forkserver reported it.
        refused: why the program could not be executed; None: it was.
    """

    how: Exit
    refused: StartFailed | None


@final
class Run:
    """Knows whether the program was executed, and ends it.

    Args:
        clock: time and readiness.
        forker: who forks.
        settings: what to run.
        transcript: takes what it writes.
        on_up: called once, when the program has been executed.
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
        self._child = forker.fork(environment, _spec(settings), self._started, self._exited)
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
        """It is up once the channel was closed, by the exec or before the call, and the forkserver has told its pid."""
        if self._up or not self._closed or self.pid is None:
            return
        told = self._told()
        if "exec" in told and "error" not in told:
            self._up = True
            self._on_up()

    def _told(self) -> dict[str, Any]:
        lines = self._said.split(b"\n")[:-1]
        return {key: value for line in lines for key, value in json.loads(line).items()}

    def _exited(self, _child: Child, how: Exit) -> None:
        self._hear()
        self._look()
        self._give_back()
        refused = None if self._up else self._refusal(how)
        self._on_ended(Ended(how, refused))

    def _refusal(self, how: Exit) -> StartFailed:
        told = self._told()
        data = {"name": self._settings.name, "exit_code": how.code}
        return StartFailed(
            f"process {self._settings.name!r} could not be started: {told.get('error', how)}",
            hint=told.get("hint", ""),
            data=data,
        )

    def _give_back(self) -> None:
        self._cancel_ladder()
        self._transcript.detach()
        channel = self._child.channel
        if channel is not None and not self._closed:  # held open by somebody who was handed it
            self._closed = True
            self._clock.unwatch(channel.fileno())
            channel.close()


def _spec(settings: Settings) -> ForkSpec:
    name, task = settings.name, settings.task
    if task is None:
        args: dict[str, Any] = {"argv": settings.argv, "cwd": settings.cwd, "env": dict(settings.env)}
        return ForkSpec(target="stokerd.processes.exec_main:main", name=name, args=args, channel=True, pipes=True)
    size = len(task.data)
    args = {"form": task.form, "size": size, "cwd": settings.cwd, "env": dict(settings.env)}
    target = "stokerd.processes.call_main:main"
    return ForkSpec(target=target, name=name, args=args, channel=True, pipes=True, page_bytes=max(size, 1))


def _hand_over(child: Child, task: Task) -> None:
    """Put what is to be called in the shared page, then say that it is there. The order to fork may be on its way."""
    if child.page is not None:
        child.page[: len(task.data)] = task.data
        child.page.close()
    if child.channel is not None:
        child.channel.send(GO)
