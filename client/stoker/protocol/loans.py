"""Lent locks: a lock that one session alone keeps using is taken and released by two stores, and by no message.

The daemon lends a lock (the reply to ``lock.acquire`` says so) to the session that has acquired it several times in a
row with nobody else wanting it. What says who holds it is then a *slot* of a page of memory that the daemon shares with
that session alone, until anybody else wants the lock: then the daemon recalls the loan, and all is as before.

The words of a slot, each of 64 bits, read and written whole:

- :data:`STATE` is twice the fencing token of the last acquisition, and 1 more while it is held. One word, so that
  whoever reads it finds what belongs together, whenever that is and in whatever order stores become visible. Writer:
  the session; the daemon before it lends.
- :data:`HOLDER` is the number of the thread that holds it. Writer: as of ``STATE``, before that.
- :data:`REVOKED` is 1 when the loan is recalled. Writer: the daemon.

*Who wins.* The session writes ``STATE`` first and reads ``REVOKED`` second; the daemon writes ``REVOKED`` first and
reads ``STATE`` second, :data:`SETTLE` later, by when every store before it is visible, whichever core made it. So where
the session reads 0, the daemon will read what it has written. Where it reads 1, the daemon may or may not have read
that: the session has not acquired the lock then, or has released it, and asks or tells the daemon by message, naming
the loan. An odd ``STATE`` the daemon takes for its word: it is held with that token, as if acquired by message.

*Where it stops.* A process may end or be stopped between any two stores:

- before ``STATE`` is odd: the lock is free, and others have it. Once it goes on, it reads 1, and waits its turn.
- ``STATE`` is odd, ``REVOKED`` not read: it is held. If the process has ended, it is freed as any lock whose holder
  has ended. If it goes on and reads 1, it asks for the lock with the token that it did not dare to take, and is
  answered that it has it.
- ``STATE`` is even again, ``REVOKED`` not read: the lock is free. If it goes on and reads 1, it tells of its release,
  which the daemon knows of.

*Whose slot.* A slot is lent again only after the session has named its loan in a message, after which it writes there
no more. Whoever never does so has fewer slots; the others are freed with the session.

*The daemon's death* can't be read from ``REVOKED``. So there is a second page, which only the daemon can write to, with
a robust mutex (set_robust_list(2)) that it holds for as long as it lives: when it dies, however that happens, the
kernel sets :data:`DIED` in the mutex's word, and does so before it closes anything of the daemon's, so before there can
be another one. A session that finds it set has no loans any more.
"""

from __future__ import annotations

import mmap

SIZE = 4096
"""Bytes of either page."""
SLOT = 8
"""Words of a slot: a cache line, so that two locks do not slow each other."""
SLOTS = SIZE // (8 * SLOT)
"""Locks that are lent to one session at a time, at most."""
SETTLE = 0.001
"""Seconds between recalling a loan and believing :data:`STATE`: longer by orders of magnitude than a store takes."""

STATE, HOLDER, REVOKED = 0, 1, 2

LIFE_AT = 64
"""Of the daemon's own page, the word of 32 bits that says which word is the mutex's."""
DIED = 0x4000_0000
"""FUTEX_OWNER_DIED of <linux/futex.h>."""


def words(page: mmap.mmap, slot: int) -> memoryview:
    """The words of one slot. To be released before the page can be closed."""
    return memoryview(page).cast("Q")[slot * SLOT : (slot + 1) * SLOT]
