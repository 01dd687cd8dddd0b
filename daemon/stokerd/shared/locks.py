"""Lock and RLock: an owner, a fencing token, and a line of those who want it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from stoker.errors import NotOwner, StokerError
from stoker.protocol.objects import ObjectOptions
from stokerd.promise import Promise
from stokerd.shared.base import Outcome, Room, SharedObject
from stokerd.shared.bias import Bias
from stokerd.shared.lending import Lent, Standing
from stokerd.shared.waiters import Actor, Gone, Line, Waiter, known

T = TypeVar("T")


class SharedLock(SharedObject):
    """A lock. While it is free nobody waits.

    It may be lent (:mod:`stokerd.shared.bias`). Then nothing is said here of who holds it, and whatever is asked of it
    waits until it is here again.

    Args:
        robust: released when its owner ends; False: only ever by a release, as multiprocessing's.
    """

    kind = "lock"
    reentrant = False

    def __init__(self, room: Room, object_id: str, name: str | None, *, robust: bool = True) -> None:
        super().__init__(room, object_id, name)
        self.robust = robust
        self.owner: Actor | None = None
        self.depth = 0
        self.token = 0
        self._forgiven = False
        """Its last holder ended with it: one release that somebody else was to do for it has been done already."""
        self._ticket = 0
        self._line: Line[int, int] = Line(room.clock, timed_out=lambda waiter: waiter.promise.resolve(0))
        """Waiters want a depth: 1, or what a condition's waiter had before."""
        self._bias = Bias(room.clock, room.lender, self._back)

    @property
    def options(self) -> ObjectOptions:
        """See :class:`SharedObject`."""
        return ObjectOptions(robust=self.robust)

    @property
    def waiting(self) -> int:
        """How many want it."""
        return len(self._line)

    @property
    def lent(self) -> bool:
        """Whether it is lent, and not here."""
        return self._bias.lent is not None

    def look(self) -> Standing:
        """Who holds it, and the token of the last acquisition, wherever it is."""
        return self._bias.read() or Standing(self.owner, self.token)

    def detail(self) -> dict[str, Any]:
        """See :class:`SharedObject`."""
        owner, token = self.look()
        return {"owner": list(owner) if owner else None, "token": token, "waiting": self.waiting, "lent": self.lent}

    def acquire(self, actor: Actor, timeout: float | None = None, ticket: int = 0) -> Promise[int]:
        """The fencing token, or 0 where the time is over first.

        Args:
            actor: who wants it.
            timeout: seconds; None: for ever.
            ticket: to call the request back by.
        """
        if self.lent:
            return self._bias.when_here(actor, lambda: self.acquire(actor, timeout, ticket))
        if self.owner is None:
            self._grant(actor, 1, ticket)
            self._bias.acquired(actor.session)
            return known(self.token)
        if self.reentrant and self.owner == actor:
            self.depth += 1
            self._ticket = ticket
            return known(self.token)
        self._bias.disturbed()
        if timeout == 0:
            return known(0)
        return self._line.park(actor, ticket, 1, timeout)

    def lend(self, actor: Actor, *, first: bool) -> Lent | None:
        """Lend it to who has just acquired it; None where that is not due.

        Args:
            actor: who has.
            first: its session knows of no memory for that.
        """
        if self.reentrant or self.owner != actor or self.waiting:
            return None
        lent = self._bias.lend(actor, self.token, self._ticket, first=first)
        if lent is not None:
            self.owner, self.depth, self._ticket = None, 0, 0
        return lent

    def claim(self, actor: Actor, lent: Lent, token: int, ticket: int) -> bool:
        """Whether somebody has it by an acquisition that it did not dare to believe in, since the loan was recalled.

        Args:
            actor: who.
            lent: the loan.
            token: of the acquisition.
            ticket: to call the request back by.
        """
        if self.owner is None or not lent.adopted == token == self.token:
            return False
        self.owner, self._ticket = actor, ticket
        return True

    def when_here(self, actor: Actor, ask: Callable[[], Promise[T]]) -> Promise[T]:
        """Ask something of it or of what goes with it, when it is not lent."""
        return self._bias.when_here(actor, ask)

    def keep_here(self) -> None:
        """Never lend it any more."""
        self._bias.bar()

    def release(self, actor: Actor, token: int | None = None) -> Promise[None]:
        """Release it once.

        A program may have one process acquire a lock and another one release it. When the first has ended, which
        released it, the second one's release is fine, once, unless somebody has acquired it since.

        Raises:
            NotOwner: it is free, or an RLock of another, or ``token`` is not the current one.
        """
        if self.lent:
            return self._bias.when_here(actor, lambda: self.release(actor, token))
        if self.owner is None and self._forgiven and token is None and not self.reentrant:
            self._forgiven = False
            return known(None)
        if self.owner is None:
            raise NotOwner(f"{self.kind} {self.id!r} is not held: released too many times, or lost with its holder")
        if self.reentrant and self.owner != actor:
            raise NotOwner(f"{self.kind} {self.id!r} is held by another", hint="an RLock is released by its owner only")
        if token is not None and token != self.token:
            raise NotOwner(
                f"{self.kind} {self.id!r} was lost: token {token} is not the current one",
                hint="its holder's session ended, or another released it; acquire it again",
                data={"token": self.token},
            )
        if self.owner.session != actor.session:
            self._bias.disturbed()
        self.depth -= 1
        if self.depth == 0:
            self._pass_on()
        return known(None)

    def surrender(self, actor: Actor) -> int:
        """Give it up altogether, for a condition; returns how often it was held.

        Raises:
            NotOwner: the caller does not hold it.
        """
        self.must_own(actor)
        depth = self.depth
        self._pass_on()
        return depth

    def must_own(self, actor: Actor) -> None:
        """Raises NotOwner unless ``actor`` holds it."""
        if self.owner != actor:
            raise NotOwner(f"{self.kind} {self.id!r} is not held by the caller", hint="acquire it first")

    def regain(self, actor: Actor, depth: int) -> Promise[int]:
        """Get back what was surrendered; the token when it is held."""
        if self.owner is None:
            self._grant(actor, depth, 0)
            return known(self.token)
        return self._line.park(actor, 0, depth, None)

    def leave(self, gone: Gone) -> None:
        """See :class:`SharedObject`."""
        self._bias.leave(gone)
        self._line.leave(gone)

    def free(self, gone: Gone) -> None:
        """See :class:`SharedObject`."""
        lent = self._bias.lent
        if lent is not None:
            if lent.actor.session == gone.session:  # what it held, the slot says
                self._bias.when_here(None, lambda: self._free_here(gone))
            return
        if self.robust and self.owner is not None and gone.took(self.owner):
            self.room.tell(self, "released: its holder ended")
            self._pass_on()
            self._forgiven = self.owner is None

    def _free_here(self, gone: Gone) -> Promise[None]:
        self.free(gone)
        return known(None)

    def withdraw(self, actor: Actor, ticket: int) -> Promise[Outcome]:
        """See :class:`SharedObject`."""
        if self.lent:
            return self._bias.when_here(actor, lambda: self.withdraw(actor, ticket))
        waiter = self._line.by_ticket(actor.session, ticket)
        if waiter is not None:
            self._line.time_over(waiter)
            return known("waiting")
        if self.owner is not None and self.owner.session == actor.session and self._ticket == ticket:
            self.release(self.owner)
            self._ticket = 0
            return known("granted")
        return known("none")

    def dropped(self, error: StokerError) -> None:
        """See :class:`SharedObject`."""
        self.owner = None
        self._bias.dropped(error)
        self._line.reject_all(error)

    def _back(self, standing: Standing, ticket: int) -> None:
        """It was lent, and is here again."""
        self.owner, self.token = standing
        self.depth, self._ticket = int(standing.owner is not None), ticket
        self.room.tokens.beyond(standing.token)

    def _grant(self, actor: Actor, depth: int, ticket: int) -> None:
        self.owner, self.depth, self._ticket, self._forgiven = actor, depth, ticket, False
        self.token = self.room.tokens.next()

    def _pass_on(self) -> None:
        self.owner, self.depth, self._ticket = None, 0, 0
        waiter: Waiter[int, int] | None = self._line.take()
        if waiter is not None:
            self._grant(waiter.actor, waiter.want, waiter.ticket)
            waiter.promise.resolve(self.token)


class SharedRLock(SharedLock):
    """A lock that its owner can acquire again, and only its owner can release."""

    kind = "rlock"
    reentrant = True
