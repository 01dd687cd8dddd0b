"""How much of what was put in a queue is not yet done, and who waits for all of it."""

from __future__ import annotations

from stoker.errors import IllegalMove, StokerError
from stokerd.clock import Clock
from stokerd.promise import Promise
from stokerd.shared.base import Outcome
from stokerd.shared.waiters import Actor, Gone, Line, known


class Tally:
    """A count of unfinished items. While it is 0 nobody waits."""

    def __init__(self, clock: Clock) -> None:
        self.unfinished = 0
        self._joiners: Line[bool, None] = Line(clock, timed_out=lambda waiter: waiter.promise.resolve(False))

    def task_done(self, count: int = 1) -> None:
        """So many are done.

        Raises:
            IllegalMove: more than were put.
        """
        if count > self.unfinished:
            raise IllegalMove("task_done() called too many times", data={"unfinished": self.unfinished})
        self.unfinished -= count
        while not self.unfinished and (waiter := self._joiners.take()) is not None:
            waiter.promise.resolve(True)

    def join(self, actor: Actor, timeout: float | None = None, ticket: int = 0) -> Promise[bool]:
        """Whether all is done; waits for that."""
        if not self.unfinished or timeout == 0:
            return known(not self.unfinished)
        return self._joiners.park(actor, ticket, None, timeout)

    def leave(self, gone: Gone) -> None:
        """Somebody has ended."""
        self._joiners.leave(gone)

    def withdraw(self, actor: Actor, ticket: int) -> Promise[Outcome]:
        """Call back a waiting request."""
        waiter = self._joiners.by_ticket(actor.session, ticket)
        if waiter is None:
            return known("none")
        self._joiners.time_over(waiter)
        return known("waiting")

    def reject_all(self, error: StokerError) -> None:
        """Tell everybody that it will not be."""
        self._joiners.reject_all(error)
