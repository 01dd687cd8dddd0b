"""Who waits: parked answers in order of arrival, each of which is settled exactly once.

A waiter leaves its line by being served (:meth:`Line.take`), by its time being over, by nobody wanting the answer any
more (the promise is abandoned), by the end of its session or holder, or because the object is dropped.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from stoker.errors import HolderGone, StokerError
from stokerd.clock import Clock, Timer
from stokerd.promise import Promise

T = TypeVar("T")
W = TypeVar("W")


class Actor(NamedTuple):
    """Who asks: a session, and which process or thread of it. The session is empty for a peer that has none."""

    session: str
    holder: str = ""


@dataclass(frozen=True, slots=True)
class Gone:
    """Who has ended: a whole session, or one holder of it.

    A holder stands for its threads too: ``"1234"`` is also everybody called ``"1234:…"``.
    """

    session: str
    holder: str | None = None

    def took(self, actor: Actor) -> bool:
        """Whether this was the end of ``actor``."""
        if actor.session != self.session:
            return False
        return self.holder is None or actor.holder == self.holder or actor.holder.startswith(f"{self.holder}:")


class Waiter(Generic[T, W]):
    """One parked answer.

    Args:
        actor: who waits.
        ticket: the number by which its client can call it back; 0: it has none.
        want: what it waits for.
        promise: the answer.
    """

    __slots__ = ("actor", "promise", "ticket", "timer", "want")

    def __init__(self, actor: Actor, ticket: int, want: W, promise: Promise[T]) -> None:
        self.actor = actor
        self.ticket = ticket
        self.want = want
        self.promise = promise
        self.timer: Timer | None = None


class Line(Generic[T, W]):
    """Waiters in order of arrival.

    Args:
        clock: for the time limits.
        timed_out: called with a waiter whose time is over, when it has left the line; it must settle it.
        left: called when a waiter has left without having been served; whoever is behind it may be served now.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        timed_out: Callable[[Waiter[T, W]], None],
        left: Callable[[Waiter[T, W]], None] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._timed_out = timed_out
        self._left = left
        self._waiters: OrderedDict[Waiter[T, W], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiters)

    def park(self, actor: Actor, ticket: int, want: W, timeout: float | None) -> Promise[T]:
        """Put somebody at the end, for at most ``timeout`` seconds; None: for ever."""
        promise: Promise[T] = Promise(on_abandon=lambda: self._abandoned(waiter))
        waiter = Waiter(actor, ticket, want, promise)
        self._waiters[waiter] = None
        if timeout is not None:
            waiter.timer = self._clock.later(timeout, self.time_over, waiter)
        return promise

    def first(self) -> Waiter[T, W] | None:
        """Who has waited longest; it stays in the line."""
        return next(iter(self._waiters), None)

    def take(self) -> Waiter[T, W] | None:
        """Remove and return who has waited longest; the caller settles it."""
        waiter = self.first()
        if waiter is not None:
            self.remove(waiter)
        return waiter

    def by_ticket(self, session: str, ticket: int) -> Waiter[T, W] | None:
        """The waiter of this session that has this ticket."""
        for waiter in self._waiters:
            if waiter.ticket == ticket and waiter.actor.session == session:
                return waiter
        return None

    def time_over(self, waiter: Waiter[T, W]) -> None:
        """Its time is over, or it was called back."""
        if self.remove(waiter):
            self._timed_out(waiter)
            self._left(waiter)

    def leave(self, gone: Gone) -> None:
        """Remove whoever has ended; all of them before any of the others is served."""
        ended = [waiter for waiter in self._waiters if gone.took(waiter.actor)]
        for waiter in ended:
            self.remove(waiter)
        for waiter in ended:
            waiter.promise.reject(HolderGone("the session or process that waited has ended"))
            self._left(waiter)

    def reject_all(self, error: StokerError) -> None:
        """Tell everybody that it will not be."""
        while (waiter := self.take()) is not None:
            waiter.promise.reject(error)

    def _abandoned(self, waiter: Waiter[T, W]) -> None:
        if self.remove(waiter):
            self._left(waiter)

    def remove(self, waiter: Waiter[T, W]) -> bool:
        """Take it out, unserved; the caller settles it. False where it has left already."""
        if waiter not in self._waiters:
            return False
        del self._waiters[waiter]
        if waiter.timer is not None:
            waiter.timer.cancel()
        return True


def known(value: T) -> Promise[T]:
    """An answer that need not be waited for."""
    promise: Promise[T] = Promise()
    promise.resolve(value)
    return promise


def refused(error: StokerError) -> Promise[T]:
    """An answer that is an error, without waiting."""
    promise: Promise[T] = Promise()
    promise.reject(error)
    return promise
