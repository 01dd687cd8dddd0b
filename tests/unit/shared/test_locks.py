"""Lock and RLock."""

from __future__ import annotations

import pytest

from stoker.errors import HolderGone, NotOwner, ObjectDropped
from stokerd.shared.locks import SharedLock, SharedRLock
from stokerd.shared.waiters import Actor


def test_a_free_lock_is_granted_at_once_with_a_token(rig, ann):
    lock = rig.open(ann, SharedLock)
    assert lock.acquire(ann).value() > 0


def test_a_held_lock_is_refused_at_once_to_one_who_does_not_wait(rig, ann, bob):
    lock = rig.open(ann, SharedLock)
    lock.acquire(ann)
    assert lock.acquire(bob, timeout=0).value() == 0


def test_waiters_get_it_in_order_of_arrival_with_growing_tokens(rig, ann, bob, cid):
    lock = rig.open(ann, SharedLock)
    first = lock.acquire(ann).value()
    second, third = lock.acquire(bob), lock.acquire(cid)
    lock.release(ann)
    assert second.settled
    assert not third.settled
    lock.release(bob)
    assert first < second.value() < third.value()


def test_one_whose_time_is_over_is_told_and_does_not_get_it_later(rig, ann, bob, cid):
    lock = rig.open(ann, SharedLock)
    lock.acquire(ann)
    late, next_one = lock.acquire(bob, timeout=5), lock.acquire(cid)
    rig.clock.turn(5)
    assert late.value() == 0
    lock.release(ann)
    assert lock.owner == cid
    assert next_one.value() > 0
    assert rig.clock.pending() == 0


def test_the_same_holder_waits_for_a_lock_that_it_holds(rig, ann):
    lock = rig.open(ann, SharedLock)
    lock.acquire(ann)
    assert lock.acquire(ann, timeout=0).value() == 0


def test_the_same_holder_gets_an_rlock_again_and_releases_it_as_often(rig, ann, bob):
    lock = rig.open(ann, SharedRLock)
    assert lock.acquire(ann).value() == lock.acquire(ann).value()
    waiting = lock.acquire(bob)
    lock.release(ann)
    assert not waiting.settled
    lock.release(ann)
    assert waiting.settled
    with pytest.raises(NotOwner):
        lock.release(ann)


def test_another_thread_of_the_same_session_is_not_the_owner_of_an_rlock(rig, ann):
    lock = rig.open(ann, SharedRLock)
    lock.acquire(ann)
    with pytest.raises(AssertionError):
        lock.release(Actor(ann.session, "1:2"))


def test_a_lock_can_be_released_by_another_as_in_multiprocessing(rig, ann, bob):
    lock = rig.open(ann, SharedLock)
    lock.acquire(ann)
    lock.release(bob)
    assert lock.owner is None


def test_releasing_a_free_lock_is_a_value_error(rig, ann):
    lock = rig.open(ann, SharedLock)
    with pytest.raises(ValueError, match="not held"):
        lock.release(ann)


def test_the_end_of_the_holders_session_releases_the_lock_and_says_so(rig, ann, bob):
    lock = rig.open(ann, SharedLock, "db")
    token = lock.acquire(ann).value()
    waiting = rig.use(bob, lock).acquire(bob)
    rig.shared.session_closed("ann")
    assert waiting.value() > token
    assert lock.owner == bob
    assert "released: its holder ended" in rig.changes()


def test_the_end_of_a_worker_process_releases_what_its_threads_held(rig, ann, bob):
    lock = rig.open(ann, SharedRLock)
    lock.acquire(ann)
    lock.acquire(ann)
    waiting = rig.use(bob, lock).acquire(bob)
    rig.shared.holder_closed("ann", "2")
    assert not waiting.settled
    rig.shared.holder_closed("ann", "1")
    assert lock.owner == bob


def test_a_token_from_before_the_loss_releases_nothing(rig, ann, bob):
    lock = rig.open(ann, SharedLock, "db")
    stale = lock.acquire(ann).value()
    rig.shared.session_closed("ann")
    rig.use(bob, lock).acquire(bob)
    with pytest.raises(NotOwner, match="lost"):
        lock.release(ann, stale)
    assert lock.owner == bob


def test_a_lock_that_is_not_robust_stays_held_and_anybody_may_release_it(rig, ann, bob):
    lock = rig.open(ann, SharedLock, "db", robust=False)
    lock.acquire(ann)
    rig.shared.session_closed("ann")
    assert rig.use(bob, lock).acquire(bob, timeout=0).value() == 0
    lock.release(bob)
    assert lock.owner is None


def test_a_dead_waiter_is_never_granted_the_lock(rig, ann, bob, cid):
    lock = rig.open(ann, SharedLock)
    lock.acquire(ann)
    dead, alive = rig.use(bob, lock).acquire(bob), rig.use(cid, lock).acquire(cid)
    rig.shared.session_closed("bob")
    lock.release(ann)
    assert isinstance(dead.error, HolderGone)
    assert alive.value() > 0


def test_a_session_that_holds_and_waits_does_not_inherit_from_itself_at_its_end(rig, ann, bob):
    lock = rig.open(ann, SharedLock, "db")
    lock.acquire(ann)
    lock.acquire(Actor("ann", "1:2"))
    alive = rig.use(bob, lock).acquire(bob)
    rig.shared.session_closed("ann")
    assert alive.settled
    assert lock.owner == bob


def test_one_whose_answer_nobody_wants_any_more_leaves_the_line(rig, ann, bob, cid):
    lock = rig.open(ann, SharedLock)
    lock.acquire(ann)
    unwanted, wanted = lock.acquire(bob, timeout=9), lock.acquire(cid)
    unwanted.abandon()
    lock.release(ann)
    assert wanted.settled
    assert rig.clock.pending() == 0


def test_a_withdrawn_wait_is_answered_as_if_its_time_were_over(rig, ann, bob):
    lock = rig.open(ann, SharedLock)
    lock.acquire(ann)
    waiting = lock.acquire(bob, ticket=7)
    assert rig.shared.withdraw(bob, lock.id, 7).value() == "waiting"
    assert waiting.value() == 0


def test_a_grant_that_was_never_seen_is_undone_by_withdrawing_it(rig, ann):
    lock = rig.open(ann, SharedLock)
    lock.acquire(ann, ticket=7)
    assert rig.shared.withdraw(ann, lock.id, 8).value() == "none"
    assert rig.shared.withdraw(ann, lock.id, 7).value() == "granted"
    assert lock.owner is None


def test_nobody_calls_back_the_wait_of_another_session(rig, ann, bob):
    lock = rig.open(ann, SharedLock)
    lock.acquire(ann, ticket=7)
    assert rig.shared.withdraw(bob, lock.id, 7).value() == "none"
    assert lock.owner == ann


def test_whoever_waits_is_told_when_the_lock_is_dropped(rig, ann, bob):
    lock = rig.open(ann, SharedLock, "db")
    lock.acquire(ann)
    waiting = lock.acquire(bob, timeout=5)
    assert rig.shared.drop("db")
    assert isinstance(waiting.error, ObjectDropped)
    assert rig.clock.pending() == 0
