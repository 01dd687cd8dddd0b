"""Who gets what: places for jobs that take several, an end after so many jobs, slots that are lent and given back."""

from __future__ import annotations

import pytest

from stoker.errors import InvalidParams
from stoker.protocol.states import JobState
from stokerd.pool import crew


def test_a_job_with_several_slots_keeps_as_many_workers_idle_as_it_needs(house):
    home = house(3)
    large, small = home.submit(slots=2), home.submit(3)
    assert large.state(0) is JobState.RUNNING
    assert small.counts() == {"running": 1, "queued": 2}
    (whose,) = [hand for hand in home.running() if home.worker(hand).places]
    whose.end()
    home.turn()
    assert small.counts() == {"running": 3}


def test_a_job_with_several_slots_waits_until_there_are_enough_and_nobody_overtakes_it(house):
    home = house(2)
    first, second = home.submit(), home.submit()
    large, small = home.submit(slots=2), home.submit()
    home.running()[0].end()
    assert large.state(0) is JobState.QUEUED
    assert small.state(0) is JobState.QUEUED
    home.running()[0].end()
    assert (first.state(0), second.state(0)) == (JobState.DONE, JobState.DONE)
    assert large.state(0) is JobState.RUNNING
    assert small.state(0) is JobState.QUEUED


@pytest.mark.parametrize("who", ["the one that runs it", "one that keeps still for it"])
def test_places_are_given_back_when_a_worker_dies(house, who):
    home = house(2)
    large = home.submit(slots=2)
    (runs,) = home.running()
    (still,) = home.idle()
    runs.begin()
    if who == "the one that runs it":
        runs.die()
        home.turn(1.0)
        assert large.state(0) is JobState.WORKER_DIED
    else:
        still.die()
        home.turn(1.0)
        assert large.state(0) is JobState.RUNNING
        assert home.worker(runs).places == []
        runs.end()
    both = home.submit(2)
    assert both.counts() == {"running": 2}
    assert not any(worker.places or worker.place_of for worker in home.pool.crew.members.values())


def test_a_job_that_wants_more_slots_than_there_are_workers_is_refused(house):
    home = house(2)
    with pytest.raises(InvalidParams, match="3 slots"):
        home.submit(slots=3)
    home.submit(slots=2)


def test_a_worker_runs_so_many_jobs_and_no_more(house):
    home = house(1, max_jobs=2)
    batch = home.submit(5)
    runners = []
    while home.running():
        (hand,) = home.running()
        hand.end()
        runners.append(hand)
        if not home.worker(hand).outstanding and home.worker(hand).handed == 2:
            hand.die(crew.Exit(code=0))
        home.turn(1.0)
    assert batch.counts() == {"done": 5}
    assert [runners.count(hand) for hand in home.hands] == [2, 2, 1]


def test_a_slot_that_is_lent_is_taken_by_another_worker_and_given_back(house):
    home = house(1)
    outer = home.submit()
    (hand,) = home.running()
    hand.begin()
    inner = home.submit()
    assert inner.state(0) is JobState.QUEUED
    assert home.pool.lend(hand.child.pid, 0, lent=True)
    home.turn()
    assert inner.state(0) is JobState.RUNNING
    next(other for other in home.running() if other is not hand).end()
    assert home.pool.lend(hand.child.pid, 0, lent=False)
    hand.end()
    home.turn()
    assert (outer.state(0), inner.state(0)) == (JobState.DONE, JobState.DONE)
    assert len(home.pool.crew.active()) == 1


def test_what_waits_behind_a_job_that_lends_its_slot_is_taken_back(house):
    home = house(1, prefetch=1.0)
    home.submit(2)
    for _ in range(2):
        home.running()[0].end(seconds=1e-6)
    batch = home.submit(3)
    (hand,) = home.running()
    assert home.worker(hand).outstanding == 3
    hand.begin()
    home.pool.lend(hand.child.pid, 0, lent=True)
    home.turn(0.1)
    assert home.worker(hand).outstanding == 1
    assert batch.counts() == {"running": 3}


def test_a_process_that_is_no_worker_has_nothing_to_lend(house):
    home = house(1)
    assert not home.pool.lend(1, 1, lent=True)
    assert home.pool.crew.vacancies == 0


def test_more_ends_of_waits_than_begins_lend_nothing(house):
    home = house(1)
    home.submit()
    (hand,) = home.running()
    home.pool.lend(hand.child.pid, 0, lent=False)
    assert home.worker(hand).lent == 0
    home.pool.lend(hand.child.pid, 0, lent=True)
    assert home.worker(hand).lent == 1


def test_no_more_slots_are_lent_than_a_recursion_with_an_end_can_need(house, monkeypatch):
    monkeypatch.setattr(crew, "MOST_LENT", 3)
    home = house(1)
    home.submit(10)
    for lent in range(1, 10):
        waiting = [hand for hand in home.running() if not home.worker(hand).lent]
        if not waiting:
            break
        waiting[0].begin()
        home.pool.lend(waiting[0].child.pid, 0, lent=True)
        home.turn()
        assert len(home.pool.crew.active()) == 1 + min(lent, 3)
    assert len(home.running()) == 4


def test_a_worker_that_dies_while_its_slot_is_lent_leaves_as_many_as_there_should_be(house):
    home = house(2)
    home.submit()
    (hand,) = home.running()
    hand.begin()
    home.pool.lend(hand.child.pid, 0, lent=True)
    home.turn()
    assert len(home.pool.crew.active()) == 3
    hand.die()
    home.turn(1.0)
    assert len(home.pool.crew.active()) == 2


def test_what_was_handed_to_a_worker_that_dies_and_was_not_begun_runs_elsewhere(house):
    home = house(1, prefetch=1.0)
    home.submit()
    home.running()[0].end(seconds=1e-6)
    batch = home.submit(4, tags=("t",))
    (hand,) = home.running()
    hand.begin()
    hand.die()
    home.turn(1.0)
    while home.running():
        home.running()[0].end()
        home.turn()
    assert batch.counts() == {"worker-died": 1, "done": 3}
    assert not home.pools.tags._running


def test_a_pool_that_is_held_hands_nothing_over_and_then_everything(house):
    home = house(2)
    home.pool.pause(paused=True)
    batch = home.submit(2)
    assert batch.counts() == {"queued": 2}
    home.pool.pause(paused=False)
    assert batch.counts() == {"running": 2}


def test_what_is_queued_is_shared_out_once_and_not_in_ever_smaller_parts(house):
    home = house(2)
    for _ in range(20):  # until it is known how quick they are
        home.submit()
        (hand,) = home.running()
        hand.end(seconds=1e-6)
    batch = home.submit(256)
    spans = [(span.count, span.index) for hand in home.running() for span in home.worker(hand).spans]
    assert batch.counts() == {"running": 256}
    assert sorted(spans) == [(128, 0), (128, 128)]
