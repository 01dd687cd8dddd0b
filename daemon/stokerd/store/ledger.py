"""Rows and files together: what is written as one, what is refused alone, and what is pruned by and by.

No thread and no queue here: :mod:`stokerd.store.writer` calls, and decides what to do about a fault.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from stoker.errors import InternalError, NameTaken, StokerError, Unavailable
from stokerd.promise import internal_error
from stokerd.store import faults
from stokerd.store.database import Database, Found, batch_row, move_row
from stokerd.store.folder import StateFolder
from stokerd.store.migrations import Migration
from stokerd.store.orders import Accepts, Moves, Work
from stokerd.store.payloads import Payloads
from stokerd.store.records import Accepted, Move

PRUNED_AT_ONCE = 256
"""Rows per transaction of pruning: about the time of one commit, so that a commit waits for one other at most."""


class Written(NamedTuple):
    """What became of some work.

    Args:
        dealt: on disk (None), or refused for what it is (the error).
        fault: what the system refused, None if nothing.
        rest: what was not written because of the fault, in order.
    """

    dealt: list[tuple[Work, StokerError | None]]
    fault: Exception | None
    rest: list[Work]


class Ledger:
    """The database and the files of one state folder.

    Args:
        folder: locked.
        file_bytes: lengths and payload of a batch, or data of a move, go to a file above this.
        migrations: see :mod:`stokerd.store.migrations`.

    Raises:
        StoreUnusable: the file is of a newer version or none of Stoker's.
        sqlite3.Error, OSError: the system refused.
    """

    def __init__(self, folder: StateFolder, file_bytes: int, migrations: Sequence[Migration]) -> None:
        self._folder = folder
        self._file_bytes = file_bytes
        self._payloads = Payloads(folder.payloads)
        self._database = Database(folder.database, migrations)
        try:
            self._payloads.sweep(self._database.files())
            self._doomed: dict[int, None] = {}
            self._forsaken: dict[int, None] = dict.fromkeys(self._database.forsaken())
            self.next_id = self._database.next_id()
        except BaseException:
            self._database.close()
            raise

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, work: Sequence[Work]) -> Written:
        """Write all of it in one transaction; what cannot be written for its own sake alone is refused alone."""
        dealt: list[tuple[Work, StokerError | None]] = []
        ready: list[Work] = []
        rest: list[Work] = []
        fault: Exception | None = None
        for place, order in enumerate(work):
            try:
                self._prepare(order)
            except Exception as error:
                if faults.is_fault(error) and isinstance(order, Moves):
                    fault, rest = error, list(work[place:])  # nothing may overtake it
                    break
                dealt.append((order, self._refusal(error)))
            else:
                ready.append(order)
        try:
            dealt += self._commit(ready)
        except Exception as error:
            if not faults.is_fault(error):
                raise
            return Written(dealt, error, [*ready, *rest])
        return Written(dealt, fault, rest)

    def forget(self, order: Work) -> None:
        """Remove the files of work that was not written and will not be."""
        self._payloads.remove(order.files)
        order.files.clear()
        order.rows = None

    def _refusal(self, error: Exception) -> StokerError:
        if not faults.is_fault(error):
            return internal_error(error)
        fault = faults.describe(error, self._folder.database)
        return Unavailable(f"the batch cannot be kept: {fault.reason}", hint=fault.hint)

    def _prepare(self, order: Work) -> None:
        """Write the files of an order and make its rows, once."""
        if order.rows is not None:
            return
        try:
            if isinstance(order, Accepts):
                order.rows = [batch_row(batch, self._batch_file(order, batch)) for batch in order.items]
            else:
                order.rows = [move_row(move, self._move_file(order, move)) for move in order.items]
        except BaseException:
            self.forget(order)
            raise

    def _batch_file(self, order: Work, batch: Accepted) -> int | None:
        if len(batch.lengths) + len(batch.payload) <= self._file_bytes:
            return None
        order.files.append(self._payloads.write(batch.lengths, batch.payload))
        return order.files[-1]

    def _move_file(self, order: Work, move: Move) -> int | None:
        if len(move.data) <= self._file_bytes:
            return None
        order.files.append(self._payloads.write(move.data))
        return order.files[-1]

    def _commit(self, ready: Sequence[Work]) -> list[tuple[Work, StokerError | None]]:
        if not ready:
            return []
        self._folder.verify()
        self._payloads.synchronise()
        batches = [row for order in ready if isinstance(order, Accepts) for row in order.rows or ()]
        moves = [row for order in ready if isinstance(order, Moves) for row in order.rows or ()]
        try:
            self._database.write(batches, moves)
        except Exception as error:
            if faults.is_fault(error):
                raise
            return self._commit_one_by_one(ready)
        return [(order, None) for order in ready]

    def _commit_one_by_one(self, ready: Sequence[Work]) -> list[tuple[Work, StokerError | None]]:
        """One transaction still, and a savepoint for each: something in one of them cannot be written."""
        dealt: list[tuple[Work, StokerError | None]] = []
        pruned: list[int] = []
        files: list[int] = []
        with self._database.transaction():
            for order in ready:
                try:
                    with self._database.part():
                        gone, freed = self._make_way(order)
                        self._add(order)
                except Exception as error:
                    if faults.is_fault(error):
                        raise
                    dealt.append((order, self._verdict(order, error)))
                else:
                    dealt.append((order, None))
                    pruned += gone
                    files += freed
        for order, verdict in dealt:
            if verdict is not None:
                self.forget(order)
        self._pruned(pruned)
        self._payloads.remove(files)
        return dealt

    def _make_way(self, order: Work) -> tuple[list[int], list[int]]:
        """Remove the batches that have a key of the order and are to be pruned anyway: which, and their files."""
        if isinstance(order, Moves):
            return [], []
        holders = {self._database.holder(batch.key) for batch in order.items if batch.key is not None}
        doomed = [holder for holder in holders if holder in self._doomed]
        files: list[int] = []
        for start in range(0, len(doomed), PRUNED_AT_ONCE):
            files += self._database.remove_batches(doomed[start : start + PRUNED_AT_ONCE])
        return doomed, files

    def _add(self, order: Work) -> None:
        if isinstance(order, Accepts):
            self._database.add(order.rows or [], [])
        else:
            self._database.add([], order.rows or [])

    def _verdict(self, order: Work, error: Exception) -> StokerError:
        if isinstance(error, sqlite3.IntegrityError) and isinstance(order, Accepts):
            for batch in order.items:
                holder = None if batch.key is None else self._database.holder(batch.key)
                if holder is not None:
                    return NameTaken(
                        f"the key {batch.key!r} belongs to job {holder}",
                        hint="ask for that job, or submit with another key",
                        data={"key": batch.key, "id": holder},
                    )
            return InternalError(
                f"a bug in the daemon: two batches with one id or key ({error})", hint="please report it"
            )
        return internal_error(error)

    def probe(self) -> None:
        """Commit something that changes nothing.

        Raises:
            sqlite3.Error, OSError: it cannot be done.
        """
        self._folder.verify()
        self._database.probe()

    # --- pruning ------------------------------------------------------------------------------------------------------

    def doom(self, first_ids: Sequence[int]) -> None:
        """These batches are to be pruned, by :meth:`prune`."""
        self._doomed.update(dict.fromkeys(first_ids))

    @property
    def prunable(self) -> bool:
        """Whether there is anything left to be pruned."""
        return bool(self._doomed or self._forsaken)

    def prune(self) -> None:
        """One small transaction of pruning.

        Raises:
            sqlite3.Error: it cannot be done now.
        """
        if self._doomed:
            some = list(islice(self._doomed, PRUNED_AT_ONCE))
            with self._database.transaction():
                files = self._database.remove_batches(some)
            self._pruned(some)
        else:
            some = list(islice(self._forsaken, PRUNED_AT_ONCE))
            with self._database.transaction():
                found, files = self._database.remove_moves(some, PRUNED_AT_ONCE)
            if found < PRUNED_AT_ONCE:
                _forget_all(self._forsaken, some)
        self._payloads.remove(files)  # after the commit: a row never names a file that is gone

    def prune_batches(self) -> None:
        """Remove all batches that are to be pruned, at the end; their moves can wait for the next start.

        Raises:
            sqlite3.Error: it cannot be done now.
        """
        while self._doomed:
            self.prune()

    def _pruned(self, first_ids: Sequence[int]) -> None:
        """These batches are gone, and it is committed: now their moves may go."""
        _forget_all(self._doomed, first_ids)
        self._forsaken.update(dict.fromkeys(first_ids))

    # --- the rest -----------------------------------------------------------------------------------------------------

    def read(self, above: int, most: int) -> Found:
        """See :meth:`stokerd.store.database.Database.read`."""
        return self._database.read(above, most)

    def tidy(self, *, now: bool = False) -> None:
        """See :meth:`stokerd.store.database.Database.tidy`."""
        self._database.tidy(now=now)

    def close(self) -> None:
        """Close the database; the folder stays locked."""
        self._database.close()


def _forget_all(waiting: dict[int, None], first_ids: Sequence[int]) -> None:
    for first_id in first_ids:
        waiting.pop(first_id, None)
