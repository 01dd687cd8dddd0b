"""One environment's forkserver as the daemon holds it: from its exec to the end of the last thing that it forked."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, final

from stoker.errors import Unavailable
from stoker.protocol.events import ForkserverEnded, ForkserverStarted
from stoker.protocol.models import Environment
from stoker.protocol.states import FORKSERVER_MOVES, ForkserverEvent, ForkserverState, step
from stokerd.bus import Bus
from stokerd.cgroups import enter
from stokerd.child import Exit
from stokerd.clock import Clock, Timer
from stokerd.forkserver.launch import Interpreter, why_not
from stokerd.forkserver.link import Link
from stokerd.forkserver.nursery import Nursery
from stokerd.forkserver.offspring import Offspring
from stokerd.forkserver.orders import SCARCE

_REPORTS_AT_ONCE = 256
"""Reports that are read before the loop gets another turn."""


@final
class ForkServer:
    """Sends orders and hears reports, and sees to it that no child is left when the forkserver ends.

    Args:
        environment: what it forks in.
        clock: time and readiness.
        bus: where its start and end are told.
        on_childless: called when its last child has ended and it lives on.
        on_gone: called once, when it and all of its children have ended.
    """

    def __init__(
        self,
        environment: Environment,
        clock: Clock,
        bus: Bus,
        on_childless: Callable[[ForkServer], object],
        on_gone: Callable[[ForkServer], object],
    ) -> None:
        self.environment = environment
        self.state = ForkserverState.STARTING
        self.idle_since: float | None = None
        self._clock = clock
        self._bus = bus
        self._on_childless = on_childless
        self._on_gone = on_gone
        self._nursery = Nursery(clock, self._childless)
        self._interpreter: Interpreter | None = None
        self._link: Link | None = None
        self._impatience: Timer | None = None
        self._trouble = ""
        self._scarce = False

    @property
    def open(self) -> bool:
        """Whether it takes orders to fork."""
        return self.state in {ForkserverState.STARTING, ForkserverState.READY}

    def start(self, lend: Mapping[str, str], patience: float, open_files: tuple[int, int], group: str = "") -> None:
        """Execute it. That it can't be executed is told to the children that are ordered.

        Args:
            lend: packages that children may borrow, see :mod:`stokerd.forkserver.borrowed`.
            patience: seconds within which it has to be ready, else it is killed.
            open_files: soft and hard limit of descriptors that its children get.
            group: directory of the control group that it goes into, and its children with it; empty: it stays.
        """
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._link = Link(self._clock, ours, self._hear)
            with theirs:
                self._interpreter = Interpreter(self.environment, theirs.fileno())
        except (OSError, ValueError) as why:
            self._trouble = why_not(self.environment, why)
            self._scarce = isinstance(why, OSError) and why.errno in SCARCE
            self._clock.soon(self._end)
            return
        if group:
            with contextlib.suppress(OSError):  # it has ended already, or the group is gone: no reason not to work
                enter(group, self._interpreter.pid)
        self._clock.watch(self._interpreter.pidfd, self._exited)
        self._impatience = self._clock.later(patience, self._too_late, patience)
        environment = self.environment
        set_up = {"path": environment.path, "cwd": environment.cwd, "lend": dict(lend), "open_files": open_files}
        self._link.send({"do": "set-up", **set_up})

    def fork(self, child: Offspring) -> None:
        """Order a child.

        Raises:
            Unavailable: there is no memory for the order, which is a long one.
        """
        self._nursery.add(child)
        self.idle_since = None
        if self._link is None:  # there was not even a socket; the child is told with the others
            child.ordered(self._signal)
            return
        try:
            self._link.send(child.order(), child.lent, child.given)
        except OSError as why:
            self._nursery.withdraw(child)
            child.release()
            raise Unavailable(f"cannot start {child.spec.name}: {why.strerror}") from None
        child.ordered(self._signal)

    def retire(self) -> None:
        """End as soon as nothing lives that it forked; no new orders."""
        self.state = step(FORKSERVER_MOVES, self.state, ForkserverEvent.CLOSE)
        if self._link is not None:
            self._link.send({"do": "retire"})

    def close(self) -> None:
        """Kill every child, reap them, end; no new orders."""
        if self.state is ForkserverState.ENDED:
            return
        self.state = step(FORKSERVER_MOVES, self.state, ForkserverEvent.CLOSE)
        self._trouble = self._trouble or "the daemon is stopping"
        if self._link is not None:
            self._link.shut()
        if self._interpreter is not None:
            self._interpreter.terminate()

    def kill(self) -> None:
        """End it now, by force. The kernel then ends its children."""
        if self._interpreter is not None and self.state is not ForkserverState.ENDED:
            self._interpreter.kill()

    def pids(self) -> set[int]:
        """The forkserver, and every child that has been forked and has not ended."""
        if self._interpreter is None or self.state is ForkserverState.ENDED:
            return self._nursery.pids()
        return self._nursery.pids() | {self._interpreter.pid}

    def _signal(self, number: int, signum: int, group: bool) -> None:  # noqa: FBT001  # an order's fields, in order
        if self._link is not None:
            self._link.send({"do": "signal", "id": number, "signum": signum, "group": group})

    def _too_late(self, patience: float) -> None:
        if self.state is ForkserverState.STARTING:
            self._trouble = f"{self.environment.executable} was not ready within {patience:g} s"
            self.kill()

    def _hear(self, most: int = _REPORTS_AT_ONCE) -> None:
        for report in self._link.receive(most) if self._link is not None else ():
            self._note_ready(report) if "ready" in report else self._nursery.note(report)

    def _note_ready(self, report: dict[str, Any]) -> None:
        self.state = step(FORKSERVER_MOVES, self.state, ForkserverEvent.READY)
        if self._impatience is not None:
            self._impatience.cancel()
        key, executable = self.environment.key, self.environment.executable
        self._bus.emit(ForkserverStarted(environment=key, executable=executable, pid=report["ready"]))
        if not self._nursery:  # whoever ordered it has thought better of it
            self._childless()

    def _childless(self) -> None:
        if self._nursery:
            return
        if self.state is ForkserverState.ENDED:
            self._on_gone(self)
        else:
            self.idle_since = self._clock.monotonic()
            self._on_childless(self)

    def _exited(self) -> None:
        if self._interpreter is None:
            return
        self._clock.unwatch(self._interpreter.pidfd)
        self._hear(sys.maxsize)  # what it reported before its end is true, and comes first
        how, complaint = Exit(code=self._interpreter.reap()), self._interpreter.complaint()
        what = f"the forkserver of {self.environment.executable} ended with {how}"
        if self.state is ForkserverState.STARTING:
            what = f"{self.environment.executable} does not work as an interpreter: it ended with {how}"
        self._trouble = self._trouble or (f"{what}: {complaint}" if complaint else what)
        self._interpreter.close()
        self._end()

    def _end(self) -> None:
        self.state = step(FORKSERVER_MOVES, self.state, ForkserverEvent.EXIT)
        if self._impatience is not None:
            self._impatience.cancel()
        if self._link is not None:
            self._link.close()
        forkserver = self._interpreter.pid if self._interpreter is not None else 0
        if self._nursery:
            self._nursery.forsake(forkserver, self._trouble, scarce=self._scarce)
        else:
            self._clock.soon(self._on_gone, self)
        if forkserver:
            self._bus.emit(ForkserverEnded(environment=self.environment.key, pid=forkserver, reason=self._trouble))
