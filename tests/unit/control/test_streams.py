"""Results in parts: each once, to every entry that asked, and the last one is the only one without ``more``."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.pool.parts import HandClock, make_batch

from stoker.protocol.models import ErrorInfo
from stoker.protocol.states import JobEvent, JobState
from stokerd.control.streams import TELL_IDS_AFTER, ResultStream
from stokerd.overdue import Overdue
from stokerd.pool.batch import Batch, Piece

LOST = ErrorInfo(code="worker-died", message="it died")


class Rig:
    """A stream, and the parts that it sent."""

    def __init__(self, *, tell_ids: bool = False) -> None:
        self.clock = HandClock()
        self.stream = ResultStream(Overdue(self.clock, TELL_IDS_AFTER), tell_ids=tell_ids)
        self.parts: list[tuple[dict[str, Any], list[bytes], bool]] = []

    def send(self, part: dict[str, Any], payload: Sequence[Any], more: bool) -> None:
        self.parts.append((part, [bytes(frame) for frame in payload], more))

    def begin(self, asked: Sequence[Batch], batches: Sequence[Batch] | None = None) -> None:
        for batch in asked:
            self.stream.listen(batch)
        self.stream.begin(asked, asked if batches is None else batches)
        self.stream.start(self.send)

    @property
    def jobs(self) -> list[tuple[int, int]]:
        """Which jobs were told of, as (entry, index)."""
        results = [part for part, _, _ in self.parts if "spec" in part]
        return [(part["spec"], part["first"] + at) for part in results for at in range(part["count"])]

    @property
    def finals(self) -> list[bool]:
        return [not more for _, _, more in self.parts]

    def ends_once(self) -> bool:
        return self.finals == [False] * (len(self.parts) - 1) + [True]


def batch(count: int, first_id: int = 1) -> Batch:
    made = make_batch(count, keep=60.0)
    made.first_id = first_id
    return made


def end(one: Batch, index: int, *, value: bytes | None = b"value") -> None:
    """A job ends, with a value or with its worker; the world is told."""
    one.move(index, 1, JobEvent.DISPATCH)
    if value is None:
        one.errors[index] = LOST
        state, lengths, blob, error = one.move(index, 1, JobEvent.WORKER_DIE), b"", b"", LOST
    else:
        one.values[index] = value
        state, lengths, blob, error = one.move(index, 1, JobEvent.SUCCEED), length(value), value, None
    assert one.tell(Piece(index, 1, lengths, blob, state, error)) == []


def length(value: bytes) -> bytes:
    return array("I", [len(value)]).tobytes()


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_every_job_is_told_of_once_and_the_last_part_alone_says_so(counts, random):
    rig = Rig()
    batches = [batch(count, 10 * number + 1) for number, count in enumerate(counts)]
    rig.begin(batches)
    jobs = [(number, index) for number, count in enumerate(counts) for index in range(count)]
    random.shuffle(jobs)
    for number, index in jobs:
        assert not any(rig.finals)
        end(batches[number], index, value=random.choice([b"", b"value", None]))
    assert rig.jobs == jobs
    assert rig.ends_once()
    assert not any(one.on_piece for one in batches)


@given(st.integers(0, 4), st.integers(1, 2), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_a_job_that_was_known_is_told_of_from_its_beginning(before, times, random):
    rig = Rig()
    known = batch(4)
    order = list(range(4))
    random.shuffle(order)
    for index in order[:before]:
        end(known, index, value=b"old" if index % 2 else None)
    asked = [batch(4, 50) for _ in range(times)]
    rig.begin(asked, [known] * times)
    assert not any(one.on_piece for one in asked), "what was not submitted is not listened to"
    for index in order[before:]:
        end(known, index)
    assert sorted(rig.jobs) == [(entry, index) for entry in range(times) for index in range(4)]
    assert rig.ends_once()
    assert not known.on_piece


def test_known_and_new_jobs_end_together():
    rig = Rig()
    known, fresh = batch(1), batch(1, 5)
    end(known, 0, value=b"old")
    asked = [batch(1, 50), fresh]
    rig.begin(asked, [known, fresh])
    assert rig.finals == [False]
    assert rig.parts[0][1] == [b"old"]
    end(fresh, 0)
    assert rig.jobs == [(0, 0), (1, 0)]
    assert rig.ends_once()


def test_the_same_job_twice_in_one_request_is_told_of_twice():
    rig = Rig()
    first, second = batch(2), batch(2, 50)
    rig.begin([first, second], [first, first])
    end(first, 1)
    end(first, 0, value=None)
    assert rig.jobs == [(0, 1), (1, 1), (0, 0), (1, 0)]
    assert rig.ends_once()
    assert rig.parts[3][0]["error"]["code"] == "worker-died"


def test_what_ends_while_it_is_submitted_is_told_when_the_stream_starts():
    rig = Rig()
    one = batch(2)
    rig.stream.listen(one)
    end(one, 0)
    rig.stream.begin([one], [one])
    end(one, 1)
    assert rig.parts == []
    rig.stream.start(rig.send)
    assert rig.jobs == [(0, 0), (0, 1)]
    assert rig.ends_once()
    rig.clock.advance(1.0)
    assert rig.ends_once(), "and no ids are told after the end"


def test_a_value_that_was_not_kept_is_an_error_for_whoever_comes_late():
    rig = Rig()
    known = batch(1)
    end(known, 0)
    known.drop_results()
    rig.begin([batch(1, 50)], [known])
    ((part, payload, more),) = rig.parts
    assert part["error"]["code"] == "job-error"
    assert "no longer kept" in part["error"]["message"]
    assert "lengths" not in part
    assert (payload, more) == ([], False)


def test_an_end_that_is_not_on_disk_is_not_told_before_it_is():
    rig = Rig()
    known = batch(1)
    known.move(0, 1, JobEvent.DISPATCH)
    known.move(0, 1, JobEvent.SUCCEED)
    known.values[0] = b"value"
    known.settling.append((0, 1))
    rig.begin([batch(1, 50)], [known])
    assert rig.parts == []
    known.settling.clear()
    known.tell(Piece(0, 1, length(b"value"), b"value", JobState.DONE))
    assert rig.jobs == [(0, 0)]
    assert rig.ends_once()


@pytest.mark.parametrize("tell_ids", [True, False])
def test_ids_are_told_at_once_where_they_are_asked_for_and_else_after_a_while(tell_ids):
    rig = Rig(tell_ids=tell_ids)
    rig.begin([batch(2, 7)])
    assert len(rig.parts) == tell_ids
    rig.clock.advance(TELL_IDS_AFTER)
    ((part, _, more),) = rig.parts
    assert [(job["id"], job["count"]) for job in part["jobs"]] == [(7, 2)]
    assert more


def test_a_stream_that_is_short_tells_no_ids():
    rig = Rig()
    one = batch(1)
    rig.begin([one])
    end(one, 0)
    rig.clock.advance(1.0)
    assert len(rig.parts) == 1
