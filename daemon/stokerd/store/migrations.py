"""Bringing a database to the schema of this version: the numbered files of ``schema/``, each in a transaction.

``PRAGMA user_version`` is the number of the last one that was applied. It is set in the same transaction, so a crash
leaves the version before or the version after, and nothing between.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from stoker.errors import StoreUnusable

_APPLICATION = 0x53746B72
"""``PRAGMA application_id`` of our files ("Stkr"): a database with tables and without it is somebody else's."""

_NAME = re.compile(r"(\d{3})_\w+\.sql")


class Migration(NamedTuple):
    """One step from the version below ``version`` to it."""

    version: int
    script: str


def shipped() -> tuple[Migration, ...]:
    """The migrations of this version, in order."""
    found = []
    for entry in (resources.files("stokerd.store") / "schema").iterdir():
        match = _NAME.fullmatch(entry.name)
        if match is not None:
            found.append(Migration(int(match[1]), entry.read_text(encoding="utf-8")))
    return tuple(sorted(found))


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration], file: Path) -> None:
    """Apply what is missing.

    Args:
        connection: in autocommit mode (``isolation_level=None``).
        migrations: in order.
        file: for the messages.

    Raises:
        StoreUnusable: the file is of a newer version, or is none of Stoker's.
        sqlite3.Error: a step failed; it was rolled back, those before it stay.
    """
    [version] = connection.execute("PRAGMA user_version").fetchone()
    newest = migrations[-1].version
    if version > newest:
        raise StoreUnusable(
            f"{file} was written by a newer Stoker (schema {version}, this one knows {newest})",
            hint="run that version again, or give this one a state folder of its own",
            data={"schema": version, "known": newest},
        )
    _refuse_strangers(connection, file)
    for step in migrations:
        if step.version > version:
            _apply(connection, step)


def _refuse_strangers(connection: sqlite3.Connection, file: Path) -> None:
    [application] = connection.execute("PRAGMA application_id").fetchone()
    [tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != _APPLICATION and (tables or application):
        raise StoreUnusable(
            f"{file} is a database, but none of Stoker's", hint="move it elsewhere, or choose another state folder"
        )


def _apply(connection: sqlite3.Connection, step: Migration) -> None:
    try:
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{step.script}\n;"
            f"PRAGMA application_id = {_APPLICATION};\nPRAGMA user_version = {step.version};\nCOMMIT;"
        )
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
