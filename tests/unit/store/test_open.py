"""A folder or a file that cannot be used is refused with what is wrong and what to do; all else is recovered."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.clocks import HandClock
from tests.unit.store.stores import LARGE, Stored, batch, kept_in, mounted, move

from stoker.errors import StoreUnusable
from stokerd.store.migrations import Migration, migrate, shipped
from stokerd.store.store import Store

ROOT = os.geteuid() == 0


def refusal(folder: Path) -> StoreUnusable:
    """Why the folder cannot be opened."""
    store = Store(folder, clock=HandClock(), on_health=print)
    with pytest.raises(StoreUnusable) as refused:
        store.open()
    assert refused.value.hint
    return refused.value


def filled(folder: Path) -> None:
    """A closed store with a small and a large batch, and moves."""
    stored = Stored(folder)
    stored.store.accept([batch(1), batch(2, payload=bytes(3 * LARGE))])
    stored.store.move([move(1), move(2, data=bytes(2 * LARGE))])
    stored.close()


# --- who may ----------------------------------------------------------------------------------------------------------


def test_folder_and_files_are_the_owners_alone(open_store, folder) -> None:
    before = os.umask(0)
    try:
        stored = open_store()
        stored.wait(stored.store.accept([batch(1, payload=bytes(2 * LARGE))]))
    finally:
        os.umask(before)
    modes = {
        str(path.relative_to(folder.parent)): oct(stat.S_IMODE(path.stat().st_mode))
        for path in (folder, *folder.rglob("*"))
    }
    assert modes.pop("state") == "0o700"
    assert modes.pop("state/payloads") == "0o700"
    assert {"state/jobs.sqlite3", "state/jobs.sqlite3-wal", "state/lock", "state/reserve"} <= modes.keys()
    assert set(modes.values()) == {"0o600"}


def test_a_folder_that_others_may_write_to_is_refused_and_left_as_it_is(folder) -> None:
    folder.mkdir()
    folder.chmod(0o770)
    assert "others than its owner" in refusal(folder).message
    assert list(folder.iterdir()) == []


def test_a_second_store_in_this_process_is_refused(stored) -> None:
    assert "another daemon" in refusal(stored.folder).message
    stored.wait(stored.store.accept([batch(1)]))


OWNER = """
import sys, time
from tests.unit.store.stores import Stored, batch
from pathlib import Path
stored = Stored(Path(sys.argv[1]))
stored.wait(stored.store.accept([batch(1)]))
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def owner(folder) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the folder open, with a batch in it."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), *sys.path])}
    argv = [sys.executable, "-c", OWNER, str(folder)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        process.kill()


def test_another_process_is_kept_out_until_the_owner_ends_in_whatever_way(folder, owner) -> None:
    assert "another daemon" in refusal(folder).message
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert [kept.accepted for kept in kept_in(folder)] == [batch(1)]


def test_no_other_program_can_open_the_database_meanwhile(stored) -> None:
    stored.wait(stored.store.accept([batch(1)]))
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        sqlite3.connect(stored.folder / "jobs.sqlite3", timeout=0).execute("SELECT * FROM batches")


def test_a_program_that_has_the_database_open_is_named_as_the_reason(folder) -> None:
    filled(folder)
    other = sqlite3.connect(folder / "jobs.sqlite3", isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    assert "in use by another program" in refusal(folder).message
    other.close()
    assert len(kept_in(folder)) == 2


@pytest.mark.parametrize("name", ["jobs.sqlite3", "lock"])
def test_a_link_out_of_the_folder_is_not_followed(folder, tmp_path, name) -> None:
    folder.mkdir(mode=0o700)
    target = tmp_path / "elsewhere"
    target.write_bytes(b"precious")
    (folder / name).symlink_to(target)
    assert name in refusal(folder).message
    assert target.read_bytes() == b"precious"


def test_a_path_that_cannot_be_is_refused() -> None:
    assert "null byte" in refusal(Path("no\0path")).message


def test_a_path_that_is_no_folder_is_refused(folder) -> None:
    folder.write_text("a file")
    assert str(folder) in refusal(folder).message


def test_a_read_only_file_system_is_refused(tmp_path) -> None:
    with mounted(tmp_path / "mount", "ro,size=1m") as mount:
        error = refusal(mount / "state")
    assert "Read-only file system" in error.message
    assert "writable" in error.hint


@pytest.mark.skipif(ROOT, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(folder) -> None:
    filled(folder)
    folder.chmod(0o500)
    try:
        assert "write" in refusal(folder).hint
    finally:
        folder.chmod(0o700)


# --- what is there ----------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(folder) -> None:
    folder.mkdir(mode=0o700)
    text = b"these are notes, and no database " * 100
    (folder / "jobs.sqlite3").write_bytes(text)
    error = refusal(folder)
    assert "is not a database" in error.message
    assert "elsewhere" in error.hint
    assert (folder / "jobs.sqlite3").read_bytes() == text


def test_somebody_elses_database_is_refused_and_left_as_it_is(folder) -> None:
    folder.mkdir(mode=0o700)
    other = sqlite3.connect(folder / "jobs.sqlite3")
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    assert "none of Stoker's" in refusal(folder).message
    with sqlite3.connect(folder / "jobs.sqlite3") as again:
        assert again.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    again.close()


def test_a_damaged_database_is_refused_by_name(folder) -> None:
    filled(folder)
    path = folder / "jobs.sqlite3"
    raw = bytearray(path.read_bytes())
    raw[100:] = b"\xa5" * (len(raw) - 100)  # all but SQLite's header
    path.write_bytes(raw)
    error = refusal(folder)
    assert "is damaged" in error.message
    assert str(path) in error.message
    assert path.read_bytes() == raw


def test_damage_that_shows_only_in_reading_is_told_by_load(folder) -> None:
    stored = Stored(folder)
    stored.store.accept([batch(first_id, payload=bytes(1000)) for first_id in range(1, 2001)])
    stored.close()
    path = folder / "jobs.sqlite3"
    raw = bytearray(path.read_bytes())
    pages = range(len(raw) // 2, len(raw) // 2 + 40 * 4096, 4096)
    for page in pages:
        raw[page : page + 4096] = b"\xa5" * 4096
    path.write_bytes(raw)
    again = Stored(folder)
    with pytest.raises(StoreUnusable, match="is damaged"):
        list(again.store.load())
    again.store.abort()


@pytest.mark.parametrize("what", ["batch", "move"])
@pytest.mark.parametrize("how", ["missing", "short"])
def test_a_batch_with_a_damaged_file_is_told_and_not_dropped(folder, what, how) -> None:
    filled(folder)
    batch_file, move_file = sorted((folder / "payloads").iterdir())
    victim = batch_file if what == "batch" else move_file
    if how == "missing":
        victim.unlink()
    else:
        os.truncate(victim, 100)
    whole, damaged = kept_in(folder)
    assert not whole.damaged
    assert str(victim) in damaged.damaged
    assert ("is missing" if how == "missing" else "has 100 bytes of") in damaged.damaged
    assert damaged.accepted.head == batch(2).head
    assert (damaged.accepted.payload == b"") == (what == "batch")
    assert (damaged.moves[0].data == b"") == (what == "move")


def test_what_was_only_in_the_log_is_there_after_the_next_start(folder, tmp_path) -> None:
    stored = Stored(folder)
    stored.wait(stored.store.accept([batch(1, payload=bytes(2 * LARGE))]))
    stored.wait(stored.store.move([move(1)]))
    copy = tmp_path / "copy"  # what a crash at this moment leaves
    shutil.copytree(folder, copy)
    stored.store.abort()
    [kept] = kept_in(copy)
    assert kept.moves == (move(1),)
    assert not kept.damaged


def test_a_log_whose_end_was_torn_off_loses_no_more_than_that(folder, tmp_path) -> None:
    stored = Stored(folder)
    for first_id in range(1, 21):
        stored.wait(stored.store.accept([batch(first_id)]))
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    stored.store.abort()
    os.truncate(copy / "jobs.sqlite3-wal", (copy / "jobs.sqlite3-wal").stat().st_size - 2000)
    assert [kept.accepted for kept in kept_in(copy)] == [batch(first_id) for first_id in range(1, 20)]


# --- versions ---------------------------------------------------------------------------------------------------------


def test_a_newer_schema_is_refused_and_left_as_it_is(folder) -> None:
    filled(folder)
    other = sqlite3.connect(folder / "jobs.sqlite3")
    other.execute("PRAGMA user_version = 99")
    other.close()
    error = refusal(folder)
    assert "newer Stoker" in error.message
    assert error.data == {"schema": 99, "known": shipped()[-1].version}


def test_the_shipped_migrations_are_numbered_without_gaps_from_one() -> None:
    assert [step.version for step in shipped()] == list(range(1, len(shipped()) + 1))


MADE_UP = Migration(
    shipped()[-1].version + 1,
    "ALTER TABLE batches ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey';\n"
    "UPDATE batches SET colour = 'blue' WHERE id = 1;",
)


@pytest.fixture
def connection(folder) -> Iterator[sqlite3.Connection]:
    """The database of a closed store with two batches."""
    filled(folder)
    connection = sqlite3.connect(folder / "jobs.sqlite3", isolation_level=None)
    yield connection
    connection.close()


def test_a_later_version_brings_the_rows_along(connection, folder) -> None:
    migrate(connection, [*shipped(), MADE_UP], folder)
    assert connection.execute("SELECT id, colour FROM batches ORDER BY id").fetchall() == [(1, "blue"), (2, "grey")]
    assert connection.execute("PRAGMA user_version").fetchone() == (MADE_UP.version,)
    migrate(connection, [*shipped(), MADE_UP], folder)  # and once only
    with pytest.raises(StoreUnusable, match="newer Stoker"):
        migrate(connection, shipped(), folder)


def test_a_step_that_fails_leaves_the_version_before(connection, folder) -> None:
    broken = Migration(MADE_UP.version + 1, "ALTER TABLE moves ADD COLUMN x INTEGER; INSERT INTO nowhere VALUES (1);")
    before = connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate(connection, [*shipped(), Migration(MADE_UP.version, broken.script)], folder)
    assert connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall() == before
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate(connection, [*shipped(), MADE_UP, broken], folder)
    assert connection.execute("PRAGMA user_version").fetchone() == (MADE_UP.version,)
    assert not connection.in_transaction
