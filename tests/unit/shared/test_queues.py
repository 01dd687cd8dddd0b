"""Queue."""

from __future__ import annotations

import pytest

from stoker.errors import IllegalMove, ObjectDropped, ObjectTooLarge, QueueEmpty, QueueFull
from stokerd.shared.base import ITEM_COST, Item
from stokerd.shared.queues import SharedQueue
from stokerd.shared.waiters import Actor


def test_items_come_out_in_the_order_in_which_they_went_in(rig, ann, make, read):
    queue = rig.open(ann, SharedQueue)
    assert queue.put(ann, make(1, 2, 3)).value() == 3
    assert read(queue.get(ann, 2).value()) == ["1", "2"]
    assert read(queue.get(ann, 9).value()) == ["3"]


def test_a_batch_ends_where_the_encoding_changes(rig, ann):
    queue = rig.open(ann, SharedQueue)
    queue.put(ann, [Item("msgpack", b"a"), Item("pickle", b"b"), Item("pickle", b"c")])
    assert [len(queue.get(ann, 9).value().items) for _ in range(2)] == [1, 2]


def test_takers_are_served_in_order_of_arrival(rig, ann, bob, cid, make, read):
    queue = rig.open(ann, SharedQueue)
    first, second = queue.get(bob), queue.get(cid)
    queue.put(ann, make("x"))
    assert read(first.value()) == ["x"]
    assert not second.settled
    queue.put(ann, make("y"))
    assert read(second.value()) == ["y"]


def test_an_empty_queue_refuses_one_who_does_not_wait_and_one_whose_time_is_over(rig, ann):
    queue = rig.open(ann, SharedQueue)
    assert isinstance(queue.get(ann, timeout=0).error, QueueEmpty)
    waiting = queue.get(ann, timeout=2)
    rig.clock.turn(2)
    assert isinstance(waiting.error, QueueEmpty)


def test_a_full_queue_lets_putters_in_as_items_leave_in_order(rig, ann, bob, make, read):
    queue = rig.open(ann, SharedQueue, maxsize=2)
    queue.put(ann, make(1, 2))
    waiting, later = queue.put(ann, make(3, 4, 5)), queue.put(bob, make(6))
    assert isinstance(queue.put(bob, make(7), timeout=0).error, QueueFull)
    taken = [read(queue.get(bob).value())[0] for _ in range(3)]
    assert waiting.value() == 3
    assert not later.settled
    taken += [read(queue.get(bob).value())[0] for _ in range(3)]
    assert later.value() == 1
    assert taken == list("123456")


def test_a_batch_larger_than_the_queue_flows_through_to_those_who_wait(rig, ann, bob, make, read):
    queue = rig.open(ann, SharedQueue, maxsize=1)
    takers = [queue.get(bob) for _ in range(3)]
    assert queue.put(ann, make(1, 2, 3), timeout=0).value() == 3
    assert [read(taker.value())[0] for taker in takers] == ["1", "2", "3"]


def test_a_putter_whose_time_is_over_learns_how_many_are_in(rig, ann, make):
    queue = rig.open(ann, SharedQueue, maxsize=2)
    waiting = queue.put(ann, make(1, 2, 3), timeout=1)
    rig.clock.turn(1)
    assert isinstance(waiting.error, QueueFull)
    assert waiting.error.data["accepted"] == 2
    assert waiting.error.retryable


def test_when_a_putter_leaves_the_next_one_is_let_in_if_it_fits(new_rig, ann, bob, make, read):
    rig = new_rig(object_bytes=1000 + ITEM_COST, total_bytes=10_000)
    queue = rig.open(ann, SharedQueue)
    queue.put(ann, make("x"))
    large, small = queue.put(ann, make("y" * 1000)), queue.put(bob, make("z"))
    assert not small.settled
    large.abandon()
    assert small.settled
    assert read(queue.get(ann).value()) + read(queue.get(ann).value()) == ["x", "z"]


def test_an_item_that_can_never_fit_is_refused_whole(new_rig, ann, make):
    rig = new_rig(object_bytes=1000)
    queue = rig.open(ann, SharedQueue)
    with pytest.raises(ObjectTooLarge):
        queue.put(ann, make("small", "x" * 1000))
    assert not queue.items


def test_a_queue_starved_by_the_memory_of_others_goes_on_when_they_give_it_back(new_rig, ann, bob, make):
    rig = new_rig(total_bytes=1000)
    other, queue = rig.open(ann, SharedQueue), rig.open(ann, SharedQueue)
    other.put(ann, make("x" * 700))
    waiting = queue.put(bob, make("y" * 700))
    assert not waiting.settled
    other.get(ann, ack="now")
    assert waiting.value() == 1


def test_what_a_dead_taker_had_not_acknowledged_returns_to_the_front_in_order(rig, ann, bob, make, read):
    queue = rig.open(ann, SharedQueue, "jobs")
    queue.put(ann, make(1, 2, 3, 4))
    rig.use(bob, queue).get(bob, 2, "manual")
    queue.get(bob, 1, "manual")
    assert queue.detail()["on_loan"] == 3
    rig.shared.session_closed("bob")
    assert read(queue.get(ann, 9).value()) == ["1", "2", "3", "4"]
    assert "items returned: their taker ended" in rig.changes()


def test_returned_items_go_straight_to_a_taker_who_waits(rig, ann, bob, make, read):
    queue = rig.open(ann, SharedQueue, "jobs")
    queue.put(ann, make(1))
    rig.use(bob, queue).get(bob)
    waiting = queue.get(ann)
    rig.shared.session_closed("bob")
    assert read(waiting.value()) == ["1"]


def test_the_next_call_of_the_same_holder_acknowledges_what_it_took(rig, ann, bob, make):
    queue = rig.open(ann, SharedQueue, "jobs")
    queue.put(ann, make(1))
    rig.use(bob, queue).get(bob)
    rig.use(Actor("bob", "other thread"), queue)
    assert queue.detail()["on_loan"] == 1
    rig.use(bob, queue)
    assert queue.detail()["on_loan"] == 0
    rig.shared.session_closed("bob")
    assert not queue.items


def test_the_next_call_does_not_acknowledge_what_was_taken_manually(rig, ann, bob, make):
    queue = rig.open(ann, SharedQueue, "jobs")
    queue.put(ann, make(1))
    number = rig.use(bob, queue).get(bob, ack="manual").value().number
    rig.use(bob, queue)
    assert queue.detail()["on_loan"] == 1
    assert queue.settle("ann", (number,)) == 0
    assert queue.settle("bob", (number,)) == 1
    assert queue.detail()["on_loan"] == 0


def test_items_can_be_given_back(rig, ann, bob, make, read):
    queue = rig.open(ann, SharedQueue, "jobs")
    queue.put(ann, make(1, 2))
    number = rig.use(bob, queue).get(bob, ack="manual").value().number
    queue.settle("bob", (number,), give_back=True)
    assert read(queue.get(ann, 9).value()) == ["1", "2"]


def test_an_item_that_was_sent_and_never_seen_is_returned_by_withdrawing(rig, ann, make):
    queue = rig.open(ann, SharedQueue)
    queue.put(ann, make(1))
    queue.get(ann, ticket=5)
    assert rig.shared.withdraw(ann, queue.id, 5).value() == "granted"
    assert len(queue.items) == 1


def test_bytes_are_given_back_when_items_are_acknowledged_and_when_the_queue_is_dropped(rig, ann, make):
    queue = rig.open(ann, SharedQueue)
    budget = rig.shared._room.budget
    queue.put(ann, make(1, 2, 3))
    rig.use(ann, queue).get(ann, 2)
    assert budget.used > 0
    rig.use(ann, queue)
    rig.shared.drop(queue.id)
    assert budget.used == 0


def test_whoever_waits_is_told_when_the_queue_is_dropped(rig, ann, make):
    queue = rig.open(ann, SharedQueue, maxsize=1)
    taker = queue.get(ann)
    rig.shared.drop(queue.id)
    assert isinstance(taker.error, ObjectDropped)


def test_join_waits_until_all_is_done(rig, ann, bob, make):
    queue = rig.open(ann, SharedQueue)
    assert queue.tally.join(ann).value()
    queue.put(ann, make(1, 2))
    waiting, late = queue.tally.join(ann), queue.tally.join(bob, timeout=1)
    queue.get(ann, 2)
    queue.tally.task_done()
    rig.clock.turn(1)
    assert late.value() is False
    assert not waiting.settled
    queue.tally.task_done()
    assert waiting.value()
    with pytest.raises(IllegalMove):
        queue.tally.task_done()


def test_returned_items_are_not_counted_twice_as_unfinished(rig, ann, bob, make):
    queue = rig.open(ann, SharedQueue, "jobs")
    queue.put(ann, make(1))
    rig.use(bob, queue).get(bob)
    rig.shared.session_closed("bob")
    assert queue.tally.unfinished == 1


def test_a_loan_can_be_acknowledged_in_part_and_the_rest_comes_back_in_order(rig, ann, bob, make, read):
    queue = rig.open(ann, SharedQueue)
    queue.put(ann, make(1, 2, 3, 4, 5))
    loan = queue.get(ann, 4, "manual").value()
    assert queue.settle(ann.session, (loan.number,), taken=1) == 1
    assert len(queue.loans) == 3
    assert queue.settle(ann.session, (loan.number,), taken=1, give_back=True) == 1
    assert len(queue.loans) == 0
    assert read(queue.get(bob, 9).value()) == ["3", "4", "5"]
    assert queue.settle(ann.session, (loan.number,), taken=1, give_back=True) == 0


def test_what_is_left_of_a_loan_returns_when_its_taker_ends(rig, ann, bob, make, read):
    queue = rig.open(ann, SharedQueue)
    queue.put(bob, make(1, 2, 3))
    loan = queue.get(ann, 3, "manual").value()
    queue.settle(ann.session, (loan.number,), taken=2)
    rig.use(bob, queue)
    rig.shared.session_closed(ann.session)
    assert read(queue.get(bob, 9).value()) == ["3"]


def test_loans_that_are_given_back_together_keep_their_order(rig, ann, bob, make, read):
    queue = rig.open(ann, SharedQueue)
    queue.put(ann, make(1, 2, 3, 4))
    loans = [queue.get(ann, 2, "manual").value().number for _ in range(2)]
    assert queue.settle(ann.session, loans, taken=0, give_back=True) == 2
    assert read(queue.get(bob, 9).value()) == ["1", "2", "3", "4"]
