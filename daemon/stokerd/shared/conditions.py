"""Condition: a lock, and a line of those who wait to be notified.

A waiter goes through two lines. In the condition's own line it waits to be notified, or for its time to be over; then
in the lock's line to hold the lock again; only then is it answered. One that was notified and ends before it holds the
lock passes its notification on, so none is lost.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from stoker.errors import HolderGone, StokerError
from stoker.protocol.objects import ObjectOptions
from stokerd.promise import Promise
from stokerd.shared.base import Outcome, Room, SharedObject
from stokerd.shared.locks import SharedLock
from stokerd.shared.waiters import Actor, Gone, Line, Waiter, known


class Woken(NamedTuple):
    """The lock is held again. ``notified`` is False where the time was over first."""

    notified: bool
    token: int


class _Return(NamedTuple):
    """One on its way back to the lock."""

    waiter: Waiter[Woken, int]
    notified: bool
    regain: Promise[int]


class SharedCondition(SharedObject):
    """A condition.

    Args:
        lock: the lock that goes with it.
    """

    kind = "condition"

    def __init__(self, room: Room, object_id: str, name: str | None, *, lock: SharedLock) -> None:
        super().__init__(room, object_id, name)
        self.lock = lock
        self.lock_id = lock.id
        lock.keep_here()
        self._line: Line[Woken, int] = Line(room.clock, timed_out=lambda waiter: self._return(waiter, notified=False))
        """Waiters want the depth that they held the lock with."""
        self._returning: dict[Waiter[Woken, int], _Return] = {}

    @property
    def options(self) -> ObjectOptions:
        """See :class:`SharedObject`."""
        return ObjectOptions(lock=self.lock.id)

    def detail(self) -> dict[str, Any]:
        """See :class:`SharedObject`."""
        return {"waiting": len(self._line), "lock": self.lock.id}

    def wait(self, actor: Actor, timeout: float | None = None, ticket: int = 0) -> Promise[Woken]:
        """Give up the lock, wait to be notified, and answer when the lock is held again.

        Raises:
            NotOwner: the caller does not hold the lock.
        """
        if self.lock.lent:
            return self.lock.when_here(actor, lambda: self.wait(actor, timeout, ticket))
        self.lock.must_own(actor)
        inner = self._line.park(actor, ticket, self.lock.depth, timeout)
        outer: Promise[Woken] = Promise(on_abandon=lambda: self._abandoned(inner))
        inner.when_settled(lambda done: _follow(done, outer))
        self.lock.surrender(actor)
        return outer

    def notify(self, actor: Actor, count: int | None = 1) -> int:
        """Notify the ``count`` who have waited longest, None: all; returns how many.

        Raises:
            NotOwner: the caller does not hold the lock.
        """
        self.lock.must_own(actor)
        return self._notify(len(self._line) if count is None else count)

    def leave(self, gone: Gone) -> None:
        """See :class:`SharedObject`."""
        self._line.leave(gone)
        for waiter in [waiter for waiter in self._returning if gone.took(waiter.actor)]:
            self._lost(waiter)
            waiter.promise.reject(HolderGone("the session or process that waited has ended"))

    def withdraw(self, actor: Actor, ticket: int) -> Promise[Outcome]:
        """See :class:`SharedObject`."""
        if self.lock.lent:
            return self.lock.when_here(actor, lambda: self.withdraw(actor, ticket))
        waiter = self._line.by_ticket(actor.session, ticket)
        if waiter is not None:
            self._line.time_over(waiter)
            return _outcome(waiter.promise)
        for waiter in self._returning:
            if waiter.ticket == ticket and waiter.actor.session == actor.session:
                return _outcome(waiter.promise)
        return known("none")

    def dropped(self, error: StokerError) -> None:
        """See :class:`SharedObject`."""
        self._line.reject_all(error)
        for back in list(self._returning.values()):
            back.regain.abandon()
            back.waiter.promise.reject(error)
        self._returning.clear()

    def _notify(self, count: int) -> int:
        notified = 0
        while notified < count and (waiter := self._line.take()) is not None:
            self._return(waiter, notified=True)
            notified += 1
        return notified

    def _return(self, waiter: Waiter[Woken, int], *, notified: bool) -> None:
        regain = self.lock.regain(waiter.actor, waiter.want)
        self._returning[waiter] = _Return(waiter, notified, regain)
        regain.when_settled(lambda done: self._returned(waiter, done))

    def _returned(self, waiter: Waiter[Woken, int], regain: Promise[int]) -> None:
        back = self._returning.pop(waiter, None)
        if back is None:
            return
        if regain.error is not None:
            waiter.promise.reject(regain.error)
            if back.notified:
                self._notify(1)
        else:
            waiter.promise.resolve(Woken(back.notified, regain.value()))

    def _abandoned(self, inner: Promise[Woken]) -> None:
        for waiter in self._returning:
            if waiter.promise is inner:
                self._lost(waiter)
                return
        inner.abandon()

    def _lost(self, waiter: Waiter[Woken, int]) -> None:
        """It ended on its way back to the lock."""
        back = self._returning.pop(waiter)
        back.regain.abandon()
        if back.notified:
            self._notify(1)


def _follow(inner: Promise[Woken], outer: Promise[Woken]) -> None:
    if inner.error is not None:
        outer.reject(inner.error)
    else:
        outer.resolve(inner.value())


def _outcome(wait: Promise[Woken]) -> Promise[Outcome]:
    """Known when the wait is answered, however that ends."""
    outcome: Promise[Outcome] = Promise()
    wait.when_settled(lambda _: outcome.resolve("waiting"))
    return outcome
