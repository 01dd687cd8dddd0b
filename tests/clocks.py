"""A clock that is turned by hand, for parts that are tested without a loop."""

from __future__ import annotations

import heapq
import itertools
import select
from collections.abc import Callable
from typing import Any


class HandTimer:
    """A call that was asked for."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """Do not call any more."""
        self.call = None


class HandClock:
    """Time passes when :meth:`turn` is called, and only then; descriptors are real, and looked at by :meth:`look`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.watched: dict[int, Callable[[], object]] = {}
        self.watched_for_room: dict[int, Callable[[], object]] = {}
        self._queue: list[tuple[float, int, HandTimer]] = []
        self._count = itertools.count()

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def time(self) -> float:
        """Seconds since the epoch."""
        return 1_700_000_000.0 + self.now

    def later(self, seconds: float, call: Callable[..., object], *args: Any) -> HandTimer:
        """Call when so much time has been let pass."""
        timer = HandTimer(lambda: call(*args))
        heapq.heappush(self._queue, (self.now + seconds, next(self._count), timer))
        return timer

    def soon(self, call: Callable[..., object], *args: Any) -> HandTimer:
        """Call in the next turn."""
        return self.later(0, call, *args)

    def watch(self, fd: int, call: Callable[..., object], *args: Any) -> None:
        """Call when ``fd`` can be read and is looked at."""
        self.watched[fd] = lambda: call(*args)

    def unwatch(self, fd: int) -> None:
        """Do not look at it any more."""
        self.watched.pop(fd, None)

    def watch_write(self, fd: int, call: Callable[..., object], *args: Any) -> None:
        """Call when ``fd`` can be written to and is looked at."""
        self.watched_for_room[fd] = lambda: call(*args)

    def unwatch_write(self, fd: int) -> None:
        """Do not look at it any more."""
        self.watched_for_room.pop(fd, None)

    def turn(self, seconds: float = 0.0) -> None:
        """Let time pass, and call what is due on the way."""
        until = self.now + seconds
        while self._queue and self._queue[0][0] <= until:
            due, _, timer = heapq.heappop(self._queue)
            self.now = max(self.now, due)
            if timer.call is not None:
                call, timer.call = timer.call, None
                call()
        self.now = until

    def look(self, deadline: float = 30.0) -> bool:
        """Wait until a watched descriptor is ready, and call whoever watches; False when none was in time."""
        readable, writable, _ = select.select(list(self.watched), list(self.watched_for_room), [], deadline)
        for ready, watched in ((readable, self.watched), (writable, self.watched_for_room)):
            for fd in ready:
                if fd in watched:
                    watched[fd]()
        return bool(readable or writable)

    def pending(self) -> int:
        """Calls that would still be made."""
        return sum(timer.call is not None for _, _, timer in self._queue)
