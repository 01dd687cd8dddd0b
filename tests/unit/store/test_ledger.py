"""Rows and files without a thread: small transactions of pruning, and what a crash leaves."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.store.stores import LARGE, batch, move

from stoker.errors import NameTaken
from stokerd.promise import Promise
from stokerd.store.folder import StateFolder
from stokerd.store.ledger import PRUNED_AT_ONCE, Ledger
from stokerd.store.migrations import shipped
from stokerd.store.orders import Accepts, Moves
from stokerd.store.records import Accepted


@pytest.fixture
def home(folder) -> Iterator[StateFolder]:
    home = StateFolder.take(folder)
    yield home
    home.release()


@pytest.fixture
def ledger(home) -> Iterator[Ledger]:
    ledger = Ledger(home, LARGE, shipped())
    yield ledger
    ledger.close()


def filled(ledger: Ledger, batches: int, moves_each: int) -> None:
    """Batches 1, 2, ... with moves; all of batch 1 is in files."""
    large = bytes(2 * LARGE)
    first = batch(1, payload=large)
    work = ledger.write(
        [
            Accepts([first, *(batch(first_id) for first_id in range(2, batches + 1))], Promise()),
            Moves([move(1, data=large)], Promise()),
            Moves([move(1 + n % batches) for n in range(moves_each * batches)], Promise()),
        ]
    )
    assert work.fault is None
    assert [error for _, error in work.dealt] == [None] * 3


def rows(ledger: Ledger) -> tuple[int, int]:
    """How many batches and moves there are."""
    run = ledger._database._connection.execute
    return run("SELECT count(*) FROM batches").fetchone()[0], run("SELECT count(*) FROM moves").fetchone()[0]


def test_each_step_of_pruning_removes_a_bounded_number_of_rows(ledger) -> None:
    filled(ledger, batches=600, moves_each=2)
    ledger.doom(range(1, 601))
    steps = 0
    before = sum(rows(ledger))
    while ledger.prunable:
        ledger.prune()
        after = sum(rows(ledger))
        assert before - after <= PRUNED_AT_ONCE
        before, steps = after, steps + 1
    assert rows(ledger) == (0, 0)
    assert steps >= 600 * 3 / PRUNED_AT_ONCE


def test_a_batch_goes_before_its_moves_so_that_no_half_of_it_is_ever_found(ledger, home) -> None:
    filled(ledger, batches=1, moves_each=2 * PRUNED_AT_ONCE)
    ledger.doom([1])
    ledger.prune()
    assert rows(ledger) == (0, 2 * PRUNED_AT_ONCE + 1)
    assert ledger.read(0, 10).batches == []


def test_pruning_that_was_cut_short_is_finished_after_the_next_start(ledger, home) -> None:
    filled(ledger, batches=3, moves_each=10)
    ledger.doom([1, 2])
    ledger.prune()
    ledger.close()
    again = Ledger(home, LARGE, shipped())
    while again.prunable:
        again.prune()
    assert rows(again) == (1, 10)
    assert list(home.payloads.iterdir()) == []
    assert again.next_id == 4
    again.close()


@contextlib.contextmanager
def no_commit(ledger: Ledger) -> Iterator[None]:
    """SQLite refuses to commit, as it would on a disk that fails then and not before."""

    def authorise(action: int, what: str | None, *_: object) -> int:
        return sqlite3.SQLITE_DENY if (action, what) == (sqlite3.SQLITE_TRANSACTION, "COMMIT") else sqlite3.SQLITE_OK

    ledger._database._connection.set_authorizer(authorise)
    yield
    ledger._database._connection.set_authorizer(None)


def test_a_pruning_that_was_not_committed_has_removed_nothing_and_is_done_again(ledger, home) -> None:
    filled(ledger, batches=1, moves_each=1)
    names = set(home.payloads.iterdir())
    assert len(names) == 2
    ledger.doom([1])
    with no_commit(ledger):
        for _ in range(3):
            with pytest.raises(sqlite3.DatabaseError):
                ledger.prune()
    assert set(home.payloads.iterdir()) == names
    assert rows(ledger) == (1, 2)
    ledger.prune()
    assert rows(ledger) == (0, 2)
    with no_commit(ledger), pytest.raises(sqlite3.DatabaseError):
        ledger.prune()
    assert rows(ledger) == (0, 2)
    while ledger.prunable:
        ledger.prune()
    assert rows(ledger) == (0, 0)
    assert list(home.payloads.iterdir()) == []


def test_work_that_was_not_committed_is_the_rest_and_can_be_written_again(ledger, home) -> None:
    filled(ledger, batches=1, moves_each=0)
    large = batch(2, payload=bytes(2 * LARGE))
    work = [Accepts([large], Promise()), Moves([move(1, data=bytes(3 * LARGE))], Promise())]
    with no_commit(ledger):
        written = ledger.write(work)
    assert (written.dealt, written.rest) == ([], work)
    assert isinstance(written.fault, sqlite3.DatabaseError)
    assert len(list(home.payloads.iterdir())) == 4
    ledger.forget(work[0])
    assert len(list(home.payloads.iterdir())) == 3
    written = ledger.write(work[1:])
    assert (written.dealt, written.fault) == ([(work[1], None)], None)
    assert rows(ledger) == (1, 2)


def test_what_a_crash_has_left_is_removed_and_what_is_named_or_not_ours_stays(ledger, home) -> None:
    filled(ledger, batches=1, moves_each=0)
    named = {path.name for path in home.payloads.iterdir()}
    ledger.close()
    for name in ("00000000000000ff", "0000000000000100.tmp", f"{min(named)}.tmp", "notes.txt"):
        (home.payloads / name).write_bytes(b"left over")
    outside = home.path / "00000000000000ff"
    outside.write_bytes(b"not in the folder of payloads")
    again = Ledger(home, LARGE, shipped())
    assert {path.name for path in home.payloads.iterdir()} == {*named, "notes.txt"}
    assert outside.exists()
    [found] = again.read(0, 10).batches
    assert found[0] == 1
    again.close()


def test_what_made_way_for_a_batch_that_is_refused_after_all_is_still_whole(ledger, home) -> None:
    large = bytes(2 * LARGE)
    ledger.write([Accepts([batch(1, key="a", payload=large)], Promise()), Accepts([batch(2, key="b")], Promise())])
    ledger.write([Moves([move(1)], Promise())])
    ledger.doom([1])
    both = Accepts([batch(3, key="a"), batch(4, key="b")], Promise())  # only the first of these keys is given up
    [(_, error)] = ledger.write([both]).dealt
    assert isinstance(error, NameTaken)
    assert rows(ledger) == (2, 1)
    assert len(list(home.payloads.iterdir())) == 1
    ledger.prune()
    assert rows(ledger) == (1, 1), "the batch goes first, and in one piece"
    ledger.prune()
    assert rows(ledger) == (1, 0)
    assert list(home.payloads.iterdir()) == []


def test_an_id_that_only_moves_have_is_not_given_to_a_batch(ledger, home) -> None:
    filled(ledger, batches=1, moves_each=0)
    ledger.write([Moves([move(7)], Promise())])  # its batch was refused
    ledger.close()
    again = Ledger(home, LARGE, shipped())
    assert again.next_id == 8
    again.prune()
    assert rows(again) == (1, 1)
    again.close()


def test_a_number_that_was_used_is_not_used_again_while_its_row_is_there(ledger, home) -> None:
    filled(ledger, batches=1, moves_each=0)
    ledger.close()
    again = Ledger(home, LARGE, shipped())
    again.write([Accepts([batch(5, payload=b"x" * 2 * LARGE)], Promise())])
    files: list[Path] = sorted(home.payloads.iterdir())
    assert [path.read_bytes()[-1:] for path in files] == [b"\0", b"\0", b"x"]
    again.close()


def test_a_row_that_is_too_large_is_refused_alone(ledger) -> None:
    ledger._database._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)  # a billion otherwise
    large = Accepted(first_id=2, count=1, key=None, head=bytes(20_000), lengths=b"", payload=b"")
    work = [Accepts([batch(1)], Promise()), Accepts([large], Promise()), Moves([move(1, bytes(20_000))], Promise())]
    written = ledger.write([*work, Moves([move(1)], Promise())])
    assert (written.fault, written.rest) == (None, [])
    assert [error is None for _, error in written.dealt] == [True, False, False, True]
    assert rows(ledger) == (1, 1)
