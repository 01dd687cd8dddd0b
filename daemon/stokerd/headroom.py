"""Descriptors that are kept free: for files that have to be opened, and because libzmq aborts where it finds none.

libzmq asserts that ``accept`` on an ipc socket does not fail for want of a descriptor, and ends the process where it
does. So as many are allowed as may be, nothing is begun here that would take the last ones, and nobody is let in by the
direct channel. (Its listener can't be shut meanwhile: ``unbind`` ends every connection that came in by it.)
"""

from __future__ import annotations

import os
import resource

MOST = 64
"""Descriptors kept free, at most; an eighth of the limit where that is less."""


def raise_limit() -> tuple[int, int]:
    """Allow this process as many descriptors as it may have; returns the soft and hard limits that it had."""
    had = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (had[1], had[1]))
    return had


def is_scarce() -> bool:
    """Whether there are no more than those that are to be kept free."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return False
    try:
        lowest_free = os.dup(2)
    except OSError:
        return True
    os.close(lowest_free)
    return lowest_free >= limit - min(MOST, limit // 8)
