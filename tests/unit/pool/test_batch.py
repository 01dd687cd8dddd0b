"""Batches: what is counted is what is there, whatever happens to the jobs."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit.pool.parts import make_batch

from stoker.errors import IllegalMove
from stoker.protocol.states import ENDED_JOB_STATES, JobEvent, JobState
from stokerd.output import Kept, Output
from stokerd.pool import batch as batches
from stokerd.pool.batch import Batch, Piece

ENDS = (JobEvent.SUCCEED, JobEvent.FAIL, JobEvent.CANCEL, JobEvent.TIME_OUT, JobEvent.WORKER_DIE)


class BatchMachine(RuleBasedStateMachine):
    """A batch beside a list of states that is changed job by job."""

    @initialize(count=st.integers(1, 40))
    def make(self, count: int) -> None:
        self.batch = make_batch(count)
        self.model = [JobState.QUEUED] * count

    def running(self) -> list[int]:
        return [index for index, state in enumerate(self.model) if state is JobState.RUNNING]

    @rule(most=st.integers(1, 50))
    def take_and_dispatch(self, most: int) -> None:
        first, count = self.batch.take(most)
        queued = [index for index, state in enumerate(self.model) if state is JobState.QUEUED]
        if not queued:
            assert (first, count) == (0, 0)
            return
        assert first == queued[0]
        assert 1 <= count <= most
        assert all(self.model[index] is JobState.QUEUED for index in range(first, first + count))
        followed = first + count < len(self.model) and self.model[first + count] is JobState.QUEUED
        assert count == most or not followed
        assert self.batch.move(first, count, JobEvent.DISPATCH) is JobState.RUNNING
        self.model[first : first + count] = [JobState.RUNNING] * count

    @precondition(lambda self: self.running())
    @rule(data=st.data(), event=st.sampled_from((*ENDS, JobEvent.RETURN)))
    def leave_running(self, data: st.DataObject, event: JobEvent) -> None:
        first = data.draw(st.sampled_from(self.running()))
        longest = next((n for n in range(len(self.model) - first) if self.model[first + n] is not JobState.RUNNING), 0)
        count = data.draw(st.integers(1, longest or len(self.model) - first))
        after = self.batch.move(first, count, event)
        self.model[first : first + count] = [after] * count

    @rule(data=st.data())
    def cancel_queued(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.model) - 1))
        if self.model[index] is JobState.QUEUED:
            self.model[index] = self.batch.move(index, 1, JobEvent.CANCEL)

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.model) - 1))
        if self.model[index] in ENDED_JOB_STATES - {JobState.DONE}:
            self.model[index] = self.batch.move(index, 1, JobEvent.RETRY)
            assert self.model[index] is JobState.QUEUED

    @rule(data=st.data(), event=st.sampled_from(JobEvent))
    def illegal_moves_change_nothing(self, data: st.DataObject, event: JobEvent) -> None:
        index = data.draw(st.integers(0, len(self.model) - 1))
        if self.model[index] is JobState.DONE:
            with pytest.raises(IllegalMove):
                self.batch.move(index, 1, event)

    @invariant()
    def counts_are_right(self) -> None:
        batch, model = self.batch, self.model
        assert [batch.state(index) for index in range(batch.count)] == model
        assert batch.queued_count == model.count(JobState.QUEUED)
        assert batch.ended_count == sum(state in ENDED_JOB_STATES for state in model)
        assert batch.over == all(state in ENDED_JOB_STATES for state in model)
        assert batch.counts() == {str(state): model.count(state) for state in set(model)}
        assert [batch.is_ended(index) for index in range(batch.count)] == [state in ENDED_JOB_STATES for state in model]


BatchMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBatchMachine = BatchMachine.TestCase


def test_each_job_has_its_own_stretch_of_the_payload():
    payloads = [b"a" * size for size in (3, 0, 7, 1)]
    batch = make_batch(payloads=payloads)
    for first in range(4):
        for count in range(1, 5 - first):
            assert bytes(batch.payload(first, count)) == b"".join(payloads[first : first + count])
    assert batch.nbytes == batch.offset(4) == 11


def test_a_listener_that_leaves_while_being_told_costs_no_other_its_answer():
    batch = make_batch()
    told = []

    def leaves(batch: Batch, _piece: Piece) -> None:
        told.append("first")
        batch.on_piece.remove(leaves)

    batch.on_piece += [leaves, lambda _batch, _piece: told.append("second")]
    assert not batch.tell(Piece(0, 1, b"", b"", JobState.DONE))
    assert told == ["first", "second"]


def test_a_listener_that_fails_costs_no_other_its_answer():
    batch = make_batch()
    told = []
    batch.on_piece += [lambda _batch, _piece: 1 / 0, lambda _batch, _piece: told.append("piece")]
    batch.on_end += [lambda _batch: 1 / 0, lambda _batch: told.append("end")]
    assert [type(why) for why in batch.tell(Piece(0, 1, b"", b"", JobState.DONE))] == [ZeroDivisionError]
    assert [type(why) for why in batch.tell_end()] == [ZeroDivisionError]
    assert told == ["piece", "end"]
    assert not batch.tell_end()
    assert told == ["piece", "end"]


def test_output_is_kept_within_bounds_and_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batches, "OUTPUT_BYTES", 250)
    batch = make_batch(5)
    for index in range(5):
        batch.keep_output(index, _wrote(100))
    assert list(batch.outputs) == [3, 4]
    assert batch.output_bytes == 200
    batch.keep_output(4, _wrote(10))
    assert batch.output_bytes == 110
    batch.keep_output(4, _wrote(1000))
    assert list(batch.outputs) == [4], "the newest is kept whatever its size"
    batch.keep_output(0, _wrote(0))
    assert 0 not in batch.outputs


def _wrote(size: int) -> Output:
    return Output(Kept(b"x" * size, b"", size), Kept(b"", b"", 0))
