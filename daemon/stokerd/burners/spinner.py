"""One burner process as the daemon sees it: from the order to fork it until it is reaped.

The daemon waits for its channel and its exit, and reads its page only when somebody asks: an undisturbed process
costs the daemon nothing.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from typing import Protocol

from stoker.errors import InternalError
from stoker.protocol.models import Environment
from stokerd.burners.burn import BELL, COMPLAINT, OBSERVED
from stokerd.burners.page import Order, Page, Record
from stokerd.burners.reading import Reading, read
from stokerd.child import Child, Exit, Forker, ForkSpec
from stokerd.clock import Clock, Timer

FLAG_SECONDS = 0.25
"""For the stop flag to be seen (a tick is 10 ms) before SIGTERM follows, on a machine that is saturated."""

OVERDUE_SECONDS = 10.0
"""After SIGKILL: a process that is still there now hangs in the kernel, and is reported."""

Rung = tuple[float, signal.Signals | None]


class Listener(Protocol):
    """Whom a spinner tells what happens to it."""

    def spinner_observed(self) -> None:
        """It has shown that it obeys an order."""

    def spinner_exited(self, spinner: Spinner, reason: str) -> None:
        """It is reaped, or it never ran."""

    def spinner_overdue(self) -> None:
        """It was killed and does not end."""


class Spinner:
    """One process.

    Args:
        clock: time and readiness; its monotonic time must be CLOCK_MONOTONIC, which the process goes by.
        forker: who forks it.
        environment: whose interpreter runs it.
        spec: with a channel and a page.
        order: its first order.
        listener: told what happens, never from within a call to this object.

    Raises:
        Unavailable: the system refuses descriptors or memory.
    """

    def __init__(
        self, clock: Clock, forker: Forker, environment: Environment, spec: ForkSpec, order: Order, listener: Listener
    ) -> None:
        self._clock, self._listener, self._order = clock, listener, order
        self._child: Child = forker.fork(environment, spec, self._forked, self._exited)
        page, channel = self._child.page, self._child.channel
        if page is None or channel is None:
            raise InternalError("the forker gave a burner process no page or no channel")
        self._page = Page(page)
        self._open = True
        self._channel: socket.socket | None = channel
        self._complaint = b""
        self._ladder: Timer | None = None
        self._page.give(order)
        self.observed = 0
        """The last epoch whose load has been observed."""
        self.ending = False
        """It was told to end."""
        self.overdue = False
        """It was killed and has not ended."""
        clock.watch(channel.fileno(), self._hear)

    @property
    def pid(self) -> int | None:
        """Its process id; None until it was forked."""
        return self._child.pid

    @property
    def refusal(self) -> tuple[str, str] | None:
        """Why it gave up by itself, and what to do about that; None: it did not."""
        if not self._complaint.startswith(COMPLAINT):
            return None
        message, _, hint = self._complaint.removeprefix(COMPLAINT).decode(errors="replace").partition("\0")
        return message, hint

    @property
    def note(self) -> str:
        """What it says of itself; empty: nothing."""
        return self._page.note() if self._open else ""

    def oldest(self) -> Record | None:
        """The first tick that its page still has."""
        return self._page.oldest() if self._open else None

    def give(self, order: Order) -> None:
        """Put an order in force: it counts from the process's next tick on."""
        self._order = order
        if not self.ending:
            self._put(order)

    def read(self, now: float) -> Reading | None:
        """What it did over the last second; None: nothing yet."""
        return read(self._page, now)

    def newest(self) -> Record | None:
        """Its ledger at its last tick; None: no tick yet, or it has ended."""
        return self._page.newest() if self._open else None

    def end(self, grace: float) -> None:
        """Let it end: a flag in the page, then SIGTERM, then, ``grace`` seconds from now, SIGKILL."""
        self.ending = True
        self._put(self._order._replace(stop=True))
        gentle = min(FLAG_SECONDS, grace / 2)
        self._climb(((gentle, signal.SIGTERM), (grace - gentle, signal.SIGKILL), (OVERDUE_SECONDS, None)))

    def _put(self, order: Order) -> None:
        """Write the order, then ring: a process that has nothing to burn looks at its page when it is told to."""
        self._page.give(order)
        if self._channel is not None:
            with contextlib.suppress(OSError):  # it is full of rings that it has not heard yet, or gone
                self._channel.send(BELL, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def _climb(self, rungs: tuple[Rung, ...]) -> None:
        if self._ladder is not None:
            self._ladder.cancel()
        self._ladder = self._clock.later(rungs[0][0], self._step, rungs[0][1], rungs[1:])

    def _step(self, signum: signal.Signals | None, above: tuple[Rung, ...]) -> None:
        if signum is None:
            self.overdue = True
            self._listener.spinner_overdue()
        else:
            self._child.signal(signum)
            self._climb(above)

    def _hear(self) -> None:
        """The channel can be read: an order's load was observed, or the process says why it gives up."""
        self._complaint = (self._complaint + self._receive()).lstrip(OBSERVED)
        self._look()

    def _look(self) -> None:
        """Take note of the load that it has shown. Its word comes by another way than the forkserver's of its fork, and
        on a full machine may come first: without a process id nothing has been observed yet.
        """
        newest = self._page.newest()
        if newest is not None and newest.observed != self.observed and self.pid is not None:
            self.observed = newest.observed
            self._listener.spinner_observed()

    def _forked(self, _child: Child) -> None:
        if self._open:
            self._look()

    def _receive(self) -> bytes:
        """All that there is to read; at its end the channel is closed."""
        words = b""
        while self._channel is not None:
            try:
                part = self._channel.recv(4096)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                part = b""
            words += part
            if not part:
                self._hang_up()
        return words

    def _hang_up(self) -> None:
        if self._channel is not None:
            self._clock.unwatch(self._channel.fileno())
            self._channel.close()
            self._channel = None

    def _exited(self, child: Child, ending: Exit) -> None:
        self._hear()
        self._hang_up()
        if self._ladder is not None:
            self._ladder.cancel()
        self._open = False
        self._page.close()
        self._listener.spinner_exited(self, _reason(child.pid, ending, self.refusal))


def _reason(pid: int | None, ending: Exit, refusal: tuple[str, str] | None) -> str:
    """How it ended, as a sentence's beginning."""
    if ending.code is None:
        return f"a process could not be started: {ending.error}"
    how = f"process {pid} ended {'by' if ending.code < 0 else 'with'} {ending}"
    return f"{how}: {refusal[0]}" if refusal else how
