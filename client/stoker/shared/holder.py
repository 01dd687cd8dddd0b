"""Who this thread is to the daemon: the holder of locks and the borrower of queue items."""

from __future__ import annotations

import itertools
import os
import threading

_threads = itertools.count(1)
_tickets = itertools.count(1)


class _Known(threading.local):
    pid = 0
    name = ""


_known = _Known()


def holder() -> str:
    """``pid:number``; numbers are never used again in a process, other than the identifiers of threads."""
    pid = os.getpid()
    if _known.pid != pid:
        _known.pid, _known.name = pid, f"{pid}:{next(_threads)}"
    return _known.name


def new_ticket() -> int:
    """A number that no other request of this process has, to call a waiting one back by."""
    return next(_tickets)
