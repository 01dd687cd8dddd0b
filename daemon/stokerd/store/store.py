"""The store as the loop thread sees it: what is handed over here is written by a thread of its own.

No call here waits for the disk, except :meth:`Store.open`, :meth:`Store.load` and :meth:`Store.abort`, which are for
the time before and after the loop. Promises are settled in the loop thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

from stoker.errors import ShuttingDown, StokerError
from stokerd.clock import Clock
from stokerd.promise import Promise
from stokerd.store.database import Found
from stokerd.store.orders import Accepts, Channel, Drop, Moves, Read, Stop
from stokerd.store.payloads import Payloads
from stokerd.store.recall import recall
from stokerd.store.records import Accepted, Kept, Move, held
from stokerd.store.thread import WriterThread

_SWITCH_INTERVAL = 1e-4
"""Seconds after which the writer may claim the interpreter, while the store is open (``sys.setswitchinterval``).

A waiting thread makes its claim only when nothing else has woken it for so long, and every system call of the loop
wakes it, too late to get in before the loop goes on. With Python's 5 ms a loop that never rested, in turns of 0.5 ms,
let the writer in so seldom that one accept took 4.7 s. With 0.1 ms half of all took one turn, and 99 of 100 took five;
0.02 ms was no better.
"""
_READ_AT_ONCE = 256
"""Batches per step of :meth:`Store.load`."""


class Store:
    """Durable batches and what happened to them.

    Args:
        folder: where everything lies; made if it is not there.
        clock: of the loop whose thread calls here.
        file_bytes: lengths with payload of a batch, and data of a move, go to a file of their own above this.
        on_health: called in the loop thread, with the reason when writing begins to fail, and with "" when it works
            again.
        reserve_bytes: disk space that is held back for moves; see :mod:`stokerd.store.reserve`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock,
        file_bytes: int = 64 * 1024,
        on_health: Callable[[str], None],
        reserve_bytes: int = 4 * 1024 * 1024,
    ) -> None:
        self._path = folder
        self._clock = clock
        self._file_bytes = file_bytes
        self._reserve_bytes = reserve_bytes
        self._on_health = on_health
        self._payloads = Payloads(folder)
        self._thread: WriterThread | None = None
        self._closing: Promise[None] | None = None
        self._failing = ""
        self._next_id = 1
        self._switch_interval = sys.getswitchinterval()

    # --- before the loop ----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Lock the folder, bring the database to this version's schema, recover, and start the thread.

        A disk that is too full for new work, and not for what is there, is no reason to refuse; :attr:`failing` says
        so.

        Raises:
            StoreUnusable: the folder or the database cannot be used; the hint says what to do.
        """
        thread = WriterThread(
            self._path,
            Channel(),
            file_bytes=self._file_bytes,
            reserve_bytes=self._reserve_bytes,
            on_health=self._health,
            on_end=self._ended,
        )
        thread.start()
        opened = thread.opened.get()
        if isinstance(opened, StokerError):
            thread.join()
            thread.channel.outcomes.close()
            raise opened
        self._thread = thread
        self._payloads = Payloads(opened.folder.payloads)
        self._next_id, self._failing = opened.next_id, opened.failing
        self._switch_interval = sys.getswitchinterval()
        sys.setswitchinterval(min(self._switch_interval, _SWITCH_INTERVAL))
        self._clock.watch(thread.channel.outcomes.fd, thread.channel.outcomes.deliver)

    def load(self) -> Iterator[Kept]:
        """All batches that are kept, by id, each with its moves in order.

        Raises:
            StoreUnusable: the database is damaged.
        """
        if self._thread is None or self._closing is not None:
            raise ShuttingDown("the store is not open")
        above = -1
        while True:
            answer: SimpleQueue[Found | StokerError] = SimpleQueue()
            self._thread.channel.orders.put(Read(above, _READ_AT_ONCE, answer))
            found = answer.get()
            if isinstance(found, StokerError):
                raise found
            if not found.batches:
                return
            yield from recall(found, self._payloads)
            above = found.batches[-1][0]

    @property
    def next_id(self) -> int:
        """One above every id that was ever accepted, also of batches that are gone."""
        return self._next_id

    # --- in the loop --------------------------------------------------------------------------------------------------

    def accept(self, batches: Sequence[Accepted]) -> Promise[None]:
        """Keep batches, all or none.

        Returns:
            Settles when they are on disk. Rejected with Unavailable when the system refuses (try again later), with
            NameTaken when one's key belongs to another batch; nothing of them is kept then.
        """
        promise: Promise[None] = Promise()
        large = self._file_bytes
        items = [
            one if type(one.payload) is bytes else replace(one, payload=held(one.payload, large)) for one in batches
        ]
        promise.when_settled(lambda done: self._count(items) if done.error is None else None)
        self._hand_over(Accepts(items, promise), promise)
        return promise

    def move(self, moves: Sequence[Move]) -> Promise[None]:
        """Keep moves, after everything that was handed over before.

        Returns:
            Settles when they are on disk, however long the system refuses. Rejected only when the store is closed
            first.
        """
        promise: Promise[None] = Promise()
        large = self._file_bytes
        items = [one if type(one.data) is bytes else replace(one, data=held(one.data, large)) for one in moves]
        self._hand_over(Moves(items, promise), promise)
        return promise

    def reserve(self, next_id: int) -> Promise[None]:
        """Have :attr:`next_id` never be lower again, also after a restart: ids below may be in use that are not kept.

        It is written as a move of a batch that there is none of: it is told to nobody, and pruned after the next start,
        which has to reserve anew what it gives out.
        """
        self._next_id = max(self._next_id, next_id)
        return self.move([Move(batch=next_id - 1, first=0, count=0, note=b"")])

    def drop(self, first_ids: Sequence[int]) -> None:
        """Remove batches, their moves and their files, a few at a time, between other work.

        A batch goes in one piece. Those that are still there when the daemon ends are there at the next start.
        """
        if self._thread is not None and self._closing is None:
            self._thread.channel.orders.put(Drop(list(first_ids)))

    @property
    def failing(self) -> str:
        """Why writing does not work at the moment; "" when it does."""
        return self._failing

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> Promise[None]:
        """Write everything that was handed over, and end.

        Returns:
            Settles when the thread has ended and the folder is free. Rejected with Unavailable when some of it could
            not be written; the folder is free nevertheless.
        """
        if self._closing is None:
            self._closing = Promise()
            if self._thread is None:
                self._closing.resolve(None)
            else:
                self._thread.channel.orders.put(Stop(self._closing))
        return self._closing

    def abort(self) -> None:
        """Let go at once of what has not been written yet, and end: as a crash would, but with the folder free.

        Promises that are not settled stay so, except that of :meth:`close`, which is rejected.
        """
        if self._thread is not None:
            self._closing = self._closing or Promise()
            self._thread.channel.aborted = True
            self._thread.channel.orders.put(Stop(Promise()))
            self._release()
            self._closing.reject(ShuttingDown("the store was let go of before everything was written"))

    # --- inside -------------------------------------------------------------------------------------------------------

    def _hand_over(self, order: Accepts | Moves, promise: Promise[None]) -> None:
        if self._thread is None or self._closing is not None:
            promise.reject(ShuttingDown("the store is closed", hint="try again when the daemon is up"))
        else:
            self._thread.channel.orders.put(order)

    def _count(self, batches: Sequence[Accepted]) -> None:
        self._next_id = max(self._next_id, *(batch.first_id + batch.count for batch in batches), 0)

    def _health(self, reason: str) -> None:
        self._failing = reason
        self._on_health(reason)

    def _ended(self, stop: Stop, error: StokerError | None) -> None:
        self._release()
        if error is None:
            stop.promise.resolve(None)
        else:
            stop.promise.reject(error)

    def _release(self) -> None:
        if self._thread is not None:
            thread, self._thread = self._thread, None
            thread.join()
            sys.setswitchinterval(self._switch_interval)
            self._clock.unwatch(thread.channel.outcomes.fd)
            thread.channel.outcomes.close()
