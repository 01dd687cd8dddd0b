"""Locks that the daemon has lent to this process: taken and released without a message.

See :mod:`stoker.protocol.loans` for what lies in the memory, and why it is safe. What is here sees to it that only one
thread at a time writes to a slot: the one that has the guard of the loan, from before it takes the lock until it has
released it. Any other one does not wait for the guard but asks the daemon, which recalls the loan then.

*Voids.* A loan is void when it has been recalled, when the connection is lost, and when the daemon has died. Whoever
finds that, and has the guard, keeps it for ever: nobody writes to the slot any more, and the daemon can be told so.
"""

from __future__ import annotations

import mmap
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from stoker.protocol import loans as layout
from stoker.protocol.codec import Frame
from stoker.protocol.framing import Descriptor
from stoker.protocol.loans import DIED, HOLDER, LIFE_AT, REVOKED, STATE
from stoker.protocol.segments import can_share

if TYPE_CHECKING:
    from stoker.connection import Connection

BEFORE = 1
"""Acquisitions by message before a loan is asked for: who takes a lock once in a while needs no memory for it."""
SWEPT = 16
"""Loans from which on void ones are looked for, whose locks nobody has used since."""


class Loan:
    """One lent lock, which is held at first.

    Args:
        number: its name between daemon and session.
        words: of its slot.
        life: the word that says whether the daemon has died.
        token: of the acquisition that it is held by.
    """

    __slots__ = ("_guard", "_holding", "_life", "_token", "_words", "number")

    def __init__(self, number: int, words: memoryview, life: memoryview, token: int) -> None:
        self.number = number
        self._words, self._life, self._token = words, life, token
        self._guard = threading.Lock()
        self._guard.acquire()
        self._holding: dict[int, None] = {token: None}
        """The token that it is held with here. Whoever takes it out releases the lock, so only one can."""

    @property
    def void(self) -> bool:
        """Whether it counts no more."""
        return bool(self._words[REVOKED] or self._life[0] & DIED)

    def take(self, thread: int, late: Callable[[Loan, int], object]) -> int:
        """Acquire the lock for a thread; the token.

        Args:
            thread: its number.
            late: called where a Ctrl-C comes between and the loan is void: as for :meth:`give`.

        Returns:
            0: another thread has the lock, or the guard, and the daemon has to be asked. Less than 0: the loan is void;
            the lock may have been acquired with the token of which this is the negative, and only the daemon knows.
        """
        if not self._guard.acquire(False):
            return 0
        words = self._words
        token = self._token + 1
        try:
            self._token = token
            words[HOLDER] = thread
            words[STATE] = token << 1 | 1
            if not words[REVOKED] and not self._life[0] & DIED:
                self._holding[token] = None
                return token
        except BaseException:  # the lock must not stay with a thread that has gone on
            self._holding.pop(token, None)
            if self._put_down(token) < 0:
                late(self, token)
            raise
        words[STATE] = token << 1
        return -token

    def give(self, token: int | None) -> int:
        """Release the lock.

        Args:
            token: of the acquisition; None: of whichever there is in this process.

        Returns:
            The token. 0: it is not held by this loan. Less than 0: it was released, with the token of which this is the
            negative, but the loan is void, and the daemon has to be told.
        """
        try:
            if token is None:
                token, _ = self._holding.popitem()
            else:
                del self._holding[token]
        except KeyError:
            return 0
        return self._put_down(token)

    def _put_down(self, token: int) -> int:
        self._words[STATE] = token << 1
        if self.void:
            return -token
        self._guard.release()
        return token

    def end(self) -> bool:
        """It is void, or what it held has been lost; True if nobody writes to the slot from now on, and nobody else
        says so.
        """
        try:
            self._holding.popitem()
        except KeyError:
            return self._guard.acquire(False)
        return True


class Loans:
    """What one connection has been lent, for as long as it is not lost."""

    def __init__(self) -> None:
        self.by_lock: dict[str, Loan] = {}
        self._page: mmap.mmap | None = None
        self._life: memoryview | None = None
        self._given_up: deque[int] = deque()
        """Numbers of those of which the daemon is to hear that they are."""
        self._unable = False

    def terms(self) -> dict[str, Any]:
        """What a request for a lock says of lending."""
        if len(self.by_lock) > SWEPT:
            for lock, loan in list(self.by_lock.items()):
                if loan.void:
                    self.give_up(lock, loan)
        terms: dict[str, Any] = {}
        if not self._unable:
            terms["lend"] = "first" if self._page is None else "again"
        if self._given_up:
            terms["returned"] = [self._given_up.popleft() for _ in range(len(self._given_up))]
        return terms

    def begin(self, lock: str, reply: dict[str, Any], payload: Sequence[Frame]) -> None:
        """A lock was lent."""
        passed = [frame for frame in payload if isinstance(frame, Descriptor)]
        try:
            if self._page is None and len(passed) == 2:
                self._map(*passed)
        except OSError:
            self._unable = True
        finally:
            for descriptor in passed:
                descriptor.close()
        if self._page is None or self._life is None:
            self._given_up.append(reply["loan"])
            return
        words = layout.words(self._page, reply.get("slot", 0))
        self.by_lock[lock] = Loan(reply["loan"], words, self._life, reply["token"])

    def _map(self, page: Descriptor, life: Descriptor) -> None:
        whole = memoryview(mmap.mmap(life.fd, layout.SIZE, prot=mmap.PROT_READ)).cast("I")
        at = whole[LIFE_AT]
        self._life, self._page = whole[at : at + 1], mmap.mmap(page.fd, layout.SIZE)

    def give_up(self, lock: str, loan: Loan) -> None:
        """A loan counts no more."""
        self.forget(lock, loan)
        if loan.end():
            self._given_up.append(loan.number)

    def forget(self, lock: str, loan: Loan) -> None:
        """The same where the daemon is told in another way."""
        if self.by_lock.get(lock) is loan:
            del self.by_lock[lock]


def loans_of(connection: Connection) -> Loans | None:
    """What a connection has been lent, and may be; None where it can't be lent anything."""
    loans: Loans | None = connection.loans
    if loans is None and can_share():
        with connection.lock:
            if connection.pass_descriptors():
                loans = connection.loans = connection.loans or Loans()
    return loans
