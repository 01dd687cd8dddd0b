"""What a holder had comes back when it ends; a release that another process was to do for it is fine then, once."""

from __future__ import annotations

import pytest

from stoker.errors import IllegalMove, NotOwner
from stokerd.shared.locks import SharedLock, SharedRLock
from stokerd.shared.semaphores import SharedBoundedSemaphore


def test_a_lock_whose_holder_has_ended_can_be_released_once_more(rig, ann, bob):
    lock = rig.open(ann, SharedLock, "db")
    lock.acquire(ann)
    rig.shared.session_closed("ann")
    lock.release(bob)
    with pytest.raises(NotOwner):
        lock.release(bob)


def test_it_cannot_once_somebody_else_has_had_it(rig, ann, bob):
    lock = rig.open(ann, SharedLock, "db")
    lock.acquire(ann)
    rig.shared.session_closed("ann")
    lock.acquire(bob)
    lock.release(bob)
    with pytest.raises(NotOwner):
        lock.release(bob)


def test_the_token_of_one_who_lost_it_is_still_refused(rig, ann, bob):
    lock = rig.open(ann, SharedLock, "db")
    token = lock.acquire(ann).value()
    rig.shared.session_closed("ann")
    with pytest.raises(NotOwner):
        lock.release(bob, token)


def test_an_rlock_is_its_owners_alone(rig, ann, bob):
    lock = rig.open(ann, SharedRLock, "db")
    lock.acquire(ann)
    rig.shared.session_closed("ann")
    with pytest.raises(NotOwner):
        lock.release(bob)


def test_permits_that_came_back_by_themselves_can_be_given_back_once_more(rig, ann, bob):
    semaphore = rig.open(ann, SharedBoundedSemaphore, "seats", value=2)
    semaphore.acquire(ann)
    rig.shared.session_closed("ann")
    semaphore.release(bob)
    assert semaphore.value == 2
    with pytest.raises(IllegalMove):
        semaphore.release(bob)


def test_permits_that_were_taken_again_are_no_longer_those(rig, ann, bob):
    semaphore = rig.open(ann, SharedBoundedSemaphore, "seats", value=1)
    semaphore.acquire(ann)
    rig.shared.session_closed("ann")
    semaphore.acquire(bob)
    semaphore.release(bob)
    with pytest.raises(IllegalMove):
        semaphore.release(bob)
