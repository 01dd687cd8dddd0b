"""What a new daemon makes of what the last one left: each job is queued once, and what waited waits on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.pool.houses import House
from tests.unit.store.stores import Stored

from stoker.protocol.states import JobState
from stokerd.pool.batch import Batch
from stokerd.pool.ledger import Ledger
from stokerd.pool.settings import PoolSettings


class Estate:
    """One state folder, and one house after the other that works with it."""

    def __init__(self, open_store: Callable[..., Stored]) -> None:
        self._open = open_store
        self.house: House
        self.start()

    def start(self) -> None:
        self.stored = self._open()
        self.house = House(PoolSettings(workers=1), ledger=Ledger(self.stored.store))

    def restart(self) -> list[Batch]:
        """The daemon is killed when all was written, and another one starts; returns what it knows, oldest first."""
        self.flush()
        self.stored.store.abort()
        before = self.house
        self.start()
        for hand in before.hands:
            hand.die()
        return list(self.house.pools._table.newest())[::-1]

    def flush(self) -> None:
        self.stored.wait(self.stored.store.move([]))

    def submit(self, count: int = 1, **options: Any) -> Batch:
        batch = self.house.submit(count, durable=True, keep=60.0, **options)
        self.flush()
        return batch

    def work(self) -> int:
        """Let everything run that can; returns how many jobs ended."""
        ended = 0
        self.house.turn()
        self.flush()
        while hands := self.house.running():
            hands[0].end()
            ended += 1
            self.house.turn()
            self.flush()
        return ended


@pytest.fixture
def estate(open_store):
    made = Estate(open_store)
    yield made
    made.house.close()


def test_what_ran_is_queued_again_beside_what_was_queued_and_all_of_it_runs(estate):
    estate.submit(5, requeue=True)
    (batch,) = estate.restart()
    assert batch.attempt(0) == 2
    assert estate.house.pool.unfinished() == 5
    assert estate.work() == 5
    assert batch.counts() == {"done": 5}
    assert estate.house.pool.queue.jobs == 0


def test_what_ran_and_was_not_to_be_run_twice_is_lost_and_the_rest_runs(estate):
    estate.submit(5)
    (batch,) = estate.restart()
    estate.flush()
    assert batch.counts() == {"queued": 3, "running": 1, "lost-with-daemon": 1}
    assert batch.errors[0].code == "lost-with-daemon"
    assert estate.work() == 4


def test_a_job_that_outlives_no_daemon_is_quarantined(estate):
    estate.submit(requeue=True)
    for attempt in (2, 3):
        (batch,) = estate.restart()
        assert batch.attempt(0) == attempt
        estate.house.turn()
    (batch,) = estate.restart()
    assert batch.state(0) is JobState.QUARANTINED


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_delay_goes_on_also_where_one_of_the_jobs_was_cancelled(estate, cancelled):
    batch = estate.submit(3, delay=100.0)
    if cancelled:
        estate.house.pools.cancel([batch.first_id], 1.0)
    estate.house.turn(30.0)
    (batch,) = estate.restart()
    assert batch.counts() == ({"delayed": 2, "cancelled": 1} if cancelled else {"delayed": 3})
    assert estate.house.pool.held == batch.held()
    estate.house.turn(100.0)
    assert estate.work() == 3 - cancelled


@pytest.mark.parametrize("cancelled", [False, True])
def test_what_waits_for_a_job_waits_on_also_where_one_was_cancelled(estate, cancelled):
    first = estate.submit(2, requeue=True)
    batch = estate.submit(3, after=(0,), before=((first, 0), (first, 1)))
    if cancelled:
        estate.house.pools.cancel([batch.first_id + 1], 1.0)
    first, batch = estate.restart()
    assert batch.counts() == ({"waiting": 2, "cancelled": 1} if cancelled else {"waiting": 3})
    assert estate.work() == 5 - cancelled
    assert batch.counts()["done"] == 3 - cancelled


def test_what_has_ended_and_its_key_are_known_as_before(estate):
    batch = estate.submit(key="k")
    estate.work()
    (found,) = estate.restart()
    assert found.values == {0: b"value"}
    assert estate.house.pools.with_key("k") is found
    assert estate.house.submit(durable=True, key="k", keep=60.0) is found
    assert found.first_id == batch.first_id
    assert estate.work() == 0


def test_an_attempt_that_is_to_come_comes_when_it_was_due(estate):
    batch = estate.submit(2, retries=2, backoff=50.0)
    estate.house.running()[0].end(b"\x80", failed=True)
    estate.flush()
    assert batch.state(0) is JobState.DELAYED
    (batch,) = estate.restart()
    assert batch.state(0) is JobState.DELAYED
    assert batch.attempt(0) == 2
    estate.house.turn(50.0)
    estate.flush()
    assert batch.state(0) in (JobState.QUEUED, JobState.RUNNING)
