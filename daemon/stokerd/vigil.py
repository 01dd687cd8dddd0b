"""How long the loop looks for what comes next before it goes to sleep.

To be woken costs tens of microseconds where the core has gone to sleep too, and what runs afterwards runs on cold
caches: a third of the time of a single job. So where messages follow close upon each other, the loop stays awake for
the moment until the next one. Where they do not, it never does; nor where no core of the machine is idle, and others
want this one.

The window grows when something came soon after the loop had gone to sleep, and closes when nothing did, as the idle
governor *haltpoll* of Linux has it (``drivers/cpuidle/governors/haltpoll.c``), which does the same for a whole machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeAlias

Events: TypeAlias = list[tuple[int, int]]
Poll: TypeAlias = Callable[[float | None], Events]

FIRST = 0.00005
"""Seconds that a window has at first; it is doubled as long as that is not enough."""
WEIGH = 0.1
"""Seconds after which it is looked whether others want the core: the kernel counts in hundredths of a second."""
SPARE = 0.1
"""Cores of the machine that have to be idle meanwhile. Not this thread's own waiting is what tells: it is favoured over
what runs here, and so waits for next to nothing while it takes the core from others.
"""
REST, LONGEST_REST = 0.1, 3.2
"""Seconds without a window then; doubled each time that it was so again right after."""


class Vigil:
    """See the module.

    Args:
        poll: waits for events, as ``select.epoll.poll``: 0 looks, None waits for ever.
        idle: seconds for which cores of the machine were idle, all in all; None where that is not known.
        clock: monotonic, seconds.
    """

    def __init__(
        self,
        poll: Poll,
        idle: Callable[[], float | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._poll, self._clock = poll, clock
        self._idle = idle or IdleTime().read
        self._most = 0.0
        self._window = 0.0
        self._weighed_at = 0.0
        self._idled = 0.0
        self._rests_until = 0.0
        self._rest = REST

    def set(self, most: float) -> None:
        """Let windows have so many seconds at most; 0: there is none.

        None either where there is one core only, or this process may not use them all.
        """
        all_cores = len(os.sched_getaffinity(0)) == os.cpu_count() != 1
        self._most = most if all_cores and self._idle() is not None else 0.0
        self._window = 0.0

    def wait(self, patience: float | None) -> Events:
        """The next events.

        Args:
            patience: seconds after which it is enough; None: never.
        """
        most = self._most
        if not most or patience == 0:
            return self._poll(patience)
        poll, clock, window = self._poll, self._clock, self._window
        begin = now = clock()
        if window and not self._is_crowded(begin):
            until = begin + (window if patience is None else min(window, patience))
            while now < until:
                if events := poll(0):
                    return events
                now = clock()
            if patience is not None:
                patience = max(0.0, patience - (now - begin))
        events = poll(patience)
        waited = clock() - begin
        if waited > most:
            self._window = 0.0
        elif waited > window:
            self._window = min(max(2 * window, FIRST), most)
        return events

    def _is_crowded(self, now: float) -> bool:
        if now < self._rests_until:
            return True
        passed = now - self._weighed_at
        if passed < WEIGH:
            return False
        before, self._idled = self._idled, self._idle() or 0.0
        self._weighed_at = now
        if passed > WEIGH + 2 * self._rest:
            self._rest = REST  # it has been quiet: what was before says nothing
            return False
        if self._idled - before >= SPARE * passed:
            return False
        self._rests_until = now + self._rest
        self._rest = min(2 * self._rest, LONGEST_REST)
        return True


class IdleTime:
    """For how long cores of this machine were idle, as the kernel counts it."""

    def __init__(self) -> None:
        try:
            self._fd = os.open("/proc/uptime", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # hidden from this process
            self._fd = -1

    def read(self) -> float | None:
        """Seconds, of all cores together; None where that can't be known."""
        if self._fd < 0:
            return None
        try:
            return float(os.pread(self._fd, 100, 0).split()[1])
        except (OSError, IndexError, ValueError):
            return None

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
