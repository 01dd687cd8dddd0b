"""When a job is tried again, and how long after."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.protocol.states import ENDED_JOB_STATES, JobState
from stokerd.pool.options import PLAIN, RETRIED_STATES, Options

CLASSES = ("package.errors.Shut", "package.errors.Down", "builtins.OSError", "builtins.Exception")
NEVER = sorted(set(JobState) - set(RETRIED_STATES))


@pytest.mark.parametrize("state", RETRIED_STATES)
def test_without_a_choice_every_kind_of_failure_is_tried_again(state: JobState):
    assert Options(retries=1).tries_again(1, state, ())


@pytest.mark.parametrize("state", NEVER)
@pytest.mark.parametrize("retry_on", [(), ("failed",), ("OSError",), tuple(map(str, JobState))])
def test_what_did_not_fail_is_never_tried_again(state: JobState, retry_on: tuple[str, ...]):
    assert not Options(retries=9, retry_on=retry_on).tries_again(1, state, CLASSES)


def test_a_job_that_was_cancelled_or_quarantined_has_ended_for_good():
    assert {JobState.CANCELLED, JobState.QUARANTINED, JobState.DONE} <= set(NEVER)
    assert set(RETRIED_STATES) <= ENDED_JOB_STATES


@pytest.mark.parametrize("state", RETRIED_STATES)
@pytest.mark.parametrize("wanted", RETRIED_STATES)
def test_only_the_kinds_that_are_named_are_tried_again(state: JobState, wanted: JobState):
    assert Options(retries=1, retry_on=(str(wanted),)).tries_again(1, state, ()) == (state is wanted)


@pytest.mark.parametrize("wanted", ["package.errors.Shut", "Shut", "builtins.OSError", "OSError", "Exception"])
def test_an_exception_is_met_by_its_name_or_a_base_s_plain_or_qualified(wanted: str):
    assert Options(retries=1, retry_on=("ValueError", wanted)).tries_again(1, JobState.FAILED, CLASSES)


@pytest.mark.parametrize("wanted", ["ValueError", "other.Shut", "errors.Shut", "shut", "builtins.Shut"])
def test_an_exception_of_another_class_is_not_met(wanted: str):
    assert not Options(retries=1, retry_on=(wanted,)).tries_again(1, JobState.FAILED, CLASSES)


def test_a_command_that_failed_has_no_class_and_is_met_by_its_kind_alone():
    assert not Options(retries=1, retry_on=("OSError",)).tries_again(1, JobState.FAILED, ())
    assert Options(retries=1, retry_on=("OSError", "failed")).tries_again(1, JobState.FAILED, ())


def test_an_exception_class_called_like_a_kind_of_failure_is_not_meant_by_it():
    assert not Options(retries=1, retry_on=("timed-out",)).tries_again(1, JobState.FAILED, ("odd.timed-out",))


@given(st.integers(0, 50), st.integers(1, 100), st.sampled_from(RETRIED_STATES))
def test_there_are_never_more_attempts_than_were_asked_for(retries: int, attempt: int, state: JobState):
    assert Options(retries=retries).tries_again(attempt, state, ()) == (attempt <= retries)


def test_most_jobs_are_tried_once():
    assert not any(PLAIN.tries_again(1, state, CLASSES) for state in JobState)


@given(st.floats(0, 1000), st.floats(0, 1000), st.integers(1, 1001))
def test_the_pause_is_doubled_up_to_the_most(backoff: float, most: float, attempt: int):
    options = Options(retries=1000, backoff=backoff, backoff_most=most)
    pause = options.pause_after(attempt)
    assert 0 <= pause <= most
    assert options.pause_after(1) == min(backoff, most)
    assert options.pause_after(attempt + 1) == min(2 * pause, most) or attempt > 64
