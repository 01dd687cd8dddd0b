"""Names, sessions, limits."""

from __future__ import annotations

import pytest

from stoker.errors import Busy, InvalidParams, NameTaken, NoSuchObject
from stoker.protocol.objects import ObjectOptions
from stokerd.shared.cells import SharedValue
from stokerd.shared.locks import SharedLock, SharedRLock
from stokerd.shared.queues import SharedQueue
from stokerd.shared.waiters import Actor


def test_a_name_leads_everybody_to_the_same_object(rig, ann, bob):
    first, created = rig.shared.open(ann, "queue", "results")
    again, created_again = rig.shared.open(bob, "queue", "results")
    assert first is again
    assert (created, created_again) == (True, False)
    assert first.id == "results"


def test_a_name_that_belongs_to_another_kind_is_taken(rig, ann):
    rig.open(ann, SharedQueue, "db")
    with pytest.raises(NameTaken, match="belongs to a queue"):
        rig.open(ann, SharedLock, "db")


def test_other_options_than_the_object_has_are_refused_and_none_are_fine(rig, ann):
    rig.open(ann, SharedQueue, "q", maxsize=3)
    rig.open(ann, SharedQueue, "q")
    with pytest.raises(NameTaken, match="maxsize 3"):
        rig.open(ann, SharedQueue, "q", maxsize=4)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("queue", {"parties": 3}), ("barrier", {}), ("array", {}), ("event", {"value": 1}), ("value", {"itemsize": 3})],
)
def test_options_that_make_no_sense_for_the_kind_are_refused(rig, ann, kind, options):
    with pytest.raises(InvalidParams):
        rig.shared.open(ann, kind, None, ObjectOptions(**options))
    assert len(rig.shared) == 0


def test_a_condition_with_a_lock_that_is_none_is_refused(rig, ann):
    queue = rig.open(ann, SharedQueue)
    with pytest.raises(InvalidParams):
        rig.shared.open(ann, "condition", None, ObjectOptions(lock=queue.id))
    with pytest.raises(NoSuchObject):
        rig.shared.open(ann, "condition", None, ObjectOptions(lock="nowhere"))


def test_an_anonymous_object_lives_as_long_as_the_last_session_that_used_it(rig, ann, bob):
    queue = rig.open(ann, SharedQueue)
    rig.use(bob, queue)
    rig.shared.session_closed("ann")
    rig.use(bob, queue)
    rig.shared.session_closed("bob")
    with pytest.raises(NoSuchObject):
        rig.use(bob, queue)
    assert len(rig.shared) == 0


def test_a_named_object_outlives_its_sessions_until_it_is_dropped(rig, ann):
    rig.open(ann, SharedQueue, "results")
    rig.shared.session_closed("ann")
    assert len(rig.shared) == 1
    assert rig.shared.drop("results")
    assert not rig.shared.drop("results")


def test_a_session_can_release_what_it_needs_no_more(rig, ann, bob):
    queue, lock = rig.open(ann, SharedQueue), rig.open(ann, SharedLock)
    rig.use(bob, lock)
    rig.shared.release("ann", [queue.id, lock.id, "nowhere"])
    assert [found.kind for found in rig.shared.info()] == ["lock"]


def test_a_value_comes_and_goes_with_its_own_lock(rig, ann):
    value = rig.open(ann, SharedValue)
    lock = rig.shared.use(SharedRLock, value.lock_id, ann)
    assert lock.acquire(ann).value()
    rig.shared.session_closed("ann")
    assert len(rig.shared) == 0


def test_an_object_is_not_taken_for_another_kind(rig, ann):
    queue = rig.open(ann, SharedQueue)
    with pytest.raises(NameTaken):
        rig.shared.use(SharedLock, queue.id, ann)


def test_a_caller_without_a_session_needs_a_name(rig):
    with pytest.raises(InvalidParams):
        rig.open(Actor(""), SharedQueue)
    rig.open(Actor(""), SharedQueue, "results")


def test_there_are_no_more_objects_than_allowed(new_rig, ann):
    rig = new_rig(objects=2)
    rig.open(ann, SharedQueue)
    rig.open(ann, SharedQueue)
    with pytest.raises(Busy):
        rig.open(ann, SharedQueue)


def test_named_objects_are_announced_and_anonymous_ones_are_not(rig, ann):
    rig.open(ann, SharedQueue)
    rig.open(ann, SharedQueue, "results")
    rig.shared.drop("results")
    assert rig.changes() == ["created", "dropped"]


def test_the_end_of_the_daemon_answers_whoever_waits(rig, ann):
    waiting = rig.open(ann, SharedQueue, "results").get(ann)
    rig.shared.close()
    assert waiting.error is not None
    assert rig.shared._room.budget.used == 0
