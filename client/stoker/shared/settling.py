"""Acknowledging what was taken from queues, at the cost of no message where calls follow each other.

The daemon takes the next shared-object call of the same thread as proof that the items it gave have arrived. Where no
call follows soon, a background thread says so: within :data:`PATIENCE`, and before the process ends. So an item returns
to its queue only if its taker dies before it can have been looked at for longer than that. To hold on to an item until
the work on it is done, use :meth:`stoker.shared.Queue.take`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import time
from typing import NamedTuple, Protocol

from stoker.bell import Bell

# its exit handler closes what ours needs, and exit handlers run in reverse
from stoker.connection import Connection, open_connections
from stoker.errors import StokerError

PATIENCE = 0.02
"""Seconds that an item may be unacknowledged while its taker makes no other call."""
DEADLINE = 2.0
"""Seconds that the end of the process waits for the daemon."""


class _Kept(Protocol):
    """Items at hand (:class:`stoker.shared.taking.Basket`)."""

    @property
    def connection(self) -> Connection:
        """Where they are from."""

    def settle(self, older_than: float) -> bool:
        """Give back what nobody has come for in so many seconds; True if nothing is owed any more."""


class _Owed(NamedTuple):
    connection: Connection
    queue: str
    delivery: int
    since: float


_owed: dict[tuple[int, str], _Owed] = {}
"""By connection and holder: a holder has at most one such loan, since its next call settles it."""
_kept: dict[int, _Kept] = {}
_children = False
"""Whether the end of a child of multiprocessing's has been seen to."""
_wake = Bell()
_thread: threading.Thread | None = None


def owe(connection: Connection, holder: str, queue: str, delivery: int) -> None:
    """A delivery has arrived and is not yet acknowledged."""
    _owed[id(connection), holder] = _Owed(connection, queue, delivery, time.monotonic())
    _rouse()


def keep(items: _Kept) -> None:
    """Items are at hand, and to be given back when nobody comes for them."""
    if _kept.get(id(items)) is not items:
        _kept[id(items)] = items
        _rouse()


def _rouse() -> None:
    if _thread is None or not _thread.is_alive():
        _start()
    if not _wake.rung:
        _wake.ring()


def paid(connection: Connection, holder: str) -> None:
    """The holder makes another call, which acknowledges it."""
    _owed.pop((id(connection), holder), None)


def settle() -> None:
    """Send and acknowledge everything now: before the process ends without its exit handlers, by ``os._exit`` for
    instance.
    """
    for connection in open_connections():
        with contextlib.suppress(StokerError):
            connection.see_off()
    _settle(older_than=0.0, deadline=DEADLINE)


def before_the_end_of_a_child() -> None:
    """Have :func:`settle` called where multiprocessing ends its children: by ``os._exit``, after its own handlers."""
    global _children  # noqa: PLW0603 - once for the process
    if not _children and "multiprocessing.util" in sys.modules:
        from multiprocessing.util import Finalize

        _children = True
        Finalize(None, settle, exitpriority=20)


def _start() -> None:
    global _thread  # noqa: PLW0603 - there is one for the process
    _thread = threading.Thread(target=_run, name="stoker-settling", daemon=True)
    with contextlib.suppress(RuntimeError):  # the interpreter is ending: the exit handler settles
        _thread.start()
    before_the_end_of_a_child()


def _run() -> None:
    while True:
        _wake.wait()
        time.sleep(PATIENCE)
        _settle(older_than=PATIENCE, deadline=None)
        if _owed or _kept:
            _wake.ring()


def _settle(*, older_than: float, deadline: float | None) -> None:
    due = time.monotonic() - older_than
    for key, owed in list(_owed.items()):
        if owed.since <= due and _owed.pop(key, None) is not None:
            with contextlib.suppress(StokerError):  # the daemon is gone, and the queue with it
                owed.connection.call(
                    "queue.ack",
                    {"id": owed.queue, "deliveries": (owed.delivery,), "holder": "settling"},
                    timeout=deadline,
                )
    for number, items in list(_kept.items()):
        with items.connection.lock, contextlib.suppress(StokerError):  # likewise
            if items.settle(older_than):
                _kept.pop(number, None)
            if deadline is not None:  # it was said, and has to have arrived
                items.connection.call("ping", {}, timeout=deadline)


def _after_fork() -> None:
    """What the parent has taken is the parent's to acknowledge."""
    global _thread, _wake, _children  # noqa: PLW0603 - there is one of each for the process
    _owed.clear()
    _kept.clear()
    _children = False
    _thread, _wake = None, Bell()


atexit.register(settle)
os.register_at_fork(after_in_child=_after_fork)
