"""Watches over what runs, only while something does: output within bounds, memory within limits, nobody stopped."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from stokerd.clock import Clock, Timer
from stokerd.pool.crew import Crew
from stokerd.pool.dispatcher import STUCK
from stokerd.pool.worker import Worker

TRIM_FIRST, TRIM_EVERY = 0.01, 0.25
"""Seconds between looks: at least, while jobs write much, and at most."""
MEMORY_EVERY = 0.1
"""Seconds between looks at the memory of workers that have a limit."""
PAGE = os.sysconf("SC_PAGE_SIZE")


class Lookout:
    """See the module.

    Args:
        crew: the workers.
        memory_bytes: resident memory that one may use, with what its commands use; 0: any.
        lent: how many bytes of large data there are in shared memory, which has a limit of its own.
    """

    def __init__(self, crew: Crew, clock: Clock, memory_bytes: int, lent: Callable[[], int] = lambda: 0) -> None:
        self._crew, self._clock, self._memory_bytes, self._lent = crew, clock, memory_bytes, lent
        self._timer: Timer | None = None
        self._pause = TRIM_FIRST
        self._weighed_at = 0.0
        self._closed = False
        self.too_large: dict[int, int] = {}
        """Memory in bytes of the workers that were killed for it, by their id, until somebody has told."""

    def adopt(self, memory_bytes: int) -> None:
        """Workers may use so much memory from now on."""
        self._memory_bytes = memory_bytes

    @property
    def rests(self) -> bool:
        """True while it would not notice that something runs."""
        return self._timer is None

    def begin(self) -> None:
        """Something runs."""
        if self._timer is None and not self._closed:
            self._pause = TRIM_FIRST
            self._timer = self._clock.later(TRIM_FIRST, self._look)

    def close(self) -> None:
        """The pool closes."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        busy = [worker for worker in self._crew.members.values() if worker.outstanding]
        flooding = sum(worker.trim() for worker in busy) > 0  # each of them, not up to the first that does
        if busy and not self._closed:
            longest = MEMORY_EVERY if self._memory_bytes else TRIM_EVERY
            self._pause = TRIM_FIRST if flooding else min(2 * self._pause, longest)
            self._timer = self._clock.later(self._pause, self._look)
        self._find_stopped(busy)
        if self._memory_bytes:
            self._weigh(busy)

    def _find_stopped(self, busy: list[Worker]) -> None:
        """A worker that does not begin with its jobs must not keep them from those that would."""
        for worker in busy:
            if worker.begins_late() and any(other.has_room(0.0, STUCK) for other in self._crew.members.values()):
                worker.doubt()

    def _weigh(self, busy: list[Worker]) -> None:
        now = self._clock.monotonic()
        if now - self._weighed_at < MEMORY_EVERY / 2:
            return
        self._weighed_at = now
        for worker in busy:
            if worker.pid is None or worker.id in self.too_large:
                continue
            used = resident(worker.pid, self._lent())
            if used > self._memory_bytes:
                self.too_large[worker.id] = used
                worker.kill()


def resident(pid: int, lent: int = 0) -> int:
    """Resident memory of a process and all its descendants, bytes; 0 where it has gone.

    Args:
        pid: of the process.
        lent: so many bytes of each process's shared memory are not counted.
    """
    total = 0
    pids = [pid]
    while pids:
        process = Path("/proc", str(pids.pop()))
        try:
            _, whole, shared, *_ = map(int, (process / "statm").read_bytes().split())
            total += whole * PAGE - min(shared * PAGE, lent)
            for children in process.glob("task/*/children"):
                pids += map(int, children.read_bytes().split())
        except (OSError, IndexError, ValueError):
            continue  # it ended meanwhile
    return total
