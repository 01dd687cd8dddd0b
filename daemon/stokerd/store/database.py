"""The rows: the one connection to ``jobs.sqlite3``, and every statement that is run on it.

Statements are few and long on purpose. ``sqlite3`` lets go of the interpreter in every statement, and to get it back
from a loop thread that is busy takes a switch interval or more each time. ``executemany`` runs one statement per row:
beside a loop that never rested, and with Python's 5 ms, it wrote groups of 500 rows at 1,200 rows/s, and one statement
with the values of all 500 rows at 59,000 (250,000 either way beside a loop that rested).
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from stokerd.store.migrations import Migration, migrate
from stokerd.store.records import Accepted, Move

BatchRow: TypeAlias = "tuple[int, int, str | None, bytes, bytes, bytes | memoryview, int | None, int, int]"
"""id, count, key, head, lengths, payload, file, lengths_size, payload_size."""

MoveRow: TypeAlias = "tuple[int, int, int, bytes, bytes | memoryview, int | None, int]"
"""batch, first, count, note, data, file, data_size."""

_BATCH_WIDTH = 9
_MOVE_WIDTH = 8
_MOST_ROWS = 1000
"""Rows per statement: parsing takes 3.5 µs per row, and 8,000 values are well below SQLite's limit of 32,766."""

_PAGE = 4096
_ROWS_PER_PAGE = 40
"""Of small rows, with their share of the indexes: for a guess at how many pages a commit adds to the log."""
_CHECKPOINT_PAGES = 1000
"""Pages of log after which it is worked into the database: SQLite's own default."""
_LATEST_CHECKPOINT = 4 * _CHECKPOINT_PAGES
"""Pages at which SQLite does it by itself, in the middle of a commit. It bounds the log's file; see :meth:`tidy`."""


class Found(NamedTuple):
    """Some batches with their moves, as they lie in the rows."""

    batches: list[BatchRow]
    moves: list[MoveRow]


class Database:
    """The connection. It belongs to the thread that made it.

    Args:
        file: exists, maybe empty.
        migrations: up to the schema that the statements below know.

    Raises:
        StoreUnusable: the file is of a newer version or none of Stoker's.
        sqlite3.Error: it cannot be opened.
    """

    def __init__(self, file: Path, migrations: Sequence[Migration]) -> None:
        self._connection = sqlite3.connect(file, timeout=1.0, isolation_level=None, cached_statements=256)
        try:
            self._prepare(file, migrations)
        except BaseException:
            self._connection.close()
            raise
        self._width = min(_MOST_ROWS, self._connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // _BATCH_WIDTH)
        self._seq = self._number("SELECT coalesce(max(seq), 0) FROM moves")
        self._log_pages = 0.0

    def _prepare(self, file: Path, migrations: Sequence[Migration]) -> None:
        run = self._connection.execute
        # Exclusive: no other program can hold a commit or a checkpoint up, and no -shm file is needed on a full disk.
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("PRAGMA journal_mode = WAL").fetchone()
        run("PRAGMA synchronous = FULL")
        run("PRAGMA cache_spill = OFF")  # a transaction is written in its commit, and nothing of it before
        run("PRAGMA secure_delete = FAST")
        run(f"PRAGMA wal_autocheckpoint = {_LATEST_CHECKPOINT}").fetchone()
        run(f"PRAGMA journal_size_limit = {_LATEST_CHECKPOINT * _PAGE}").fetchone()
        migrate(self._connection, migrations, file)

    def _number(self, query: str) -> int:
        [value] = self._connection.execute(query).fetchone()
        return int(value)

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, batches: Sequence[BatchRow], moves: Sequence[MoveRow]) -> None:
        """Add rows in one transaction: on disk when this returns, and nothing of them kept when it raises.

        Raises:
            sqlite3.Error: whatever was wrong.
        """
        if (not batches or not moves) and len(batches) + len(moves) <= self._width:
            self.add(batches, moves)  # a single statement is a transaction of its own
        else:
            with self.transaction():
                self.add(batches, moves)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """What is done inside is on disk after it; nothing of it is kept when it raises."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            self._roll_back("ROLLBACK")
            raise

    @contextlib.contextmanager
    def part(self) -> Iterator[None]:
        """A part of a transaction: when it raises, nothing of the part is kept, and the rest goes on."""
        self._connection.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            self._roll_back("ROLLBACK TO part")
            raise
        finally:
            if self._connection.in_transaction:
                self._connection.execute("RELEASE part")

    def _roll_back(self, statement: str) -> None:
        if self._connection.in_transaction:  # SQLite rolls back by itself after some faults
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute(statement)

    def add(self, batches: Sequence[BatchRow], moves: Sequence[MoveRow]) -> None:
        """Add rows to the transaction that is open."""
        self._insert("batches", _BATCH_WIDTH, batches)
        inline = sum(len(head) + len(lengths) + len(payload) for _, _, _, head, lengths, payload, *_ in batches)
        if moves:
            inline += sum(len(note) + len(data) for _, _, _, note, data, *_ in moves)
            first = self._seq + 1
            self._seq += len(moves)
            self._insert("moves", _MOVE_WIDTH, [(seq, *move) for seq, move in enumerate(moves, first)])
        self._log_pages += 4 + inline / _PAGE + (len(batches) + len(moves)) / _ROWS_PER_PAGE

    def _insert(self, table: str, width: int, rows: Sequence[tuple[Any, ...]]) -> None:
        for start in range(0, len(rows), self._width):
            some = rows[start : start + self._width]
            row = f"({','.join('?' * width)})"
            values = list(itertools.chain.from_iterable(some))
            self._connection.execute(f"INSERT INTO {table} VALUES {','.join([row] * len(some))}", values)  # noqa: S608 - names of ours

    def probe(self) -> None:
        """Commit something that changes nothing, to see whether it can be done.

        Raises:
            sqlite3.Error: it cannot.
        """
        self._connection.execute("UPDATE numbers SET value = value")
        self._log_pages += 1

    # --- pruning ------------------------------------------------------------------------------------------------------

    def holder(self, key: str) -> int | None:
        """The batch that has an idempotency key."""
        row = self._connection.execute("SELECT id FROM batches WHERE key = ?", [key]).fetchone()
        return None if row is None else int(row[0])

    def remove_batches(self, first_ids: Sequence[int]) -> list[int]:
        """Remove batches (one statement's worth of them at most), and not their moves; returns their files' numbers.

        The batch goes first, and in one piece: half of its moves would tell a story that never was. Moves without a
        batch are told to nobody.
        """
        marks = ",".join("?" * len(first_ids))
        rows = self._connection.execute(
            f"SELECT id + count, file FROM batches WHERE id IN ({marks})",  # noqa: S608 - marks only
            first_ids,
        ).fetchall()
        if rows:
            above = max(row[0] for row in rows)
            self._connection.execute("UPDATE numbers SET value = max(value, ?) WHERE name = 'next_id'", [above])
            self._connection.execute(f"DELETE FROM batches WHERE id IN ({marks})", first_ids)  # noqa: S608 - marks only
            self._log_pages += len(rows)
        return [row[1] for row in rows if row[1] is not None]

    def remove_moves(self, first_ids: Sequence[int], most: int) -> tuple[int, list[int]]:
        """Remove ``most`` moves of batches; returns how many there were, and their files' numbers."""
        marks = ",".join("?" * len(first_ids))
        rows = self._connection.execute(
            f"SELECT seq, file FROM moves WHERE batch IN ({marks}) LIMIT ?",  # noqa: S608 - marks only
            [*first_ids, most],
        ).fetchall()
        if rows:
            marks = ",".join("?" * len(rows))
            self._connection.execute(f"DELETE FROM moves WHERE seq IN ({marks})", [row[0] for row in rows])  # noqa: S608
            self._log_pages += len(rows)
        return len(rows), [row[1] for row in rows if row[1] is not None]

    def forsaken(self) -> list[int]:
        """The batches that are gone and whose moves are not: what a pruning that was cut short has left."""
        query = "SELECT DISTINCT batch FROM moves WHERE batch NOT IN (SELECT id FROM batches)"
        return [row[0] for row in self._connection.execute(query)]

    # --- reading ------------------------------------------------------------------------------------------------------

    def next_id(self) -> int:
        """One above every id that was ever accepted, or that moves without a batch have: those are to be pruned."""
        return max(
            self._number("SELECT coalesce(max(batch) + 1, 0) FROM moves"),
            self._number("SELECT value FROM numbers WHERE name = 'next_id'"),
            self._number(
                "SELECT coalesce(max(id + count), 0) FROM (SELECT id, count FROM batches ORDER BY id DESC LIMIT 1)"
            ),
        )

    def files(self) -> set[int]:
        """The numbers of all files that rows name."""
        query = "SELECT file FROM batches WHERE file IS NOT NULL UNION SELECT file FROM moves WHERE file IS NOT NULL"
        return {row[0] for row in self._connection.execute(query)}

    def read(self, above: int, most: int) -> Found:
        """The first ``most`` batches above an id, in order, and all their moves, by batch and in order."""
        query = "SELECT * FROM batches WHERE id > ? ORDER BY id LIMIT ?"
        batches = self._connection.execute(query, [above, most]).fetchall()
        if not batches:
            return Found([], [])
        query = (
            "SELECT batch, first, count, note, data, file, data_size FROM moves WHERE batch BETWEEN ? AND ? "
            "ORDER BY batch, seq"
        )
        return Found(batches, self._connection.execute(query, [batches[0][0], batches[-1][0]]).fetchall())

    # --- keeping house ------------------------------------------------------------------------------------------------

    def tidy(self, *, now: bool = False) -> None:
        """Work the log into the database when it has grown, outside of any commit, so that nobody waits for it.

        Raises:
            sqlite3.Error: it cannot be done; nothing is lost, since the log is as good.
        """
        if now or self._log_pages >= _CHECKPOINT_PAGES:
            self._log_pages = 0.0
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def close(self) -> None:
        """Work the log into the database, remove it, and close. What cannot be done now is done at the next start."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self._connection.close()


def batch_row(batch: Accepted, file: int | None) -> BatchRow:
    """A batch as a row; with a file, ``lengths`` and ``payload`` are in that."""
    sizes = len(batch.lengths), len(batch.payload)
    if file is not None:
        return (batch.first_id, batch.count, batch.key, batch.head, b"", b"", file, *sizes)
    return (batch.first_id, batch.count, batch.key, batch.head, batch.lengths, batch.payload, None, *sizes)


def move_row(move: Move, file: int | None) -> MoveRow:
    """A move as a row; with a file, ``data`` is in that."""
    data = move.data if file is None else b""
    return (move.batch, move.first, move.count, move.note, data, file, len(move.data))
