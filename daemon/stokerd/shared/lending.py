"""The daemon's end of lent locks: pages and slots, and what a slot says. See :mod:`stoker.protocol.loans`.

What a session writes in its page is believed as far as it concerns that session: it may say that it holds what it was
lent, or does not. A token that it can't have counted to is not believed, since tokens are everybody's.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from stoker.protocol import loans
from stoker.protocol.loans import HOLDER, REVOKED, STATE
from stokerd.clock import Clock
from stokerd.headroom import is_scarce
from stokerd.shared.life import Life, life
from stokerd.shared.tokens import TOKENS_PER_SECOND
from stokerd.shared.waiters import Actor

HASTE = 1024
"""Tokens more than :data:`TOKENS_PER_SECOND` that a session may count on a loan, however short that is."""


class Standing(NamedTuple):
    """What a slot says: who holds the lock, None: nobody; and the token of the last acquisition."""

    owner: Actor | None
    token: int


@dataclass(slots=True, eq=False, kw_only=True)
class Lent:
    """One loan.

    Args:
        number: its name between daemon and session.
        slot: where it lies.
        actor: who has it; the lock is held by it at first.
        base: the token of that acquisition.
        ticket: of that acquisition.
        since: the time, monotonic.
        words: of the slot.
        recalled: called when the session gives it back before it is asked to.
        ended: the lock is with the daemon again.
        adopted: the token with which the session held it then; 0: it did not.
    """

    number: int
    slot: int
    actor: Actor
    base: int
    ticket: int
    since: float
    words: memoryview
    recalled: Callable[[], object]
    ended: bool = False
    adopted: int = 0

    def begin(self) -> None:
        """Write what holds at first."""
        self.words[HOLDER] = int(self.actor.holder.rpartition(":")[2])
        self.words[REVOKED] = 0
        self.words[STATE] = self.base << 1 | 1

    def revoke(self) -> None:
        """Let the session take it no more."""
        self.words[REVOKED] = 1

    def read(self, now: float) -> Standing:
        """What the slot says at the moment."""
        state = self.words[STATE]
        token = state >> 1
        if not self.base <= token <= self.base + HASTE + int((now - self.since) * TOKENS_PER_SECOND):
            return Standing(None, self.base)
        if not state & 1:
            return Standing(None, token)
        process = self.actor.holder.rpartition(":")[0]
        return Standing(Actor(self.actor.session, f"{process}:{self.words[HOLDER]}"), token)


class _Page:
    """The memory that is shared with one session."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("stoker-locks", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        """-1 when the session has it."""
        try:
            os.ftruncate(self.fd, loans.SIZE)
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            self.memory = mmap.mmap(self.fd, loans.SIZE)
        except BaseException:
            self.close()
            raise
        self.free = list(range(loans.SLOTS))
        self.lent: dict[int, Lent] = {}
        """By number: those whose slot the session has not given back."""

    def close(self) -> None:
        """The descriptor is of no use any more. The memory goes with the last loan."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Lender:
    """See the module.

    Args:
        clock: time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pages: dict[str, _Page] = {}
        self._numbers = itertools.count(int(clock.time()) << 20)
        """No loan of this daemon has the number of one of the daemon before."""
        self._life: Life | None = None
        self._able = hasattr(os, "memfd_create")

    def lend(
        self, actor: Actor, token: int, ticket: int, *, first: bool, recalled: Callable[[], object]
    ) -> Lent | None:
        """Lend a lock that has just been acquired; None where that can't be.

        Args:
            actor: who has acquired it.
            token: of that acquisition.
            ticket: of that acquisition.
            first: the session has no page yet.
            recalled: called when the session gives it back before it is asked to.
        """
        process, _, thread = actor.holder.rpartition(":")
        if not process or not thread.isascii() or not thread.isdigit() or len(thread) > 18:
            return None
        page = self._page(actor.session, first=first)
        if page is None or not page.free:
            return None
        slot = page.free.pop()
        lent = Lent(
            number=next(self._numbers),
            slot=slot,
            actor=actor,
            base=token,
            ticket=ticket,
            since=self._clock.monotonic(),
            words=loans.words(page.memory, slot),
            recalled=recalled,
        )
        lent.begin()
        page.lent[lent.number] = lent
        return lent

    def _page(self, session: str, *, first: bool) -> _Page | None:
        page = self._pages.get(session)
        if page is None and first and self._can_begin():
            with contextlib.suppress(OSError):
                page = self._pages[session] = _Page()
        elif page is not None and first and page.fd < 0:
            return None  # it had one, and has lost it
        elif page is not None and not first:
            page.close()
        return page

    def _can_begin(self) -> bool:
        if self._able and self._life is None:
            try:
                self._life = life()
            except OSError:
                self._able = False
        return self._able and not is_scarce()

    def descriptors(self, session: str) -> tuple[int, int]:
        """Of the page of a session, and of the one that tells of this process's end; they stay ours."""
        if self._life is None:
            raise RuntimeError("nothing has been lent")
        return self._pages[session].fd, self._life.fd

    def give_back(self, session: str, number: int) -> Lent | None:
        """A session writes no more where this loan lies, so its slot is free; None where it has no such loan."""
        page = self._pages.get(session)
        lent = page.lent.pop(number, None) if page is not None else None
        if page is None or lent is None:
            return None
        if not lent.ended:
            lent.recalled()
        page.free.append(lent.slot)
        return lent

    def end(self, lent: Lent) -> Standing:
        """What a loan that has been recalled ends with."""
        standing = lent.read(self._clock.monotonic())
        lent.ended = True
        lent.adopted = standing.token if standing.owner is not None else 0
        return standing

    def leave(self, session: str) -> None:
        """A session has ended: nothing is lent to it any more."""
        page = self._pages.pop(session, None)
        if page is not None:
            page.close()

    def close(self) -> None:
        """The daemon ends."""
        for session in list(self._pages):
            self.leave(session)
