"""Whose job is next: nothing lost, nothing twice, nobody starved."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.unit.pool.parts import HERE, THERE, make_batch

from stoker.protocol.states import JobEvent, JobState
from stokerd.pool.batch import Batch
from stokerd.pool.scheduler import QUANTUM, Scheduler

SESSIONS = ("s1", "s2", "s3")


class SchedulerMachine(RuleBasedStateMachine):
    """The scheduler beside plain lists."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = Scheduler()
        self.batches: list[Batch] = []
        self.running: list[tuple[Batch, int]] = []

    @rule(
        count=st.integers(1, 20),
        session=st.sampled_from(SESSIONS),
        priority=st.integers(-1, 1),
        environment=st.sampled_from((HERE, THERE)),
    )
    def push(self, **options: Any) -> None:
        batch = make_batch(options.pop("count"), **options)
        self.batches.append(batch)
        self.queue.push(batch)

    @rule(most=st.integers(1, 30), cost=st.floats(0, 0.1), environment=st.sampled_from((HERE.key, THERE.key, None)))
    def dispatch(self, most: int, cost: float, environment: str | None) -> None:
        batch = self.queue.choose(environment)
        eligible = [b for b in self.batches if b.queued_count and environment in (None, b.environment_key)]
        if batch is None:
            assert not eligible
            return
        assert batch in eligible
        assert batch.priority == max(b.priority for b in eligible)
        first, count = batch.take(most)
        assert 0 < count <= most
        batch.move(first, count, JobEvent.DISPATCH)
        self.queue.taken(batch, count, cost * count)
        self.running += [(batch, index) for index in range(first, first + count)]

    @precondition(lambda self: self.running)
    @rule(data=st.data(), cost=st.floats(-0.1, 0.1))
    def end(self, data: st.DataObject, cost: float) -> None:
        batch, index = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        batch.move(index, 1, JobEvent.SUCCEED)
        self.queue.correct(batch, cost)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        batch, index = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        batch.move(index, 1, JobEvent.RETURN)
        self.queue.put_back(batch, 1)

    @precondition(lambda self: self.queue.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        batch = data.draw(st.sampled_from([b for b in self.batches if b.queued_count]))
        index = batch.states.find(0)
        batch.move(index, 1, JobEvent.CANCEL)
        self.queue.taken(batch, 1, 0.0)

    @invariant()
    def counts_are_right(self) -> None:
        waiting = [batch for batch in self.batches if batch.queued_count]
        assert self.queue.jobs == sum(batch.queued_count for batch in waiting)
        assert self.queue.nbytes == sum(batch.nbytes for batch in waiting)
        assert len(self.queue.batches()) == len(waiting)
        assert set(map(id, self.queue.batches())) == set(map(id, waiting))
        for environment in (HERE, THERE):
            its = [batch for batch in waiting if batch.environment is environment]
            assert self.queue.queued(environment.key) == sum(batch.queued_count for batch in its)
        keys = [key for key, _ in self.queue.environments()]
        assert sorted(keys) == sorted({batch.environment_key for batch in waiting})

    def teardown(self) -> None:
        """Whatever is queued can be taken out, each job once."""
        while (batch := self.queue.choose()) is not None:
            first, count = batch.take(7)
            assert batch.state(first) is JobState.QUEUED
            batch.move(first, count, JobEvent.DISPATCH)
            self.queue.taken(batch, count, 0.001)
        assert self.queue.jobs == 0
        assert self.queue.nbytes == 0
        assert not any(batch.queued_count for batch in self.batches)
        for level in self.queue._levels.values():
            assert not level.flows
            assert not level.turns


SchedulerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSchedulerMachine = SchedulerMachine.TestCase


def take(queue: Scheduler, most: int, seconds: float) -> Batch:
    """What a pool does: choose, take, charge."""
    batch = queue.choose()
    assert batch is not None
    first, count = batch.take(most)
    batch.move(first, count, JobEvent.DISPATCH)
    queue.taken(batch, count, seconds * count)
    return batch


def filled(*batches: Batch) -> Scheduler:
    queue = Scheduler()
    for batch in batches:
        queue.push(batch)
    return queue


@pytest.mark.parametrize("warm", [0.0, 100.0])
def test_one_job_beside_a_million_is_chosen_within_a_quantum(warm: float):
    huge, one = make_batch(1_000_000, session="map", size=0), make_batch(session="single")
    queue = filled(huge)
    while warm > 0:
        take(queue, 1000, 0.001)
        warm -= 1
    queue.push(one)
    spent = 0.0
    while take(queue, 1, 0.0001) is not one:
        spent += 0.0001
    assert spent <= QUANTUM + 0.0001


def test_time_is_shared_evenly_whatever_the_jobs_take():
    slow, fast = make_batch(10_000, session="slow"), make_batch(100_000, session="fast")
    queue = filled(slow, fast)
    seconds = {id(slow): 0.0, id(fast): 0.0}
    for _ in range(5000):
        batch = queue.choose()
        cost = 0.02 if batch is slow else 0.0002
        count = 1 if batch is slow else 10
        seconds[id(take(queue, count, cost))] += cost * count
    assert abs(seconds[id(slow)] - seconds[id(fast)]) <= 0.02 + QUANTUM


def test_a_wrong_estimate_is_corrected_at_the_expense_of_nobody_else():
    liar, honest = make_batch(1000, session="liar"), make_batch(1000, session="honest")
    queue = filled(liar, honest)
    seconds = {id(liar): 0.0, id(honest): 0.0}
    for _ in range(1000):
        batch = take(queue, 1, 0.001)
        took = 0.01 if batch is liar else 0.001
        queue.correct(batch, took - 0.001)
        seconds[id(batch)] += took
    assert abs(seconds[id(liar)] - seconds[id(honest)]) <= 0.01 + 2 * QUANTUM


def test_a_correction_never_buys_more_than_a_turn():
    batch, other = make_batch(100, session="a"), make_batch(100, session="b")
    queue = filled(batch, other)
    queue.correct(batch, -1000.0)
    taken = [take(queue, 1, QUANTUM) for _ in range(10)]
    assert sum(one is batch for one in taken) == 5


def test_jobs_of_one_session_run_in_order_and_those_put_back_come_first():
    first, second = make_batch(2), make_batch(2)
    queue = filled(first, second)
    assert take(queue, 9, 0.0) is first
    assert take(queue, 1, 0.0) is second
    first.move(0, 2, JobEvent.RETURN)
    queue.put_back(first, 2)
    assert [take(queue, 1, 0.0) for _ in range(3)] == [first, first, second]
    assert queue.choose() is None


def test_priority_goes_before_fairness():
    low, high = make_batch(5, priority=-5), make_batch(5, priority=7, session="s2")
    queue = filled(low, high)
    assert [take(queue, 1, 1.0) for _ in range(10)] == [high] * 5 + [low] * 5


def test_the_environment_that_waits_longest_comes_first():
    here, there = make_batch(2), make_batch(1, environment=THERE)
    queue = filled(there, here)
    assert [key for key, _ in queue.environments()] == [THERE.key, HERE.key]
    assert queue.choose(HERE.key) is here
    assert queue.choose(THERE.key) is there
    assert take(queue, 1, 0.0) is there
    assert [environment for _, environment in queue.environments()] == [HERE]
    assert queue.choose(THERE.key) is None


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 3.0), (0.5, 4.0, 1.0), (0.01, 1.0)])
def test_run_time_is_shared_in_proportion_to_the_weights(weights: tuple[float, ...]):
    cost = 0.0007
    batches = [make_batch(200_000, session=f"s{n}", weight=weight, size=0) for n, weight in enumerate(weights)]
    queue = filled(*batches)
    seconds = {id(batch): 0.0 for batch in batches}
    for _ in range(30_000):
        seconds[id(take(queue, 1, cost))] += cost
    total = sum(seconds.values())
    for batch, weight in zip(batches, weights, strict=True):
        turn = QUANTUM * weight + cost  # by so much one may be ahead, or behind, when the count is taken
        assert abs(seconds[id(batch)] - total * weight / sum(weights)) <= 2 * turn


def test_a_session_that_comes_again_with_another_weight_has_that_from_then_on():
    light, heavy = make_batch(10_000, session="a", weight=1.0), make_batch(10_000, session="b", weight=1.0)
    queue = filled(light, heavy)
    queue.push(make_batch(10_000, session="b", weight=3.0))
    taken = [take(queue, 1, QUANTUM).session for _ in range(4000)]
    assert abs(taken.count("b") - 3000) <= 4


def test_a_lane_that_is_held_up_does_not_hold_up_the_one_beside_it():
    full: set[str] = {"db"}
    queue = Scheduler(lambda tags: bool(full.intersection(tags)))
    tagged, other, plain = make_batch(2, tags=("db",)), make_batch(2, tags=("net",)), make_batch(2)
    for number, batch in enumerate((tagged, other, plain)):
        batch.first_id = number
        queue.push(batch)
    assert [take(queue, 1, 0.001) for _ in range(4)] == [other, other, plain, plain]
    assert queue.choose() is None
    assert queue.jobs == 2
    full.clear()
    assert [take(queue, 1, 0.001) for _ in range(2)] == [tagged, tagged]


def test_a_flow_that_is_held_up_saves_no_time_up_for_later():
    full = {"db"}
    queue = Scheduler(lambda tags: bool(full.intersection(tags)))
    tagged, plain = make_batch(1000, session="a", tags=("db",)), make_batch(1000, session="b")
    queue.push(tagged)
    queue.push(plain)
    for _ in range(500):
        assert take(queue, 1, QUANTUM) is plain
    full.clear()
    assert abs([take(queue, 1, QUANTUM) for _ in range(100)].count(plain) - 50) <= 2


def test_a_lower_priority_is_served_while_all_of_the_higher_one_is_held_up():
    full = {"db"}
    queue = Scheduler(lambda tags: bool(full.intersection(tags)))
    high, low = make_batch(2, priority=5, tags=("db",)), make_batch(4, priority=-5, session="s2")
    queue.push(low)
    queue.push(high)
    assert take(queue, 1, 0.001) is low
    full.clear()
    assert take(queue, 1, 0.001) is high
    full.add("db")
    assert take(queue, 1, 0.001) is low
    full.clear()
    assert [take(queue, 1, 0.001) for _ in range(2)] == [high, low]


def test_what_is_put_back_comes_first_and_what_is_released_last():
    batches = [make_batch(1) for _ in range(4)]
    queue = filled(*batches)
    first = take(queue, 1, 0.0)
    second = take(queue, 1, 0.0)
    second.move(0, 1, JobEvent.RETURN)
    queue.put_back(second, 1)
    first.move(0, 1, JobEvent.RETURN)
    queue.release(first, 1)
    assert [take(queue, 1, 0.0) for _ in range(4)] == [second, *batches[2:], first]


def test_a_job_that_is_put_back_while_its_batch_is_queued_counts_once_more_and_stands_there_once():
    batch = make_batch(3)
    queue = filled(batch)
    take(queue, 1, 0.0)
    batch.move(0, 1, JobEvent.RETURN)
    queue.put_back(batch, 1)
    assert (queue.jobs, queue.nbytes) == (3, batch.nbytes)
    assert queue.batches() == [batch]
    assert [take(queue, 1, 0.0) for _ in range(3)] == [batch] * 3
    assert queue.jobs == 0
