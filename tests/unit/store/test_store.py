"""What is handed over comes back, whole and in order, after the next start."""

from __future__ import annotations

import os
import sys
import threading
import time

import pytest
from tests.clocks import HandClock
from tests.unit.store.stores import LARGE, batch, kept_in, move

from stoker.errors import InternalError, NameTaken, ShuttingDown
from stokerd.store.ledger import PRUNED_AT_ONCE
from stokerd.store.records import Accepted, Kept, Move
from stokerd.store.store import Store


def test_an_empty_store_has_nothing_and_begins_with_one(stored) -> None:
    assert list(stored.store.load()) == []
    assert stored.store.next_id == 1
    assert stored.store.failing == ""


def test_a_batch_comes_back_as_it_was_accepted(stored) -> None:
    given = batch(1, 3, key="mine", payload=b"\0\xff" * 30)
    stored.wait(stored.store.accept([given]))
    stored.close()
    assert kept_in(stored.folder) == [Kept(accepted=given, moves=())]


def test_moves_come_back_with_their_batch_in_the_order_in_which_they_were_handed_over(stored) -> None:
    stored.store.accept([batch(1, 5), batch(6, 5)])
    given = [move(6, b"z"), move(1, b"b", first=2, count=3), move(6, b"y"), move(1, b"a", data=b"")]
    stored.store.move(given[:2])
    stored.store.move(given[2:])
    stored.close()
    first, second = kept_in(stored.folder)
    assert first.moves == (given[1], given[3])
    assert second.moves == (given[0], given[2])


def test_order_holds_over_several_starts(open_store, folder) -> None:
    open_store().close()
    for start in range(3):
        stored = open_store()
        if start == 0:
            stored.store.accept([batch(1)])
        for number in range(3):
            stored.store.move([move(1, b"%d %d" % (start, number))])
        stored.close()
    [kept] = kept_in(folder)
    assert [one.note for one in kept.moves] == [b"%d %d" % (start, n) for start in range(3) for n in range(3)]


def test_batches_come_back_by_id_whatever_the_order_they_came_in(stored) -> None:
    stored.store.accept([batch(7)])
    stored.store.accept([batch(3), batch(5)])
    stored.close()
    assert [kept.accepted.first_id for kept in kept_in(stored.folder)] == [3, 5, 7]


def test_what_was_handed_over_is_seen_by_load_at_once(stored) -> None:
    stored.store.accept([batch(1)])
    stored.store.move([move(1)])
    assert [(kept.accepted, kept.moves) for kept in stored.store.load()] == [(batch(1), (move(1),))]


def test_more_batches_than_are_read_at_once_come_back(stored) -> None:
    stored.store.accept([batch(first_id) for first_id in range(1, 1001)])
    stored.store.move([move(first_id) for first_id in range(1, 1001, 2)])
    found = list(stored.store.load())
    assert [kept.accepted.first_id for kept in found] == list(range(1, 1001))
    assert [len(kept.moves) for kept in found] == [1, 0] * 500


def test_promises_settle_in_the_thread_of_the_loop_and_in_order(stored) -> None:
    settled = []
    for number in range(50):
        promise = stored.store.accept([batch(number + 1)]) if number % 2 else stored.store.move([move(number)])
        promise.when_settled(lambda _, number=number: settled.append((number, threading.current_thread())))
    stored.wait(promise)
    assert settled == [(number, threading.main_thread()) for number in range(50)]


def test_a_loop_that_never_rests_is_served_as_well(open_store) -> None:
    before = sys.getswitchinterval()
    stored = open_store()
    assert sys.getswitchinterval() == pytest.approx(1e-4), "the writer has to wait for its turn for too long"
    deadline = time.monotonic() + 60
    for first_id in range(1, 51):
        promise = stored.store.accept([batch(first_id)])
        while not promise.settled:
            assert time.monotonic() < deadline, f"{first_id - 1} of 50 in a minute"
            sum(range(40_000))
            stored.clock.look(0)
    stored.close()
    assert sys.getswitchinterval() == before


def test_the_next_id_is_above_every_batch_and_survives_pruning_and_restarts(open_store) -> None:
    stored = open_store()
    stored.wait(stored.store.accept([batch(1, 10), batch(11, 90)]))
    assert stored.store.next_id == 101
    stored.store.drop([1, 11])
    stored.close()
    again = open_store()
    assert list(again.store.load()) == []
    assert again.store.next_id == 101


def test_nothing_to_keep_is_kept_at_once(stored) -> None:
    stored.wait(stored.store.accept([]))
    stored.wait(stored.store.move([]))


# --- large and small --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [LARGE - 4, LARGE - 3, 100 * LARGE])
def test_a_batch_goes_to_a_file_above_the_boundary_and_comes_back_alike(stored, size) -> None:
    given = batch(1, payload=os.urandom(size))  # its lengths are 4 bytes
    stored.wait(stored.store.accept([given]))
    assert len(stored.files()) == (size > LARGE - 4)
    stored.close()
    [kept] = kept_in(stored.folder)
    assert (kept.accepted.lengths, kept.accepted.payload) == (given.lengths, given.payload)
    assert not kept.damaged


def test_many_lengths_alone_make_a_batch_large(stored) -> None:
    given = batch(1, LARGE, payload=b"")
    stored.wait(stored.store.accept([given]))
    assert len(stored.files()) == 1
    stored.close()
    assert kept_in(stored.folder)[0].accepted == given


@pytest.mark.parametrize("size", [LARGE, LARGE + 1])
def test_data_goes_to_a_file_above_the_boundary_and_comes_back_alike(stored, size) -> None:
    data = os.urandom(size)
    stored.store.accept([batch(1)])
    stored.wait(stored.store.move([move(1, data=data), move(1, b"small")]))
    assert len(stored.files()) == (size > LARGE)
    stored.close()
    [kept] = kept_in(stored.folder)
    assert kept.moves == (move(1, data=data), move(1, b"small"))


@pytest.mark.parametrize("size", [10, 100 * LARGE])
def test_a_view_may_be_released_once_it_was_handed_over(stored, size) -> None:
    original = os.urandom(size)
    arguments, value = memoryview(bytearray(original)), memoryview(original)
    stored.store.accept([batch(1, payload=arguments)])
    stored.store.move([move(1, data=value)])
    arguments.release()
    value.release()
    stored.close()
    [kept] = kept_in(stored.folder)
    assert kept.accepted.payload == original
    assert kept.moves[0].data == original


def test_a_small_view_is_copied_so_that_its_buffer_may_be_used_again(stored) -> None:
    buffer = bytearray(b"first")
    stored.store.accept([batch(1, payload=memoryview(buffer))])
    buffer[:] = b"other"
    stored.close()
    assert kept_in(stored.folder)[0].accepted.payload == b"first"


def test_a_view_of_wider_items_is_kept_as_its_bytes(stored) -> None:
    numbers = memoryview(bytes(8 * LARGE)).cast("Q")
    stored.store.accept([batch(1, payload=numbers)])
    stored.store.move([move(1, data=numbers[:2])])
    stored.close()
    [kept] = kept_in(stored.folder)
    assert kept.accepted.payload == bytes(8 * LARGE)
    assert kept.moves[0].data == bytes(16)


def test_a_hundred_thousand_moves_are_kept(stored) -> None:
    stored.store.accept([batch(1, 100_000)])
    for start in range(0, 100_000, 10_000):
        promise = stored.store.move([move(1, b"%d" % n, first=n) for n in range(start, start + 10_000)])
    stored.wait(promise)
    stored.close()
    [kept] = kept_in(stored.folder)
    assert [one.first for one in kept.moves] == list(range(100_000))
    assert all(one.note == b"%d" % one.first for one in kept.moves)


def test_the_log_does_not_grow_without_bounds(stored) -> None:
    log = stored.folder / "jobs.sqlite3-wal"
    stored.store.accept([batch(1)])
    for _ in range(400):  # 80 MB in all
        stored.wait(stored.store.move([move(1, data=bytes(LARGE))] * 100))
    assert log.stat().st_size < 40_000_000
    stored.close()
    assert not log.exists()


# --- what cannot be written -------------------------------------------------------------------------------------------


def test_a_key_that_another_batch_has_is_refused_alone(stored) -> None:
    before = stored.store.accept([batch(1, key="a")])
    refused = stored.store.accept([batch(2), batch(3, key="a", payload=bytes(10 * LARGE))])
    moved = stored.store.move([move(1)])
    after = stored.store.accept([batch(4, key="b")])
    error = stored.error(refused)
    assert isinstance(error, NameTaken)
    assert error.data == {"key": "a", "id": 1}
    stored.wait(before)
    stored.wait(moved)
    stored.wait(after)
    assert stored.files() == []
    assert [kept.accepted.first_id for kept in stored.store.load()] == [1, 4]
    assert stored.health == []


def test_a_key_is_free_again_once_its_batch_was_dropped(stored) -> None:
    many = range(1, 4 * PRUNED_AT_ONCE)
    stored.store.accept([batch(first_id, key=f"key {first_id}") for first_id in many])
    stored.store.drop(list(many))
    last = many[-1]
    stored.wait(stored.store.accept([batch(last + 1, key=f"key {last}")]))
    stored.close()
    assert [kept.accepted.first_id for kept in kept_in(stored.folder)] == [last + 1]


def test_an_id_that_is_taken_is_refused_alone(stored) -> None:
    stored.wait(stored.store.accept([batch(1)]))
    assert isinstance(stored.error(stored.store.accept([batch(2), batch(1)])), InternalError)
    assert [kept.accepted.first_id for kept in stored.store.load()] == [1]


def test_a_move_that_is_no_row_is_refused_alone(stored) -> None:
    stored.store.accept([batch(1)])
    bad = stored.store.move([move(1), Move(batch=1, first=2**70, count=1, note=b"too far")])
    good = stored.store.move([move(1, b"good")])
    assert isinstance(stored.error(bad), InternalError)
    stored.wait(good)
    [kept] = stored.store.load()
    assert kept.moves == (move(1, b"good"),)


def test_a_batch_that_is_no_row_is_refused_alone(stored) -> None:
    bad = Accepted(first_id=1, count=1, key=None, head=None, lengths=b"", payload=b"")  # type: ignore[arg-type]
    refused = stored.store.accept([bad])
    kept = stored.store.accept([batch(2)])
    assert isinstance(stored.error(refused), InternalError)
    stored.wait(kept)


# --- pruning ----------------------------------------------------------------------------------------------------------


def test_a_dropped_batch_is_gone_with_its_moves_and_files(stored) -> None:
    stored.store.accept([batch(1, payload=bytes(2 * LARGE)), batch(2, payload=bytes(2 * LARGE))])
    stored.wait(stored.store.move([move(1, data=bytes(2 * LARGE)), move(2, data=bytes(2 * LARGE))]))
    assert len(stored.files()) == 4
    stored.store.drop([1])
    stored.close()
    [kept] = kept_in(stored.folder)
    assert kept.accepted.first_id == 2
    assert not kept.damaged
    assert len(stored.files()) == 2


def test_dropping_what_is_not_there_changes_nothing(stored) -> None:
    stored.store.accept([batch(1)])
    stored.store.drop([2, 3, 2**40])
    stored.close()
    assert len(kept_in(stored.folder)) == 1


def test_pruning_goes_on_by_itself_while_others_are_served_and_is_done_in_the_end(stored) -> None:
    stored.store.accept([batch(first_id) for first_id in range(1, 11)])
    stored.wait(stored.store.move([move(1 + n % 10, data=bytes(n % 2 * 2 * LARGE)) for n in range(20)]))
    for first_id in range(1, 11):
        stored.store.move([move(first_id)] * 2 * PRUNED_AT_ONCE)
    stored.store.drop(range(1, 11))
    for first_id in range(11, 41):
        stored.wait(stored.store.accept([batch(first_id)]))
    stored.until_files(0)
    assert [kept.accepted.first_id for kept in stored.store.load()] == list(range(11, 41))


# --- the end ----------------------------------------------------------------------------------------------------------


def test_close_writes_everything_that_was_handed_over(stored) -> None:
    promises = [stored.store.accept([batch(first_id)]) for first_id in range(1, 101)]
    stored.close()
    assert all(promise.settled and promise.error is None for promise in promises)
    assert len(kept_in(stored.folder)) == 100


def test_closing_twice_is_closing_once_and_nothing_is_taken_afterwards(stored) -> None:
    assert stored.store.close() is stored.store.close()
    late = stored.store.accept([batch(1)]), stored.store.move([move(1)])
    stored.close()
    assert all(isinstance(promise.error, ShuttingDown) for promise in late)
    with pytest.raises(ShuttingDown, match="not open"):
        next(stored.store.load())
    stored.store.drop([1])
    stored.store.abort()
    assert kept_in(stored.folder) == []


def test_a_store_that_was_never_opened_can_be_closed(folder) -> None:
    store = Store(folder, clock=HandClock(), on_health=print)
    assert store.close().settled
    assert not folder.exists()


def test_closing_leaves_no_thread_and_no_descriptor(folder, open_store) -> None:
    open_store().close()
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    stored = open_store()
    stored.wait(stored.store.accept([batch(1, payload=bytes(2 * LARGE))]))
    stored.close()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


def test_an_aborted_store_leaves_what_was_acknowledged_and_a_free_folder(stored) -> None:
    stored.wait(stored.store.accept([batch(1)]))
    late = stored.store.move([move(1)])
    stored.store.abort()
    assert not late.settled
    assert isinstance(stored.store.close().error, ShuttingDown)
    assert [kept.accepted for kept in kept_in(stored.folder)] == [batch(1)]
