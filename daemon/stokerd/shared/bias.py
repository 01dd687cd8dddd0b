"""When a lock is lent to the session that keeps using it alone, and how it comes back: one lock's part of lending.

A recall takes :data:`stoker.protocol.loans.SETTLE`. Whatever is asked of the lock meanwhile waits, and is done in order
when the lock is here.

*How often.* A lock is lent after some acquisitions in a row. A loan that ended before it had saved what its recall cost
doubles their number, a good one halves it: so a lock that two share does not go back and forth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from stoker.errors import HolderGone, StokerError
from stoker.protocol.loans import SETTLE
from stokerd.clock import Clock, Timer
from stokerd.promise import Promise, internal_error
from stokerd.shared.lending import Lender, Lent, Standing
from stokerd.shared.waiters import Actor, Gone

T = TypeVar("T")

FEWEST, MOST = 3, 3 << 8
"""Acquisitions in a row after which a lock is lent, at least and at most."""
WORTH = 64
"""Acquisitions on a loan that save as much as its recall costs whoever waits for that."""


class _Later(Generic[T]):
    """Something that is asked of a lock which is being recalled."""

    def __init__(self, actor: Actor | None, ask: Callable[[], Promise[T]]) -> None:
        self.actor, self._ask = actor, ask
        self.answer: Promise[T] = Promise(on_abandon=self._abandoned)
        self._asked: Promise[T] | None = None

    def run(self) -> None:
        """The lock is here."""
        if self.answer.settled:
            return  # nobody waits for it any more
        try:
            self._asked = self._ask()
        except StokerError as why:
            self.answer.reject(why)
        except Exception as bug:  # whoever waits gets an answer, and the others have their turn
            self.answer.reject(internal_error(bug))
        else:
            self._asked.when_settled(self._forward)

    def _forward(self, asked: Promise[T]) -> None:
        if asked.error is not None:
            self.answer.reject(asked.error)
        else:
            self.answer.resolve(asked.value())

    def _abandoned(self) -> None:
        if self._asked is not None:
            self._asked.abandon()


class Bias:
    """See the module.

    Args:
        clock: time.
        lender: lends.
        back: called with what a loan ended with, and the ticket of its acquisition, when the lock is here again.
    """

    def __init__(self, clock: Clock, lender: Lender, back: Callable[[Standing, int], None]) -> None:
        self._clock, self._lender, self._back = clock, lender, back
        self.lent: Lent | None = None
        self.barred = False
        """It is never lent: a condition goes with it, whose waiters have to find its owner here."""
        self._runner, self._run = "", 0
        """Who has acquired it so many times in a row."""
        self._wanted = FEWEST
        self._recall: Timer | None = None
        self._meanwhile: list[_Later[Any]] = []

    def acquired(self, session: str) -> None:
        """It was free, and somebody has acquired it."""
        self._run = self._run + 1 if session == self._runner else 1
        self._runner = session

    def disturbed(self) -> None:
        """Somebody else wants it, or has done something about it."""
        self._runner, self._run = "", 0

    def lend(self, actor: Actor, token: int, ticket: int, *, first: bool) -> Lent | None:
        """Lend it to who has just acquired it; None where that is not due, or can't be."""
        if self.barred or not actor.session or self._run < self._wanted or self._runner != actor.session:
            return None
        self.lent = self._lender.lend(actor, token, ticket, first=first, recalled=self._returned)
        return self.lent

    def bar(self) -> None:
        """Never lend it any more."""
        self.barred = True
        if self.lent is not None:
            self.recall()

    def read(self) -> Standing | None:
        """What is known of a loan without a recall; None where there is none."""
        return None if self.lent is None else self.lent.read(self._clock.monotonic())

    def when_here(self, actor: Actor | None, ask: Callable[[], Promise[T]]) -> Promise[T]:
        """Ask something of the lock, at once where it is not lent.

        Args:
            actor: who asks; None: the daemon itself.
            ask: does it.
        """
        if self.lent is None:
            return ask()
        later = _Later(actor, ask)
        self._meanwhile.append(later)
        self.recall()
        return later.answer

    def recall(self) -> None:
        """Have it back soon; it is lent."""
        if self.lent is not None and self._recall is None:
            self.lent.revoke()
            self._recall = self._clock.later(SETTLE, self._returned)

    def leave(self, gone: Gone) -> None:
        """Somebody has ended, and asks for nothing any more."""
        ended = [later for later in self._meanwhile if later.actor is not None and gone.took(later.actor)]
        self._meanwhile = [later for later in self._meanwhile if later not in ended]
        for later in ended:
            later.answer.reject(HolderGone("the session or process that asked has ended"))

    def dropped(self, error: StokerError) -> None:
        """The lock is no more."""
        if self.lent is not None:
            self.lent.revoke()
            self._end(self.lent)
        meanwhile, self._meanwhile = self._meanwhile, []
        for later in meanwhile:
            later.answer.reject(error)

    def _end(self, lent: Lent) -> Standing:
        if self._recall is not None:
            self._recall.cancel()
        self._recall = self.lent = None
        self.disturbed()
        return self._lender.end(lent)

    def _returned(self) -> None:
        """What the slot says is what holds: the session writes no more, or what it writes does not count."""
        lent = self.lent
        if lent is None:
            return
        lent.revoke()
        standing = self._end(lent)
        saved = standing.token - lent.base
        self._wanted = max(self._wanted // 2, FEWEST) if saved >= WORTH else min(self._wanted * 2, MOST)
        self._back(standing, lent.ticket if saved == 0 else 0)
        meanwhile, self._meanwhile = self._meanwhile, []
        for later in meanwhile:
            later.run()
