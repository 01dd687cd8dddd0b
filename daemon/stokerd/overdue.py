"""Calls that are all due after the same time, most of them moot by then: one timer for all, and none cancelled."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from stokerd.clock import Clock, Timer


class Overdue:
    """See the module.

    Args:
        clock: for the time.
        seconds: after which each is due.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self._seconds = clock, seconds
        self._calls: deque[tuple[float, Callable[[], object]]] = deque()
        self._timer: Timer | None = None

    def add(self, call: Callable[[], object]) -> None:
        """Call this when the time is over; it has to see for itself whether there is still a reason to."""
        self._calls.append((self.clock.monotonic() + self._seconds, call))
        if self._timer is None:
            self._timer = self.clock.later(self._seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self.clock.monotonic()
        while self._calls and self._calls[0][0] <= now:
            self._calls.popleft()[1]()
        if self._calls and self._timer is None:
            self._timer = self.clock.later(self._calls[0][0] - now, self._look)
