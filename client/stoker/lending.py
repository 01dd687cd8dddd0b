"""A job that waits for jobs lends its slot to them: so that waiting in a full pool can't deadlock.

Whoever blocks for a result inside a job tells the daemon when the wait takes longer than a moment, and again when it is
over. Outside of jobs all of this is one look at the environment.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stoker.errors import StokerError

if TYPE_CHECKING:
    from stoker.connection import Connection
    from stoker.turns import Slot

MOMENT = 0.005
"""Seconds of waiting that nobody is told of: a result that is on its way needs no other worker."""


def in_job() -> bool:
    """Whether this process runs a job, or was started by a command that is one."""
    return "STOKER_JOB" in os.environ or in_worker()


def in_worker() -> bool:
    """Whether this process is a worker of a daemon's: one in which jobs can say how far they have come."""
    progress = sys.modules.get("stokerd.pool.progress")
    return progress is not None and progress.tell is not None


def wait(connection: Connection, slot: Slot, timeout: float | None) -> bool:
    """As the connection's own ``wait``, with this process's slot lent meanwhile if it has one.

    Args:
        connection: to the daemon.
        slot: what to wait for.
        timeout: seconds; None: for ever.

    Returns:
        False when the time was over first.
    """
    if slot.settled or not in_job():
        return connection.wait(slot, timeout)
    if connection.wait(slot, MOMENT if timeout is None else min(timeout, MOMENT)):
        return True
    if timeout is not None and timeout <= MOMENT:
        return False
    with lent(connection):
        return connection.wait(slot, None if timeout is None else timeout - MOMENT)


@contextlib.contextmanager
def lent(connection: Connection) -> Iterator[None]:
    """Lend this process's slot for the duration of a block; nothing happens where there is none to lend.

    Args:
        connection: to the daemon; threads that wait by the same one count as one.
    """
    with connection.lock:
        connection.lenders += 1
        first = connection.lenders == 1
    try:
        if first:
            _tell(connection, lends=True)
        yield
    finally:
        with connection.lock:
            connection.lenders -= 1
            last = connection.lenders == 0
        if last:
            _tell(connection, lends=False)


def _tell(connection: Connection, *, lends: bool) -> None:
    # A daemon that has gone has no use for the slot either; what is waited for says so in its own words.
    with contextlib.suppress(StokerError):
        connection.call("lend", {"lent": lends})
