"""On a disk that is really full, or fails otherwise: new work is refused, what was accepted goes on, all resumes."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.daemons import wait_until
from tests.unit.store.stores import LARGE, Stored, batch, kept_in, mounted, move

from stoker.errors import InternalError, StoreUnusable, Unavailable
from stokerd.store import faults
from stokerd.store.reserve import Reserve

MIB = 1024 * 1024
SOME = 50
"""More than the rest of a page that a file system may give out where it says that it is full."""


class SmallDisk:
    """A file system of 24 MiB of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.filler = path / "filler"

    def fill(self, *, but: int = 0) -> None:
        """Leave nothing free, or ``but`` bytes."""
        with self.filler.open("ab", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(65536))
            except OSError:
                os.ftruncate(filler.fileno(), os.fstat(filler.fileno()).st_size - but)

    def clear(self) -> None:
        """Leave all free."""
        self.filler.unlink()


@pytest.fixture
def disk(tmp_path) -> Iterator[SmallDisk]:
    with mounted(tmp_path / "disk", "size=24m,mode=0700") as path:
        yield SmallDisk(path)


@pytest.fixture
def full(disk, open_store: Callable[..., Stored]) -> Stored:
    """A store with one batch on a disk that is full since, which it knows."""
    stored = open_store(disk.path / "state")
    stored.wait(stored.store.accept([batch(1, 1000)]))
    disk.fill()
    until_refused(stored, 1_000_000)
    return stored


def until_refused(stored: Stored, above: int) -> Unavailable:
    """Accept until the disk refuses: the log may have some room of its own left."""
    for first_id in range(above, above + 1000):
        error = stored.error(stored.store.accept([batch(first_id, payload=bytes(LARGE - 4))]))
        if error is not None:
            assert isinstance(error, Unavailable)
            return error
    raise AssertionError("the disk was never full")


def test_a_batch_is_refused_with_the_reason_and_may_be_tried_again(full) -> None:
    error = full.error(full.store.accept([batch(2, SOME)]))
    assert isinstance(error, Unavailable)
    assert error.retryable
    assert f"the disk that holds {full.folder} is full" in error.message
    assert "free some space" in error.hint
    assert full.store.failing == f"the disk that holds {full.folder} is full"
    assert full.health == [full.store.failing]


def test_what_was_accepted_goes_on_in_the_space_of_the_reserve_and_new_work_does_not_eat_it(full, disk) -> None:
    reserve = full.folder / "reserve"
    done = 0
    while reserve.exists():
        full.wait(full.store.move([move(1, b"%d" % n, first=n) for n in range(done, done + SOME)]))
        done += SOME
        assert isinstance(full.error(full.store.accept([batch(2)])), Unavailable)
    for _ in range(20):
        full.wait(full.store.move([move(1, b"%d" % n, first=n) for n in range(done, done + SOME)]))
        done += SOME
        assert isinstance(full.error(full.store.accept([batch(2)])), Unavailable)
    full.store.abort()
    disk.clear()
    kept = kept_in(full.folder)
    assert kept[0].accepted == batch(1, 1000)
    assert [one.note for one in kept[0].moves] == [b"%d" % n for n in range(done)]


def test_moves_that_come_together_with_a_refused_batch_are_written(disk, open_store) -> None:
    stored = open_store(disk.path / "state")
    stored.wait(stored.store.accept([batch(1)]))
    disk.fill(but=MIB)
    stored.wait(stored.store.move([]))
    moved = stored.store.move([move(1, b"before")])
    refused = stored.store.accept([batch(2 + n, payload=bytes(LARGE - 4)) for n in range(4000)])  # 8 MB of rows
    later = stored.store.move([move(1, b"after")])
    assert isinstance(stored.error(refused), Unavailable)
    stored.wait(moved)
    stored.wait(later)
    [kept] = stored.store.load()
    assert [one.note for one in kept.moves] == [b"before", b"after"]


def test_moves_wait_in_memory_when_even_the_reserve_is_used_up_and_are_written_in_order_later(full, disk) -> None:
    large = bytes(LARGE - 5)  # 6 MB in all: more than the reserve
    promises = [full.store.move([move(1, b"%d" % number, data=large)] * 64) for number in range(45)]
    while not promises[0].settled:
        assert full.clock.look()
    last = promises[-1]
    assert isinstance(full.error(full.store.accept([batch(2)])), Unavailable)
    assert not last.settled
    assert full.store.failing
    disk.clear()
    full.wait(full.store.move([move(1, b"woken at once by new work")]))
    full.until_health(2)
    assert full.health[-1] == ""
    assert last.settled
    kept = next(full.store.load())
    notes = [one.note for one in kept.moves]
    assert notes == [b"%d" % n for n in range(45) for _ in range(64)] + [b"woken at once by new work"]


def test_service_resumes_by_itself_when_there_is_space_again(full, disk) -> None:
    disk.clear()
    full.until_health(2)
    assert full.health[1] == full.store.failing == ""
    assert (full.folder / "reserve").stat().st_size == 4 * MIB
    full.wait(full.store.accept([batch(2), batch(3, payload=bytes(10 * LARGE))]))
    full.close()
    assert {1, 2, 3} <= {kept.accepted.first_id for kept in kept_in(full.folder)}


def test_dropping_old_batches_makes_room_by_itself(disk, open_store) -> None:
    stored = open_store(disk.path / "state")
    stored.wait(stored.store.accept([batch(first_id, payload=bytes(MIB)) for first_id in range(1, 13)]))
    disk.fill()
    until_refused(stored, 1_000_000)
    stored.store.drop(range(1, 13))
    stored.until_health(2)
    assert stored.health[-1] == ""
    stored.wait(stored.store.accept([batch(20)]))


def test_a_payload_that_does_not_fit_leaves_nothing_and_others_are_accepted(disk, open_store) -> None:
    stored = open_store(disk.path / "state")
    refused = stored.store.accept([batch(1), batch(2, payload=bytes(64 * MIB))])
    accepted = stored.store.accept([batch(3, payload=bytes(MIB))])
    error = stored.error(refused)
    assert isinstance(error, Unavailable)
    assert "is full" in error.message
    stored.wait(accepted)
    assert len(stored.files()) == 1
    assert stored.health == []
    assert [kept.accepted.first_id for kept in stored.store.load()] == [3]


def test_a_value_that_does_not_fit_waits_and_what_follows_waits_behind_it(disk, open_store) -> None:
    stored = open_store(disk.path / "state")
    stored.wait(stored.store.accept([batch(1)]))
    disk.fill(but=8 * MIB)
    before = stored.store.move([move(1, b"before")])
    large = stored.store.move([move(1, b"large", data=bytes(14 * MIB))])
    after = stored.store.move([move(1, b"after")])
    stored.until_health(1)
    assert (before.settled, large.settled, after.settled) == (True, False, False)
    wait_until(lambda: stored.files() == [])  # but for the moments in which it is tried again
    disk.clear()
    stored.wait(after)
    [kept] = stored.store.load()
    assert [(one.note, len(one.data)) for one in kept.moves] == [(b"before", 5), (b"large", 14 * MIB), (b"after", 5)]


def test_closing_on_a_full_disk_says_what_is_lost_and_frees_the_folder(full, disk) -> None:
    lost = full.store.move([move(1, data=bytes(14 * MIB))])
    error = full.error(full.store.close())
    assert isinstance(error, Unavailable)
    assert "is full" in error.message
    assert isinstance(lost.error, Unavailable)
    disk.clear()
    [kept, *_] = kept_in(full.folder)
    assert kept.moves == ()


def test_a_store_is_opened_on_a_full_disk_when_its_rows_are_there(full, disk, open_store) -> None:
    full.wait(full.store.move([move(1)]))
    full.store.abort()
    disk.fill()
    again = open_store(full.folder)
    assert "is full" in again.store.failing
    [kept, *_] = again.store.load()
    assert kept.moves == (move(1),)
    assert isinstance(again.error(again.store.accept([batch(2)])), Unavailable)
    assert again.health == [again.store.failing]
    disk.clear()
    again.until_health(2)
    again.wait(again.store.accept([batch(2)]))


def test_no_store_is_made_on_a_full_disk(disk) -> None:
    disk.fill()
    with pytest.raises(StoreUnusable, match="is full"):
        Stored(disk.path / "state")
    disk.clear()
    Stored(disk.path / "state").close()


LIMITED = """
import resource, sys
from pathlib import Path
from tests.unit.store.stores import Stored, batch, move
stored = Stored(Path(sys.argv[1]), reserve_bytes=65536)
stored.wait(stored.store.accept([batch(1)]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
refused = stored.store.accept([batch(2, payload=bytes(2_000_000))])
print(stored.error(refused).message)
print(stored.files(), stored.store.failing)
promise = stored.store.accept([batch(10 + n, payload=bytes(1500)) for n in range(2000)])
print(stored.error(promise).message)
moved = stored.store.move([move(1)])
stored.wait(moved)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
while stored.store.failing:
    stored.clock.look()
stored.wait(stored.store.accept([batch(2, payload=bytes(2_000_000))]))
stored.close()
"""


def test_a_limit_on_file_sizes_is_a_reason_and_no_crash(folder) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(folder)], capture_output=True, text=True, env=env, timeout=60
    )
    assert done.returncode == 0, done.stderr
    large, state, many = done.stdout.splitlines()
    assert "cannot grow: File too large" in large
    assert state == "[] "
    assert "jobs.sqlite3 could not be read or written" in many
    assert [len(kept.moves) for kept in kept_in(folder)] == [1, 0]


def test_a_reserve_has_real_blocks_and_is_given_up_once(tmp_path) -> None:
    reserve = Reserve(tmp_path / "reserve", MIB)
    assert not reserve.give_up()
    reserve.renew()
    reserve.renew()
    facts = (tmp_path / "reserve").stat()
    assert facts.st_size == MIB
    assert facts.st_blocks * 512 >= MIB
    assert reserve.give_up()
    assert not reserve.give_up()


def test_a_store_may_have_no_reserve(open_store) -> None:
    stored = open_store(reserve_bytes=0)
    stored.wait(stored.store.accept([batch(1)]))
    assert stored.store.failing == ""


def test_a_reserve_that_cannot_be_renewed_stays_what_it_was(disk) -> None:
    reserve = Reserve(disk.path / "reserve", MIB)
    reserve.renew()
    disk.fill()
    with pytest.raises(OSError, match="No space left"):
        reserve.renew()
    assert (disk.path / "reserve").stat().st_size == MIB


# --- other ways in which writing fails --------------------------------------------------------------------------------


def test_nothing_is_acknowledged_into_a_database_that_was_moved_away_and_all_goes_on_once_it_is_back(stored) -> None:
    stored.wait(stored.store.accept([batch(1)]))
    home, away = stored.folder / "jobs.sqlite3", stored.folder / "away"
    home.rename(away)
    moved = stored.store.move([move(1)])
    error = stored.error(stored.store.accept([batch(2)]))
    assert isinstance(error, Unavailable)
    assert "was moved, replaced or deleted" in error.message
    assert stored.store.failing
    assert not moved.settled
    away.rename(home)
    stored.wait(moved)
    stored.until_health(2)
    stored.wait(stored.store.accept([batch(3)]))
    stored.close()
    assert [(kept.accepted.first_id, len(kept.moves)) for kept in kept_in(stored.folder)] == [(1, 1), (3, 0)]


def test_a_thread_that_cannot_go_on_answers_everybody_with_the_bug(stored) -> None:
    stored.wait(stored.store.accept([batch(1)]))
    stored.store.drop([[]])  # type: ignore[list-item] - no id, and nothing that a set of ids can hold
    errors = [stored.error(promise) for promise in (stored.store.accept([batch(2)]), stored.store.move([move(1)]))]
    assert all(isinstance(error, InternalError) for error in errors)
    with pytest.raises(InternalError):
        next(stored.store.load())
    stored.until_health(1)
    assert "a bug in the daemon" in stored.store.failing
    assert isinstance(stored.error(stored.store.close()), InternalError)
    assert [kept.accepted for kept in kept_in(stored.folder)] == [batch(1)]


def test_a_callback_that_raises_takes_nobodys_answer_away(stored) -> None:
    first, second = stored.store.accept([batch(1)]), stored.store.accept([batch(2)])

    def fail(_: object) -> None:
        raise RuntimeError("a bug of the caller's")

    first.when_settled(fail)
    with pytest.raises(RuntimeError, match="of the caller's"):
        stored.wait(second)
    stored.wait(second)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "the disk that holds /state is full"),
        (errno.EDQUOT, "/state may not grow: Disk quota exceeded"),
        (errno.EROFS, "/state/payloads/1 cannot be written: Read-only file system"),
        (errno.EACCES, "/state/payloads/1 cannot be written: Permission denied"),
        (errno.EMFILE, "/state/payloads/1 cannot be opened: Too many open files"),
        (errno.EIO, "/state/payloads/1 could not be read or written: Input/output error"),
    ],
)
def test_a_system_error_is_told_in_words_with_a_hint(number, said) -> None:
    error = OSError(number, os.strerror(number), "/state/payloads/1")
    fault = faults.describe(error, Path("/state/jobs.sqlite3"))
    assert fault.reason == said
    assert fault.hint
    assert faults.is_fault(error)
    assert faults.lacks_space(error) == (number in {errno.ENOSPC, errno.EDQUOT})


def test_memory_that_is_short_is_a_fault_and_a_wrong_row_is_none() -> None:
    assert faults.is_fault(MemoryError())
    assert "memory" in faults.describe(MemoryError(), Path("/state/jobs.sqlite3")).reason
    assert not faults.is_fault(sqlite3.IntegrityError("no error of SQLite's own has no code"))
    assert not faults.is_fault(TypeError())
