"""How jobs end: tried again, quarantined, cancelled, and told of when the disk knows."""

from __future__ import annotations

import msgpack
import pytest
from tests.unit.pool.houses import House, settled

from stoker.protocol.events import JobsEnded, JobsRetried
from stoker.protocol.states import JobState
from stokerd.pool.batch import Batch
from stokerd.pool.ledger import Ledger

BROKEN = msgpack.packb({"code": "job-failed", "message": "no", "type": "OSError", "bases": ["builtins.OSError"]})


def pieces(batch: Batch) -> list[tuple[int, int, JobState]]:
    """What the batch tells from now on, as it comes."""
    told: list[tuple[int, int, JobState]] = []
    batch.on_piece.append(lambda _, piece: told.append((piece.first, piece.count, piece.state)))
    return told


def kill(house: House) -> None:
    """The one worker dies of the job that it runs, and another comes up."""
    (hand,) = house.running()
    hand.begin()
    hand.die()
    house.turn(1.0)


def test_a_job_that_kills_its_worker_ends_and_the_next_one_runs(house):
    home = house()
    batch, other = home.submit(), home.submit()
    told = pieces(batch)
    kill(home)
    assert told == [(0, 1, JobState.WORKER_DIED)]
    assert batch.errors[0].data["signal"] == 9
    assert batch.errors[0].data["attempt"] == 1
    home.running()[0].end()
    assert other.state(0) is JobState.DONE


@pytest.mark.parametrize("quarantine", [1, 2, 3])
def test_a_job_is_quarantined_when_it_has_killed_as_many_workers_as_one_may(house, quarantine):
    home = house(quarantine=quarantine)
    batch = home.submit(retries=100)
    told = pieces(batch)
    for death in range(1, quarantine):
        kill(home)
        assert not told
        assert batch.attempt(0) == death + 1
        assert [attempt.state for attempt in batch.history[0]] == [JobState.WORKER_DIED] * death
    kill(home)
    assert told == [(0, 1, JobState.QUARANTINED)]
    assert batch.errors[0].code == "job-quarantined"
    assert batch.errors[0].data["deaths"] == quarantine
    assert home.pool.queue.jobs == 0


def test_failures_of_its_own_do_not_bring_a_job_into_quarantine(house):
    home = house(quarantine=2)
    batch = home.submit(retries=5)
    for _ in range(5):
        home.running()[0].end(BROKEN, failed=True)
    kill(home)
    assert batch.state(0) is JobState.WORKER_DIED
    assert batch.attempt(0) == 6


def test_a_job_without_retries_ends_as_what_it_is_even_where_one_death_is_too_many(house):
    home = house(quarantine=1)
    batch = home.submit()
    kill(home)
    assert batch.state(0) is JobState.WORKER_DIED


def test_a_failed_attempt_is_remembered_and_the_next_one_s_value_is_the_job_s(house):
    home = house()
    batch = home.submit(retries=1, keep=60.0)
    home.running()[0].end(BROKEN, failed=True)
    assert batch.attempt(0) == 2
    assert not batch.values
    home.running()[0].end(b"value")
    assert batch.state(0) is JobState.DONE
    assert batch.values == {0: b"value"}
    (attempt,) = batch.history[0]
    assert (attempt.attempt, attempt.state, attempt.message) == (1, JobState.FAILED, "no")
    (told,) = home.told(JobsRetried)
    assert (told.id, told.attempt, told.delay) == (batch.first_id, 1, 0.0)


def test_one_job_of_a_batch_is_tried_again_by_itself(house):
    home = house()
    batch = home.submit(3, retries=1)
    told = pieces(batch)
    for value, failed in ((b"0", False), (BROKEN, True), (b"1", False), (b"2", False)):
        home.running()[0].end(value, failed=failed)
    assert sorted(first for first, _, _ in told) == [0, 1, 2]
    assert {state for _, _, state in told} == {JobState.DONE}
    assert list(batch.history) == [1]


def test_a_backoff_is_waited_for_and_doubled(house):
    home = house()
    batch = home.submit(retries=3, backoff=10.0, backoff_most=25.0)
    for pause in (10.0, 20.0, 25.0):
        home.running()[0].end(BROKEN, failed=True)
        assert batch.state(0) is JobState.DELAYED
        home.turn(pause - 0.1)
        assert batch.state(0) is JobState.DELAYED
        home.turn(0.1)
        assert batch.state(0) is JobState.RUNNING
    home.running()[0].end(BROKEN, failed=True)
    assert batch.state(0) is JobState.FAILED


def test_only_the_exceptions_that_are_named_are_tried_again(house):
    home = house()
    met, other = home.submit(retries=9, retry_on=("OSError",)), home.submit(retries=9, retry_on=("KeyError",))
    home.running()[0].end(BROKEN, failed=True)
    home.running()[0].end(b"value")
    home.running()[0].end(BROKEN, failed=True)
    assert met.state(0) is JobState.DONE
    assert other.state(0) is JobState.FAILED
    assert other.attempt(0) == 1


@pytest.mark.parametrize("backoff", [0.0, 5.0])
@pytest.mark.parametrize("how", ["fails", "kills"])
def test_a_job_between_two_attempts_has_given_its_tags_back(house, backoff, how):
    home = house(tags={"db": 1})
    batch = home.submit(retries=1, tags=("db",), backoff=backoff)
    assert home.pools.tags.room(("db",)) == 0
    if how == "kills":
        kill(home)
    else:
        home.running()[0].end(BROKEN, failed=True)
    home.turn()
    runs = batch.state(0) is JobState.RUNNING
    assert runs == (not backoff)
    assert home.pools.tags.room(("db",)) == (0 if runs else 1)
    home.turn(backoff)
    assert home.pools.tags.room(("db",)) == 0
    home.running()[0].end()
    assert home.pools.tags.room(("db",)) == 1
    assert not home.pools.tags._running


def test_tags_are_given_back_whatever_becomes_of_a_job(house):
    home = house(2, tags={"db": 2})
    ended, failed, died, cancelled = (home.submit(tags=("db",)) for _ in range(4))
    first, second = home.running()
    first.end()
    second.end(BROKEN, failed=True)
    home.turn()
    assert [batch.state(0) for batch in (ended, failed)] == [JobState.DONE, JobState.FAILED]
    assert home.pools.tags.room(("db",)) == 0
    home.pools.cancel([cancelled.first_id], 1.0)
    home.turn(0.1)
    assert cancelled.state(0) is JobState.CANCELLED, "it was handed over and not begun"
    hand = next(hand for hand in home.running() if home.worker(hand).running_seq(died, 0) is not None)
    hand.begin()
    hand.die()
    home.turn(1.0)
    assert died.state(0) is JobState.WORKER_DIED
    assert home.pools.tags.room(("db",)) == 2
    assert not home.pools.tags._running


def test_a_tag_that_is_full_holds_up_its_jobs_and_no_others(house):
    home = house(3, tags={"db": 1})
    tagged = home.submit(3, tags=("db",))
    other = home.submit(2)
    assert tagged.counts() == {"running": 1, "queued": 2}
    assert other.counts() == {"running": 2}
    for _ in range(3):
        hand = next(hand for hand in home.running() if home.worker(hand).spans[0].batch is tagged)
        hand.end()
        home.turn()
        assert tagged.counts().get("running", 0) <= 1
    assert tagged.counts() == {"done": 3}


def test_a_cancel_before_and_while_waiting_ends_a_job_at_once(house):
    home = house(1)
    running, queued, delayed = home.submit(), home.submit(), home.submit(delay=5.0)
    waiting = home.submit(after=(1,), before=((running, 0),))
    answer = home.pools.cancel([batch.first_id for batch in (queued, delayed, waiting)], 1.0)
    assert settled(answer)
    assert {batch.state(0) for batch in (queued, delayed, waiting)} == {JobState.CANCELLED}
    assert home.pool.unfinished() == 1
    home.running()[0].end()
    home.turn(10.0)
    assert home.pool.unfinished() == 0
    assert len(home.told(JobsEnded)) == 4


# --- durable ends


def test_a_durable_end_is_told_only_when_the_disk_knows_it(house, open_store):
    stored = open_store()
    home = house(ledger=Ledger(stored.store))
    batch = home.submit(durable=True, keep=60.0)
    told = pieces(batch)
    settle(stored)
    home.running()[0].end(b"value")
    assert batch.state(0) is JobState.DONE
    assert not batch.is_ended(0), "to the world it has not"
    assert not batch.over
    assert not told
    settle(stored)
    assert told == [(0, 1, JobState.DONE)]
    assert batch.over
    assert len(home.told(JobsEnded)) == 1


def test_a_cancel_of_a_job_whose_end_is_being_written_waits_for_that_end(house, open_store):
    stored = open_store()
    home = house(ledger=Ledger(stored.store))
    batch = home.submit(durable=True, keep=60.0)
    settle(stored)
    home.running()[0].end(b"value")
    answer = home.pools.cancel([batch.first_id], 1.0)
    assert not answer.settled
    settle(stored)
    assert answer.value().already_ended == (batch.first_id,)
    assert batch.state(0) is JobState.DONE


def test_what_the_disk_does_not_take_is_told_without_it_and_once(house, open_store):
    stored = open_store()
    home = house(ledger=Ledger(stored.store))
    batch = home.submit(durable=True, keep=60.0)
    told = pieces(batch)
    settle(stored)
    home.running()[0].end(b"value")
    assert not told
    home.pools.store_changed("the disk is full")
    assert told == [(0, 1, JobState.DONE)]
    assert batch.over
    settle(stored)
    assert told == [(0, 1, JobState.DONE)]


def test_a_durable_job_is_not_handed_to_a_worker_before_that_is_on_disk(house, open_store):
    stored = open_store()
    home = house(ledger=Ledger(stored.store))
    home.submit(durable=True)
    assert home.pool.queue.jobs == 0
    assert not home.running(), "it is not even queued: it is not accepted"
    while not home.running():
        assert stored.clock.look()
    (hand,) = home.running()
    assert home.worker(hand).wire.waiting
    settle(stored)
    assert not home.worker(hand).wire.waiting


def settle(stored) -> None:
    """Until all that was told so far is on disk."""
    stored.wait(stored.store.move([]))
