"""The table of jobs: found by id, forgotten within bounds, and never more than that."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.pool.parts import make_batch

from stoker.errors import NoSuchJob
from stoker.protocol.states import JobEvent, JobState
from stokerd.pool.batch import Batch
from stokerd.pool.jobs import JobTable
from stokerd.pool.options import Options


def ended(table: JobTable, batch: Batch, now: float = 0.0, value: bytes = b"") -> Batch:
    """Have a batch that is in the table come to its end."""
    batch.move(0, batch.count, JobEvent.DISPATCH)
    batch.move(0, batch.count, JobEvent.SUCCEED)
    if value:
        batch.values = dict.fromkeys(range(batch.count), value)
    batch.drop_payload()
    table.ended(batch, now)
    return batch


def added(table: JobTable, count: int = 1, **options: Any) -> Batch:
    batch = make_batch(count, **options)
    table.add(batch)
    return batch


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_every_job_is_found_by_its_id(counts: list[int]):
    table = JobTable(history_jobs=10_000, history_bytes=10_000)
    batches = [added(table, count) for count in counts]
    ids = 0
    for batch in batches:
        for index in range(batch.count):
            ids += 1
            assert table.find(ids) == (batch, index)
    for job in (0, -1, ids + 1):
        with pytest.raises(NoSuchJob, match="there is no job"):
            table.find(job)
    assert list(table.newest()) == batches[::-1]


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=300), st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_no_more_than_the_history_is_remembered_and_what_goes_on_is_never_forgotten(
    made: list[tuple[int, bool]], history: int
):
    table = JobTable(history_jobs=history, history_bytes=10_000_000)
    alive, over = [], []
    for count, ends in made:
        batch = added(table, count)
        if ends:
            over.append(ended(table, batch))
        else:
            alive.append(batch)
    for batch in alive:
        assert table.find(batch.first_id) == (batch, 0)
    left = list(table.newest())
    remembered = [batch for batch in over if batch in left]
    assert remembered == over[len(over) - len(remembered) :], "the newest are those that are remembered"
    assert len(remembered) <= 1 or sum(batch.count for batch in remembered) <= history
    for batch in over[: len(over) - len(remembered)]:
        with pytest.raises(NoSuchJob, match="is forgotten"):
            table.find(batch.first_id)


def test_what_is_forgotten_takes_no_room_even_behind_jobs_that_never_end():
    table = JobTable(history_jobs=10, history_bytes=1000)
    waiting = [added(table) for _ in range(100)]
    for _ in range(5000):
        ended(table, added(table))
    assert len(table._batches) == 110
    assert len(table._starts) <= 2 * 110 + 1
    assert table.counts() == {"queued": 100, "done": 10}
    assert table.find(waiting[0].first_id) == (waiting[0], 0)


def test_the_newest_is_kept_whatever_its_size():
    table = JobTable(history_jobs=10, history_bytes=10)
    big = ended(table, added(table, 1000), value=b"xx")
    assert table.find(1) == (big, 0)
    ended(table, added(table))
    with pytest.raises(NoSuchJob):
        table.find(1)


def test_what_is_forgotten_can_still_be_read_by_those_who_waited_for_it():
    table = JobTable(history_jobs=1, history_bytes=1000)
    batch = ended(table, added(table), value=b"value")
    ended(table, added(table))
    assert batch.count == 1
    assert batch.values == {0: b"value"}
    assert batch.state(0) is JobState.DONE


def test_values_payloads_and_output_count_as_bytes():
    table = JobTable(history_jobs=1000, history_bytes=100)
    first = ended(table, added(table), value=b"x" * 60)
    failed = added(table, size=60)
    failed.move(0, 1, JobEvent.DISPATCH)
    failed.move(0, 1, JobEvent.FAIL)
    table.ended(failed, 0.0)
    assert list(table.newest()) == [failed], f"{first} and its 60 bytes had to go"


def test_values_expire_when_their_time_is_over():
    table = JobTable(history_jobs=100, history_bytes=100)
    short = ended(table, added(table, keep=5.0), now=100.0, value=b"x" * 30)
    long = ended(table, added(table, keep=50.0), now=100.0, value=b"x" * 30)
    assert table.expire(101.0) == 105.0
    assert short.values
    assert table.expire(105.0) == 150.0
    assert not short.values
    assert long.values
    assert table.expire(150.0) is None
    assert table._ended_bytes == 0


def test_a_retried_batch_counts_as_ended_no_more():
    table = JobTable(history_jobs=2, history_bytes=1000)
    batch = added(table)
    batch.move(0, 1, JobEvent.DISPATCH)
    batch.move(0, 1, JobEvent.FAIL)
    table.ended(batch, 0.0)
    table.revived(batch)
    table.revived(batch)
    batch.move(0, 1, JobEvent.RETRY)
    for _ in range(10):
        ended(table, added(table))
    assert table.find(batch.first_id) == (batch, 0)
    assert (table._ended_count, table._ended_bytes) == (2, 0)


def test_a_job_is_found_by_its_key_as_long_as_it_is_known():
    table = JobTable(history_jobs=1, history_bytes=1000)
    first = added(table, options=Options(key="k"))
    assert table.with_key("k") is first
    assert table.with_key("other") is None
    ended(table, first)
    assert table.with_key("k") is first
    ended(table, added(table))
    assert table.with_key("k") is None


def test_a_key_is_free_again_when_the_time_of_its_value_is_over():
    table = JobTable(history_jobs=10, history_bytes=1000)
    first = ended(table, added(table, keep=5.0, options=Options(key="k")), value=b"v")
    table.expire(5.0)
    assert table.with_key("k") is None
    second = added(table, options=Options(key="k"))
    for _ in range(20):
        ended(table, added(table))
    assert first not in table.newest()
    assert table.with_key("k") is second, "what is forgotten takes no other's key with it"


def test_what_was_not_accepted_after_all_was_never_there():
    table = JobTable(history_jobs=10, history_bytes=1000)
    before = added(table)
    batch = added(table, 5, options=Options(key="k"))
    table.withdraw(batch)
    after = added(table)
    assert table.with_key("k") is None
    assert table.unfinished("s1") == 2
    assert after.first_id == batch.first_id + 5, "its ids are not given out again"
    with pytest.raises(NoSuchJob):
        table.find(batch.first_id)
    assert list(table.newest()) == [after, before]


def test_unfinished_jobs_are_counted_by_session_until_all_of_their_batch_have_ended():
    table = JobTable(history_jobs=10, history_bytes=1000)
    mine, other = added(table, 3), added(table, 2, session="s2")
    assert (table.unfinished("s1"), table.unfinished("s2"), table.unfinished("s3")) == (3, 2, 0)
    ended(table, mine)
    assert (table.unfinished("s1"), table.unfinished("s2")) == (0, 2)
    table.revived(mine)
    assert table.unfinished("s1") == 3
    ended(table, other)
    assert set(table._unfinished) == {"s1"}


def test_kept_jobs_have_a_bound_of_their_own():
    table = JobTable(history_jobs=1, history_bytes=10**6, kept_jobs=3)
    kept = [ended(table, added(table, keep=60.0)) for _ in range(5)]
    plain = [ended(table, added(table)) for _ in range(3)]
    assert list(table.newest())[::-1] == [*kept[-3:], plain[-1]]


def test_whoever_keeps_records_is_told_of_each_that_goes():
    told: list[Batch] = []
    table = JobTable(history_jobs=1, history_bytes=1000, on_forget=told.append)
    kept = ended(table, added(table, keep=5.0), value=b"v")
    assert not told
    table.expire(5.0)
    assert told == [kept], "its values and arguments go, on disk too"
    assert kept.blob == b""
    assert not kept.values
    assert table.find(kept.first_id) == (kept, 0), "that it was is remembered"
    plain = ended(table, added(table))
    ended(table, added(table))
    assert told == [kept, kept, plain]


def test_a_batch_that_has_its_ids_is_remembered_under_them():
    table = JobTable(history_jobs=10, history_bytes=1000, next_id=5)
    batch = make_batch(3)
    batch.first_id = 100
    table.restore(batch)
    assert table.find(102) == (batch, 2)
    assert added(table).first_id == 103
