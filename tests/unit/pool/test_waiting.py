"""Jobs that may not run yet: let out when their time has come, or when those have ended that they come after."""

from __future__ import annotations

import pytest
from tests.unit.pool.parts import HandClock, make_batch

from stoker.errors import StokerError
from stoker.protocol.states import JobEvent, JobState
from stokerd.pool.batch import Batch, Piece
from stokerd.pool.options import Options
from stokerd.pool.waiting import LONGEST, WaitingRoom

HOUR = 3600.0


class Rig:
    """A waiting room, and what it told."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.released: list[tuple[Batch, int]] = []
        self.refused: list[tuple[Batch, StokerError]] = []
        self.met: list[tuple[Batch, list[int]]] = []
        self.room = WaitingRoom(
            self.clock,
            lambda batch, count: self.released.append((batch, count)),
            self.refuse,
            lambda batch, jobs: self.met.append((batch, jobs)),
        )
        self._next = 1

    def refuse(self, batch: Batch, why: StokerError) -> None:
        """As a pool does."""
        self.refused.append((batch, why))
        for index in range(batch.count):
            if batch.state(index) is JobState.WAITING:
                batch.move(index, 1, JobEvent.FAIL)

    def batch(self, count: int = 1, **options: object) -> Batch:
        batch = make_batch(count, options=Options(**options))  # type: ignore[arg-type]
        batch.first_id = self._next
        self._next += count
        return batch

    def enter(self, batch: Batch, *before: tuple[Batch, int]) -> bool:
        return self.room.enter(batch, before)

    def end(self, batch: Batch, index: int = 0, event: JobEvent = JobEvent.SUCCEED) -> None:
        """One job of a batch ends, and the world is told."""
        if batch.state(index) is JobState.QUEUED:
            batch.move(index, 1, JobEvent.DISPATCH)
        state = batch.move(index, 1, event)
        assert batch.tell(Piece(index, 1, b"", b"", state)) == []

    @property
    def ran(self) -> list[Batch]:
        return [batch for batch, _ in self.released]


@pytest.fixture
def rig() -> Rig:
    return Rig()


# --- delays and appointments


def test_a_job_that_need_not_wait_does_not(rig):
    batch = rig.batch()
    assert not rig.enter(batch)
    assert batch.state(0) is JobState.QUEUED
    assert rig.room.held("default") == 0


@pytest.mark.parametrize("step", [-HOUR, HOUR, 0.0])
def test_a_delay_is_the_same_when_the_clock_is_set(rig, step):
    batch = rig.batch(3, delay=10.0)
    assert rig.enter(batch)
    rig.clock.advance(4.0)
    rig.clock.set_to(rig.clock.time() + step)
    rig.clock.advance(5.9)
    assert not rig.released
    assert batch.counts() == {"delayed": 3}
    rig.clock.advance(0.1)
    assert rig.released == [(batch, 3)]
    assert batch.counts() == {"queued": 3}
    assert not batch.due


def test_an_appointment_comes_nearer_when_the_clock_is_set_forward(rig):
    batch = rig.batch(at=rig.clock.time() + HOUR)
    assert rig.enter(batch)
    rig.clock.set_to(batch.due[0] - 1)
    assert not rig.released
    rig.clock.advance(1.0)
    assert rig.ran == [batch]


def test_an_appointment_that_setting_the_clock_has_passed_is_kept_at_once(rig):
    batch = rig.batch(at=rig.clock.time() + HOUR)
    rig.enter(batch)
    rig.clock.set_to(batch.due[0] + HOUR)
    assert rig.ran == [batch]


def test_an_appointment_goes_farther_away_when_the_clock_is_set_back(rig):
    batch = rig.batch(at=rig.clock.time() + 10)
    rig.enter(batch)
    rig.clock.set_to(rig.clock.time() - HOUR)
    rig.clock.advance(HOUR)
    assert not rig.released
    rig.clock.advance(10)
    assert rig.ran == [batch]


def test_an_appointment_in_the_past_is_kept_in_the_next_turn(rig):
    batch = rig.batch(at=rig.clock.time() - 1)
    assert rig.enter(batch)
    rig.clock.advance(0.0)
    assert rig.ran == [batch]


def test_an_appointment_is_looked_at_again_after_the_longest_timer(rig):
    batch = rig.batch(at=rig.clock.time() + 2.5 * LONGEST)
    rig.enter(batch)
    rig.clock.advance(2.4 * LONGEST)
    assert not rig.released
    rig.clock.advance(0.2 * LONGEST)
    assert rig.ran == [batch]


def test_jobs_are_let_out_in_the_order_of_their_times(rig):
    late, soon, sooner = rig.batch(delay=3.0), rig.batch(delay=2.0), rig.batch(at=rig.clock.time() + 1)
    for batch in (late, soon, sooner):
        rig.enter(batch)
    assert rig.room.held("default") == 3
    rig.clock.advance(2.0)
    assert rig.ran == [sooner, soon]
    rig.clock.advance(1.0)
    assert rig.ran == [sooner, soon, late]


def test_a_job_that_was_cancelled_while_delayed_is_not_let_out(rig):
    batch = rig.batch(2, delay=1.0)
    rig.enter(batch)
    batch.move(1, 1, JobEvent.CANCEL)
    rig.clock.advance(1.0)
    assert rig.released == [(batch, 1)]
    assert batch.state(1) is JobState.CANCELLED


def test_a_batch_that_was_cancelled_whole_is_not_let_out_at_all(rig):
    batch = rig.batch(2, delay=1.0)
    rig.enter(batch)
    batch.move(0, 2, JobEvent.CANCEL)
    assert rig.room.held("default") == 0
    rig.clock.advance(1.0)
    assert not rig.released


def test_the_jobs_of_a_batch_wait_for_another_attempt_each_by_itself(rig):
    batch = rig.batch(3)
    rig.room.postpone(batch, 2, 5.0)
    rig.room.postpone(batch, 0, 1.0)
    rig.clock.set_to(rig.clock.time() + HOUR)
    rig.clock.advance(1.0)
    assert rig.released == [(batch, 1)]
    assert [batch.state(index) for index in range(3)] == [JobState.QUEUED, JobState.QUEUED, JobState.DELAYED]
    rig.clock.advance(4.0)
    assert rig.released == [(batch, 1), (batch, 1)]


def test_after_a_start_only_what_is_left_of_a_delay_is_waited_for(rig):
    batch = rig.batch(delay=100.0)
    batch.due[0] = rig.clock.time() + 7.0
    rig.enter(batch)
    rig.clock.advance(6.9)
    assert not rig.released
    rig.clock.advance(0.1)
    assert rig.ran == [batch]


def test_after_a_start_a_delay_that_is_over_is_not_begun_again(rig):
    batch = rig.batch(delay=100.0)
    batch.due[0] = rig.clock.time() - 7.0
    rig.enter(batch)
    rig.clock.advance(0.0)
    assert rig.ran == [batch]


def test_after_a_start_another_attempt_is_made_when_it_was_due(rig):
    batch = rig.batch(3)
    batch.due = {0: rig.clock.time() + 5, 1: rig.clock.time() - 5}
    assert rig.room.resume(batch, 0)
    assert not rig.room.resume(batch, 1)
    assert not rig.room.resume(batch, 2)
    assert batch.counts() == {"queued": 2, "delayed": 1}
    rig.clock.advance(5)
    assert rig.released == [(batch, 1)]


def test_nothing_is_let_out_after_the_room_was_closed(rig):
    span, appointment = rig.batch(delay=1.0), rig.batch(at=rig.clock.time() + 1)
    rig.enter(span)
    rig.enter(appointment)
    rig.room.close()
    rig.clock.advance(10.0)
    rig.clock.set_to(rig.clock.time() + HOUR)
    rig.clock.advance(10.0)
    assert not rig.released
    assert {span.state(0), appointment.state(0)} == {JobState.DELAYED}


def test_what_waits_is_counted_by_pool(rig):
    before, waiting, delayed = rig.batch(), rig.batch(3, after=(1,)), rig.batch(2, delay=1.0)
    rig.enter(waiting, (before, 0))
    rig.enter(delayed)
    assert rig.room.held("default") == 5
    assert rig.room.held("other") == 0
    waiting.move(1, 1, JobEvent.CANCEL)
    assert rig.room.held("default") == 4
    rig.clock.advance(1.0)
    assert rig.room.held("default") == 2
    rig.end(before)
    assert rig.room.held("default") == 0


# --- dependencies


def test_a_job_runs_when_all_have_ended_that_it_comes_after(rig):
    first, second, batch = rig.batch(2), rig.batch(), rig.batch(3)
    assert rig.enter(batch, (first, 0), (first, 1), (second, 0))
    assert batch.counts() == {"waiting": 3}
    assert batch.after == {1, 2, 3}
    rig.end(second)
    rig.end(first, 1)
    assert not rig.released
    assert batch.after == {1}
    rig.end(first, 0)
    assert rig.released == [(batch, 3)]
    assert not batch.after
    assert rig.met == [(batch, [3]), (batch, [2]), (batch, [1])]


def test_only_the_jobs_that_are_named_are_waited_for(rig):
    first, batch = rig.batch(3), rig.batch()
    rig.enter(batch, (first, 1))
    rig.end(first, 0, JobEvent.FAIL)
    assert not rig.refused
    rig.end(first, 1)
    assert rig.ran == [batch]
    assert first.state(2) is JobState.QUEUED


def test_one_that_ends_badly_refuses_those_that_come_after_it_and_says_which(rig):
    first, second, batch = rig.batch(), rig.batch(), rig.batch(2)
    rig.enter(batch, (first, 0), (second, 0))
    rig.end(first, event=JobEvent.TIME_OUT)
    ((refused, why),) = rig.refused
    assert refused is batch
    assert why.code == "dependency-failed"
    assert why.data == {"job": first.first_id, "state": "timed-out"}
    assert str(first.first_id) in why.message
    assert "timed-out" in why.message
    rig.end(second)
    assert not rig.released


def test_the_second_that_ends_badly_is_not_told_of(rig):
    first, second, batch = rig.batch(), rig.batch(), rig.batch()
    rig.enter(batch, (first, 0), (second, 0))
    rig.end(first, event=JobEvent.FAIL)
    rig.end(second, event=JobEvent.CANCEL)
    assert len(rig.refused) == 1
    assert batch.state(0) is JobState.FAILED


def test_two_that_end_badly_at_once_are_told_of_once(rig):
    first, batch = rig.batch(2), rig.batch()
    rig.enter(batch, (first, 0), (first, 1))
    first.move(0, 2, JobEvent.DISPATCH)
    state = first.move(0, 2, JobEvent.FAIL)
    assert first.tell(Piece(0, 2, b"", b"", state)) == []
    assert [why.data["job"] for _, why in rig.refused] == [first.first_id]


@pytest.mark.parametrize("event", [JobEvent.SUCCEED, JobEvent.FAIL, JobEvent.WORKER_DIE, JobEvent.CANCEL])
def test_whoever_does_not_mind_how_they_end_runs_however_they_end(rig, event):
    first, batch = rig.batch(), rig.batch(after_any=True)
    rig.enter(batch, (first, 0))
    rig.end(first, event=event)
    assert rig.ran == [batch]
    assert not rig.refused


@pytest.mark.parametrize("event", [JobEvent.SUCCEED, JobEvent.FAIL])
def test_those_that_have_ended_before_are_seen_in_the_next_turn(rig, event):
    first, batch = rig.batch(), rig.batch()
    rig.end(first, event=event)
    assert rig.enter(batch, (first, 0))
    assert not rig.released
    assert not rig.refused
    rig.clock.advance(0.0)
    assert (rig.ran == [batch]) == (event is JobEvent.SUCCEED)
    assert len(rig.refused) == (event is JobEvent.FAIL)
    assert not first.on_piece


def test_one_that_ended_before_and_one_that_ends_later_are_both_waited_for(rig):
    first, second, batch = rig.batch(), rig.batch(), rig.batch()
    rig.end(first)
    rig.enter(batch, (first, 0), (second, 0))
    rig.clock.advance(0.0)
    assert not rig.released
    rig.end(second)
    assert rig.ran == [batch]


def test_one_whose_end_is_not_on_disk_yet_has_not_ended(rig):
    first, batch = rig.batch(), rig.batch()
    first.move(0, 1, JobEvent.DISPATCH)
    first.move(0, 1, JobEvent.SUCCEED)
    first.settling.append((0, 1))
    rig.enter(batch, (first, 0))
    rig.clock.advance(0.0)
    assert not rig.released
    first.settling.clear()
    assert first.tell(Piece(0, 1, b"", b"", JobState.DONE)) == []
    assert rig.ran == [batch]


def test_the_same_predecessor_named_twice_is_waited_for_once(rig):
    first, batch = rig.batch(), rig.batch()
    rig.enter(batch, (first, 0), (first, 0))
    rig.end(first)
    assert rig.released == [(batch, 1)]


def test_one_job_of_a_batch_that_is_cancelled_while_it_waits_is_the_only_one_that_does_not_run(rig):
    first, batch = rig.batch(), rig.batch(3)
    rig.enter(batch, (first, 0))
    batch.move(1, 1, JobEvent.CANCEL)
    rig.end(first)
    assert rig.released == [(batch, 2)]
    assert batch.counts() == {"queued": 2, "cancelled": 1}


@pytest.mark.parametrize("event", [JobEvent.SUCCEED, JobEvent.FAIL])
def test_a_job_that_was_cancelled_while_it_waited_is_neither_run_nor_refused(rig, event):
    first, second, batch = rig.batch(2), rig.batch(), rig.batch()
    rig.enter(batch, (first, 0), (first, 1), (second, 0))
    batch.move(0, 1, JobEvent.CANCEL)
    rig.end(first, 0, event)
    rig.end(second)
    rig.end(first, 1)
    rig.clock.advance(1.0)
    assert not rig.released
    assert not rig.refused
    assert not rig.met
    assert not first.on_piece
    assert not second.on_piece


def test_a_delay_begins_when_those_have_ended_that_it_comes_after(rig):
    first, batch = rig.batch(), rig.batch(2, delay=5.0)
    rig.enter(batch, (first, 0))
    rig.clock.advance(20.0)
    rig.end(first)
    assert batch.counts() == {"delayed": 2}
    assert rig.room.held("default") == 2
    rig.clock.advance(4.9)
    assert not rig.released
    rig.clock.advance(0.1)
    assert rig.released == [(batch, 2)]


@pytest.mark.parametrize("event", [JobEvent.SUCCEED, JobEvent.FAIL])
def test_nobody_is_listened_to_any_longer_than_needed(rig, event):
    first, second = rig.batch(3), rig.batch(2)
    waiting = [rig.batch() for _ in range(5)]
    for batch in waiting:
        rig.enter(batch, (first, 0), (first, 2), (second, 1))
    rig.clock.advance(0.0)
    rig.end(second, 1, event)
    assert not second.on_piece
    rig.end(first, 0)
    rig.end(first, 2)
    assert not first.on_piece
    assert len(rig.released) == (5 if event is JobEvent.SUCCEED else 0)
    assert len(rig.refused) == (0 if event is JobEvent.SUCCEED else 5)
