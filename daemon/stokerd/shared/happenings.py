"""Event: a flag to wait for."""

from __future__ import annotations

from typing import Any

from stoker.errors import StokerError
from stokerd.promise import Promise
from stokerd.shared.base import Outcome, Room, SharedObject
from stokerd.shared.waiters import Actor, Gone, Line, known


class SharedEvent(SharedObject):
    """A flag. While it is set nobody waits."""

    kind = "event"

    def __init__(self, room: Room, object_id: str, name: str | None) -> None:
        super().__init__(room, object_id, name)
        self.flag = False
        self._line: Line[bool, None] = Line(room.clock, timed_out=lambda waiter: waiter.promise.resolve(False))

    def detail(self) -> dict[str, Any]:
        """See :class:`SharedObject`."""
        return {"set": self.flag, "waiting": len(self._line)}

    def set(self) -> None:
        """Set it; all who wait go on."""
        self.flag = True
        while (waiter := self._line.take()) is not None:
            waiter.promise.resolve(True)

    def clear(self) -> None:
        """Clear it."""
        self.flag = False

    def wait(self, actor: Actor, timeout: float | None = None, ticket: int = 0) -> Promise[bool]:
        """Whether it is set; waits for that."""
        if self.flag or timeout == 0:
            return known(self.flag)
        return self._line.park(actor, ticket, None, timeout)

    def leave(self, gone: Gone) -> None:
        """See :class:`SharedObject`."""
        self._line.leave(gone)

    def withdraw(self, actor: Actor, ticket: int) -> Promise[Outcome]:
        """See :class:`SharedObject`."""
        waiter = self._line.by_ticket(actor.session, ticket)
        if waiter is None:
            return known("none")
        self._line.time_over(waiter)
        return known("waiting")

    def dropped(self, error: StokerError) -> None:
        """See :class:`SharedObject`."""
        self._line.reject_all(error)
