"""Semaphore and BoundedSemaphore: permits, and a line of those who want one."""

from __future__ import annotations

from typing import Any

from stoker.errors import IllegalMove, StokerError
from stoker.protocol.objects import ObjectOptions
from stokerd.promise import Promise
from stokerd.shared.base import Outcome, Room, SharedObject
from stokerd.shared.waiters import Actor, Gone, Line, known


class SharedSemaphore(SharedObject):
    """Permits that anybody may give: nobody owns one. While one is free nobody waits.

    Args:
        value: permits at first.
    """

    kind = "semaphore"

    def __init__(self, room: Room, object_id: str, name: str | None, *, value: int = 1) -> None:
        super().__init__(room, object_id, name)
        self.initial = value
        self.value = value
        self._grants: dict[Actor, int] = {}
        """The ticket of each one's last grant, so that a grant that was never seen can be undone."""
        self._line: Line[bool, None] = Line(room.clock, timed_out=lambda waiter: waiter.promise.resolve(False))

    @property
    def options(self) -> ObjectOptions:
        """See :class:`SharedObject`."""
        return ObjectOptions(value=self.initial)

    @property
    def waiting(self) -> int:
        """How many want a permit."""
        return len(self._line)

    def detail(self) -> dict[str, Any]:
        """See :class:`SharedObject`."""
        return {"value": self.value, "waiting": self.waiting}

    def acquire(self, actor: Actor, timeout: float | None = None, ticket: int = 0) -> Promise[bool]:
        """Take a permit; False where the time is over first."""
        if self.value > 0:
            self._grant(actor, ticket)
            return known(True)
        if timeout == 0:
            return known(False)
        return self._line.park(actor, ticket, None, timeout)

    def release(self, actor: Actor, count: int = 1) -> None:  # noqa: ARG002 - a bounded one asks who
        """Give permits.

        Raises:
            IllegalMove: a bounded one would have more than at first.
        """
        self.value += count
        self._serve()

    def leave(self, gone: Gone) -> None:
        """See :class:`SharedObject`."""
        self._line.leave(gone)
        for actor in [actor for actor in self._grants if gone.took(actor)]:
            del self._grants[actor]

    def withdraw(self, actor: Actor, ticket: int) -> Promise[Outcome]:
        """See :class:`SharedObject`."""
        waiter = self._line.by_ticket(actor.session, ticket)
        if waiter is not None:
            self._line.time_over(waiter)
            return known("waiting")
        for granted, number in self._grants.items():
            if number == ticket and granted.session == actor.session:
                del self._grants[granted]
                self.release(granted)
                return known("granted")
        return known("none")

    def dropped(self, error: StokerError) -> None:
        """See :class:`SharedObject`."""
        self._line.reject_all(error)

    def _grant(self, actor: Actor, ticket: int) -> None:
        self.value -= 1
        if ticket:
            self._grants[actor] = ticket

    def _serve(self) -> None:
        while self.value > 0 and (waiter := self._line.take()) is not None:
            self._grant(waiter.actor, waiter.ticket)
            waiter.promise.resolve(True)


class SharedBoundedSemaphore(SharedSemaphore):
    """Permits that are taken and given back, never more than at first.

    Args:
        robust: the permits of whoever ends are given back.
    """

    kind = "bounded-semaphore"

    def __init__(self, room: Room, object_id: str, name: str | None, *, value: int = 1, robust: bool = True) -> None:
        super().__init__(room, object_id, name, value=value)
        self.robust = robust
        self._held: dict[Actor, int] = {}
        """Permits that are out, by who took them, oldest first; together always ``initial - value``."""
        self._forgiven = 0
        """Permits that came back because their holders ended, and that others may have been meant to give back."""

    @property
    def options(self) -> ObjectOptions:
        """See :class:`SharedObject`."""
        return ObjectOptions(value=self.initial, robust=self.robust)

    def release(self, actor: Actor, count: int = 1) -> None:
        """Give permits back; see :class:`SharedSemaphore`, and :meth:`SharedLock.release` for those that are back."""
        if self.value + count > self.initial and self._forgiven >= count:
            self._forgiven -= count
            return
        if self.value + count > self.initial:
            raise IllegalMove(f"semaphore {self.id!r} released too many times", data={"value": self.value})
        for _ in range(count):
            self._give_back(actor if actor in self._held else next(iter(self._held)))
        super().release(actor, count)

    def free(self, gone: Gone) -> None:
        """See :class:`SharedObject`."""
        lost = [(actor, count) for actor, count in self._held.items() if gone.took(actor)] if self.robust else []
        for actor, count in lost:
            self.room.tell(self, "permits given back: their holder ended")
            self.release(actor, count)
            self._forgiven += count
        self._forgiven = min(self._forgiven, self.value)

    def _grant(self, actor: Actor, ticket: int) -> None:
        super()._grant(actor, ticket)
        self._forgiven = min(self._forgiven, self.value)
        self._held[actor] = self._held.get(actor, 0) + 1

    def _give_back(self, actor: Actor) -> None:
        self._held[actor] -= 1
        if self._held[actor] == 0:
            del self._held[actor]
