"""The thread that makes progress where nobody waits: Future callbacks, and coalesced submits whose caller went away.

It is started on first need. Plain calls and waits never need it: whoever waits does the receiving.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stoker.bell import Bell
from stoker.interrupts import HELD_BACK

if TYPE_CHECKING:
    from stoker.connection import Connection

FLUSH_AFTER = 0.001
"""Seconds that a submit may lie in an open batch."""


class Pump:
    """One connection's background thread. All methods but :meth:`rouse` are called with the connection's lock held.

    Args:
        connection: it drives this one.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._thread: threading.Thread | None = None
        self._bell = Bell()
        self._calls: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self._flush_at: float | None = None
        self._stopped = False
        self.unattended = 0
        """How many requests need somebody to receive for them."""

    @property
    def settled(self) -> object:
        """True when the pump has something better to do than to receive."""
        return self._calls or self._stopped or self._bell.rung

    def flush_soon(self) -> None:
        """See to it that the open batch leaves, if nobody sends it earlier."""
        if self._flush_at is None:
            self._flush_at = time.monotonic() + FLUSH_AFTER
            self._wake()

    def attend(self) -> None:
        """One more request that nobody waits for is under way."""
        self.unattended += 1
        if self.unattended == 1:
            self._wake()

    def release(self) -> None:
        """One of them has been answered."""
        self.unattended -= 1

    def call_soon(self, call: Callable[..., object], *args: Any) -> None:
        """Call in this thread, without the connection's lock."""
        self._calls.append((call, args))
        self._wake()

    def rouse(self) -> None:
        """Look again at what there is to do."""
        self._bell.ring()

    def is_current(self) -> bool:
        """Whether this is called in its thread."""
        return self._thread is threading.current_thread()

    def stop(self) -> None:
        """End the thread when it has made the calls that were asked for."""
        self._stopped = True
        self._bell.ring()
        self._connection.turns.wake()

    def join(self) -> None:
        """Wait for the thread's end, unless this is it. Called without the lock."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _wake(self) -> None:
        if self._thread is None and not self._stopped:
            self._start()
        if not self._bell.rung:
            self._bell.ring()
            self._connection.turns.wake()

    def _start(self) -> None:
        # the main thread holds these back where a handler must not run: they must not arrive in this one instead
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
            self._thread = threading.Thread(target=self._run, args=(mask,), name="stoker-pump", daemon=True)
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _run(self, mask: set[int]) -> None:
        connection = self._connection
        while True:
            self._bell.hush()
            with connection.lock:
                calls, self._calls = self._calls, []
                if self._stopped and not calls:
                    return
            if calls:
                # with the usual mask, which a process that a callback starts inherits
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                _make(calls)
                signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
                continue
            self._flush_if_due()
            timeout = None if self._flush_at is None else max(self._flush_at - time.monotonic(), 0)
            if not self.unattended or not connection.lead(self, timeout):
                self._bell.wait(timeout)

    def _flush_if_due(self) -> None:
        if self._flush_at is None or time.monotonic() < self._flush_at:
            return
        with self._connection.lock:
            self._flush_at = None
            opened = self._connection.opened
            if opened is None:
                return
            if time.monotonic() < opened + FLUSH_AFTER:
                # what this was set for has left with others, and a younger batch is open
                self._flush_at = opened + FLUSH_AFTER
            else:
                self._connection.flush()


def _make(calls: list[tuple[Callable[..., object], tuple[Any, ...]]]) -> None:
    """Make these calls; in a function of its own, so that this thread holds on to none of them while it sleeps."""
    for call, args in calls:
        call(*args)
