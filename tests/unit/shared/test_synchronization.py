"""Semaphore, Event, Condition, Barrier."""

from __future__ import annotations

import pytest

from stoker.errors import BrokenBarrier, HolderGone, IllegalMove, NotOwner, ObjectDropped
from stokerd.shared.barriers import SharedBarrier
from stokerd.shared.conditions import SharedCondition
from stokerd.shared.happenings import SharedEvent
from stokerd.shared.locks import SharedLock
from stokerd.shared.semaphores import SharedBoundedSemaphore, SharedSemaphore
from stokerd.shared.waiters import Actor


def test_a_semaphore_gives_its_permits_and_then_lets_wait_in_order(rig, ann, bob, cid):
    semaphore = rig.open(ann, SharedSemaphore, value=1)
    assert semaphore.acquire(ann).value()
    assert semaphore.acquire(ann, timeout=0).value() is False
    first, second = semaphore.acquire(bob), semaphore.acquire(cid)
    semaphore.release(ann, 2)
    assert first.value()
    assert second.value()
    assert semaphore.value == 0


def test_a_semaphore_may_have_more_permits_than_at_first_a_bounded_one_may_not(rig, ann):
    semaphore, bounded = rig.open(ann, SharedSemaphore, value=1), rig.open(ann, SharedBoundedSemaphore, value=1)
    semaphore.release(ann)
    assert semaphore.value == 2
    with pytest.raises(IllegalMove):
        bounded.release(ann)


def test_the_permits_of_a_dead_holder_of_a_bounded_semaphore_come_back(rig, ann, bob):
    bounded = rig.open(ann, SharedBoundedSemaphore, "slots", value=2)
    rig.use(bob, bounded).acquire(bob)
    bounded.acquire(bob)
    waiting = bounded.acquire(ann)
    rig.shared.session_closed("bob")
    assert waiting.value()
    assert bounded.value == 1


def test_a_permit_given_back_by_another_is_not_given_back_again_at_the_takers_end(rig, ann, bob):
    bounded = rig.open(ann, SharedBoundedSemaphore, "slots", value=1)
    rig.use(bob, bounded).acquire(bob)
    bounded.release(ann)
    rig.shared.session_closed("bob")
    assert bounded.value == 1


def test_a_permit_that_was_never_seen_is_given_back_by_withdrawing(rig, ann):
    semaphore = rig.open(ann, SharedSemaphore, value=1)
    semaphore.acquire(ann, ticket=3)
    assert rig.shared.withdraw(ann, semaphore.id, 3).value() == "granted"
    assert semaphore.value == 1


def test_an_event_lets_all_who_wait_go_on(rig, ann, bob):
    event = rig.open(ann, SharedEvent)
    first, late, second = event.wait(ann), event.wait(ann, timeout=1), event.wait(bob)
    rig.clock.turn(1)
    assert late.value() is False
    event.set()
    assert first.value()
    assert second.value()
    assert event.wait(ann).value()
    event.clear()
    assert event.wait(ann, timeout=0).value() is False


def test_a_condition_needs_its_lock_to_wait_and_to_notify(rig, ann):
    condition = rig.open(ann, SharedCondition)
    with pytest.raises(NotOwner):
        condition.wait(ann)
    with pytest.raises(NotOwner):
        condition.notify(ann)


def test_waiting_gives_the_lock_up_and_being_notified_takes_it_back_as_deep_as_before(rig, ann, bob):
    condition = rig.open(ann, SharedCondition)
    condition.lock.acquire(ann)
    condition.lock.acquire(ann)
    woken = condition.wait(ann)
    assert condition.lock.acquire(bob).settled
    condition.notify(bob)
    assert not woken.settled
    condition.lock.release(bob)
    assert woken.value().notified
    assert condition.lock.depth == 2


def test_notify_wakes_those_who_waited_longest(rig, ann, bob, cid):
    condition = rig.open(ann, SharedCondition)
    waits = []
    for actor in (ann, bob, cid):
        condition.lock.acquire(actor)
        waits.append(condition.wait(actor))
    notifier = Actor("dan")
    condition.lock.acquire(notifier)
    assert condition.notify(notifier, 2) == 2
    condition.lock.release(notifier)
    condition.lock.release(ann)
    condition.lock.release(bob)
    assert [wait.settled for wait in waits] == [True, True, False]
    condition.lock.acquire(notifier)
    assert condition.notify(notifier, None) == 1


def test_one_whose_time_is_over_holds_the_lock_again_before_it_is_told(rig, ann, bob):
    condition = rig.open(ann, SharedCondition)
    condition.lock.acquire(ann)
    woken = condition.wait(ann, timeout=1)
    condition.lock.acquire(bob)
    rig.clock.turn(1)
    assert not woken.settled
    condition.lock.release(bob)
    assert woken.value().notified is False
    assert condition.lock.owner == ann


@pytest.mark.parametrize("end", ["session", "holder", "abandon"])
def test_one_who_was_notified_and_ends_before_it_holds_the_lock_passes_the_notification_on(rig, ann, bob, cid, end):
    condition = rig.open(ann, SharedCondition, "ready")
    waits = {}
    for actor in (ann, bob):
        rig.use(actor, condition.lock).acquire(actor)
        waits[actor] = rig.use(actor, condition).wait(actor)
    condition.lock.acquire(cid)
    condition.notify(cid)
    if end == "session":
        rig.shared.session_closed("ann")
    elif end == "holder":
        rig.shared.holder_closed("ann", "1")
    else:
        waits[ann].abandon()
    condition.lock.release(cid)
    assert waits[bob].value().notified
    assert end != "holder" or isinstance(waits[ann].error, HolderGone)


def test_a_withdrawn_wait_on_a_condition_is_over_when_the_lock_is_held_again(rig, ann, bob):
    condition = rig.open(ann, SharedCondition)
    condition.lock.acquire(ann)
    woken = condition.wait(ann, ticket=4)
    condition.lock.acquire(bob)
    outcome = rig.shared.withdraw(ann, condition.id, 4)
    assert not outcome.settled
    condition.lock.release(bob)
    assert outcome.value() == "waiting"
    assert woken.value().notified is False
    assert condition.lock.owner == ann


def test_a_condition_uses_the_lock_that_it_is_given(rig, ann):
    lock = rig.open(ann, SharedLock)
    condition = rig.open(ann, SharedCondition, lock=lock.id)
    lock.acquire(ann)
    condition.wait(ann)
    assert lock.owner is None


def test_whoever_waits_on_a_condition_is_told_when_it_is_dropped(rig, ann, bob):
    condition = rig.open(ann, SharedCondition)
    condition.lock.acquire(ann)
    waiting = condition.wait(ann)
    condition.lock.acquire(bob)
    condition.notify(bob)
    condition.lock.release(bob)
    assert waiting.value().notified
    on_the_way = condition.wait(ann)
    condition.lock.acquire(bob)
    condition.notify(bob)
    rig.shared.drop(condition.id)
    assert isinstance(on_the_way.error, ObjectDropped)


def test_a_barrier_lets_all_go_on_when_the_last_has_arrived(rig, ann, bob, cid):
    barrier = rig.open(ann, SharedBarrier, parties=3)
    first, second = barrier.wait(ann), barrier.wait(bob)
    assert not first.settled
    assert barrier.wait(cid).value().place == 2
    assert (first.value().place, second.value().place) == (0, 1)
    assert barrier.waiting == 0


def test_time_over_breaks_the_barrier_for_all_until_it_is_reset(rig, ann, bob):
    barrier = rig.open(ann, SharedBarrier, parties=3)
    first, second = barrier.wait(ann), barrier.wait(bob, timeout=1)
    rig.clock.turn(1)
    assert isinstance(first.error, BrokenBarrier)
    assert isinstance(second.error, BrokenBarrier)
    assert isinstance(barrier.wait(ann).error, BrokenBarrier)
    barrier.reset()
    assert not barrier.wait(ann).settled


def test_with_an_action_the_others_go_on_when_the_last_one_has_done_it(rig, ann, bob):
    barrier = rig.open(ann, SharedBarrier, parties=2, action=True)
    first = barrier.wait(ann, timeout=1)
    assert barrier.wait(bob).value().act
    rig.clock.turn(2)
    assert not first.settled
    with pytest.raises(BrokenBarrier):
        barrier.pass_on(ann)
    early = barrier.wait(ann)
    barrier.pass_on(bob)
    assert first.value().place == 0
    assert not early.settled
    assert barrier.waiting == 1


def test_if_the_one_that_does_the_action_dies_the_barrier_is_broken(rig, ann, bob):
    barrier = rig.open(ann, SharedBarrier, "start", parties=2, action=True)
    first = barrier.wait(ann)
    rig.use(bob, barrier).wait(bob)
    rig.shared.session_closed("bob")
    assert isinstance(first.error, BrokenBarrier)


def test_the_death_of_a_party_that_waits_breaks_the_barrier(rig, ann, bob):
    barrier = rig.open(ann, SharedBarrier, "start", parties=3)
    first = barrier.wait(ann)
    rig.use(bob, barrier).wait(bob)
    rig.shared.session_closed("bob")
    assert isinstance(first.error, BrokenBarrier)


def test_a_withdrawn_arrival_is_not_counted_and_breaks_nothing(rig, ann, bob):
    barrier = rig.open(ann, SharedBarrier, parties=2)
    barrier.wait(ann, ticket=6)
    rig.shared.withdraw(ann, barrier.id, 6)
    waiting = barrier.wait(bob)
    assert not waiting.settled
    barrier.wait(ann)
    assert waiting.value().place == 0


def test_reset_tells_those_who_wait_and_the_barrier_is_as_new(rig, ann, bob):
    barrier = rig.open(ann, SharedBarrier, parties=2)
    waiting = barrier.wait(ann)
    barrier.reset()
    assert isinstance(waiting.error, BrokenBarrier)
    again = barrier.wait(ann)
    barrier.wait(bob)
    assert again.value().place == 0
