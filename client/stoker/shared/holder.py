"""Who this thread is to the daemon: the holder of locks and the borrower of queue items."""

from __future__ import annotations

import itertools
import os
import threading

_threads = itertools.count(1)
_tickets = itertools.count(1)


class _Known(threading.local):
    name = ""
    number = 0


_known = _Known()


def holder() -> str:
    """``pid:number``; numbers are never used again in a process, other than the identifiers of threads."""
    return _known.name or _make_known()


def holder_number() -> int:
    """The number in it."""
    if not _known.number:
        _make_known()
    return _known.number


def _make_known() -> str:
    number = next(_threads)
    _known.number, _known.name = number, f"{os.getpid()}:{number}"
    return _known.name


def _after_fork() -> None:
    """The one thread of a forked child is another one than that of the parent."""
    _known.number, _known.name = 0, ""


def new_ticket() -> int:
    """A number that no other request of this process has, to call a waiting one back by."""
    return next(_tickets)


os.register_at_fork(after_in_child=_after_fork)
