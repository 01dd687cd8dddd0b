"""Pipe."""

from __future__ import annotations

import pytest

from stoker.errors import HolderGone, ObjectDropped, ObjectTooLarge
from stokerd.shared.pipes import MOST, Received, SharedPipe


@pytest.fixture
def pipe(rig, ann, bob):
    """A pipe whose end ``a`` is Ann's and whose end ``b`` is Bob's."""
    pipe = rig.open(ann, SharedPipe)
    rig.use(bob, pipe)
    pipe.hold("ann", "a", claim=None, ticket=None)
    pipe.hold("bob", "b", claim=None, ticket=None)
    return pipe


def receive(pipe, who, end, timeout=None, ticket=0, *, peek=False):
    return pipe.receive(who, end, timeout, ticket, peek=peek)


def test_messages_arrive_in_order_and_in_both_directions(pipe, ann, bob):
    for message in (b"one", b"two"):
        assert pipe.send(ann, "a", message, None, 0).value()
    pipe.send(bob, "b", b"back", None, 0)
    assert [receive(pipe, bob, "b").value().message for _ in range(2)] == [b"one", b"two"]
    assert receive(pipe, ann, "a").value() == Received(b"back", ready=True)


def test_one_who_waits_gets_what_is_sent_and_one_who_only_looks_leaves_it(pipe, ann, bob):
    looking, waiting = receive(pipe, bob, "b", peek=True), receive(pipe, bob, "b")
    pipe.send(ann, "a", b"it", None, 0)
    assert looking.value() == Received(ready=True)
    assert waiting.value().message == b"it"


def test_one_whose_time_is_over_has_nothing(rig, pipe, bob):
    waiting = receive(pipe, bob, "b", timeout=5)
    rig.clock.turn(5)
    assert waiting.value() == Received()
    assert receive(pipe, bob, "b", timeout=0).value() == Received()


def test_the_end_comes_after_what_was_sent_before_it(rig, pipe, ann, bob):
    pipe.send(ann, "a", b"last", None, 0)
    pipe.give_up("ann", "a", ticket=None)
    assert receive(pipe, bob, "b").value().message == b"last"
    assert receive(pipe, bob, "b").value() == Received(ready=True, ended=True)
    assert not pipe.send(bob, "b", b"nobody reads this", None, 0).value()


def test_the_end_of_a_session_is_told_to_those_who_wait(rig, pipe, bob):
    waiting = receive(pipe, bob, "b")
    rig.shared.session_closed("ann")
    assert waiting.value().ended


def test_an_end_under_way_is_had_by_whoever_claims_it(pipe, bob, cid):
    pipe.hold("ann", "a", claim=None, ticket="t1")
    pipe.give_up("ann", "a", ticket=None)
    waiting = receive(pipe, bob, "b")
    assert not waiting.settled
    pipe.hold("cid", "a", claim="t1", ticket=None)
    pipe.send(cid, "a", b"from cid", None, 0)
    assert waiting.value().message == b"from cid"
    pipe.give_up("cid", "a", ticket=None)
    assert receive(pipe, bob, "b").value().ended


def test_an_end_that_nobody_will_claim_is_an_end(rig, pipe, ann, bob):
    pipe.hold("ann", "a", claim=None, ticket="t1")
    pipe.hold("ann", "a", claim=None, ticket="t2")
    pipe.give_up("ann", "a", ticket=None)
    pipe.give_up("ann", "a", ticket="t1")
    waiting = receive(pipe, bob, "b")
    assert not waiting.settled
    rig.shared.session_closed("ann")  # the other ticket is void with who made it
    assert waiting.value().ended


def test_a_full_pipe_has_senders_wait_until_there_is_room_or_nobody_to_read(pipe, ann, bob):
    for _ in range(MOST):
        pipe.send(ann, "a", b"x", None, 0)
    first, second = pipe.send(ann, "a", b"y", None, 0), pipe.send(ann, "a", b"z", None, 0)
    assert not first.settled
    receive(pipe, bob, "b")
    assert first.value()
    assert not second.settled
    pipe.give_up("bob", "b", ticket=None)
    assert second.value() is False


def test_a_sender_whose_time_is_over_has_sent_nothing(rig, pipe, ann, bob):
    for _ in range(MOST):
        pipe.send(ann, "a", b"x", None, 0)
    late = pipe.send(ann, "a", b"late", 5, 0)
    rig.clock.turn(5)
    assert late.value() is False
    assert pipe.detail()["waiting"] == MOST


def test_what_was_handed_out_and_never_arrived_is_the_next_to_be_received(pipe, ann, bob):
    waiting = receive(pipe, bob, "b", ticket=7)
    pipe.send(ann, "a", b"one", None, 0)
    pipe.send(ann, "a", b"two", None, 0)
    assert waiting.value().message == b"one"
    assert pipe.withdraw(bob, 7).value() == "granted"
    assert receive(pipe, bob, "b").value().message == b"one"
    assert pipe.withdraw(bob, 7).value() == "none"
    parked = receive(pipe, ann, "a", ticket=8)
    assert pipe.withdraw(ann, 8).value() == "waiting"
    assert parked.value() == Received()


def test_a_message_that_is_too_large_is_refused_and_costs_nothing(new_rig, ann):
    rig = new_rig(object_bytes=1000, total_bytes=10_000)
    pipe = rig.open(ann, SharedPipe)
    pipe.hold("ann", "b", claim=None, ticket=None)
    with pytest.raises(ObjectTooLarge):
        pipe.send(ann, "a", b"x" * 1000, None, 0)
    assert pipe.detail() == {"a": 0, "b": 1, "waiting": 0, "bytes": 0}


def test_those_who_wait_on_a_pipe_that_is_dropped_are_told(rig, pipe, ann, bob):
    waiting = receive(pipe, bob, "b")
    for _ in range(MOST):
        pipe.send(bob, "b", b"x", None, 0)
    sending = pipe.send(bob, "b", b"x", None, 0)
    rig.shared.drop(pipe.id)
    assert isinstance(waiting.error, ObjectDropped)
    assert isinstance(sending.error, ObjectDropped)
    assert rig.clock.pending() == 0


def test_one_who_ends_waits_no_more(rig, pipe, bob):
    waiting = receive(pipe, bob, "b")
    rig.shared.session_closed("bob")
    assert isinstance(waiting.error, HolderGone)
