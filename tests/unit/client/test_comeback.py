"""What is asked again of a daemon that went away, and for how long."""

from __future__ import annotations

import pytest

from stoker.comeback import LONGEST_PAUSE, POINTLESS, TWICE, Comeback, keyed, patience_of, repeatable
from stoker.errors import DaemonLost, InvalidParams, NobodyListening, NoSuchJob, NoSuchPool, ShuttingDown
from stoker.protocol.methods import METHODS

LOST, AWAY, STOPPING = DaemonLost("gone"), NobodyListening("nobody"), ShuttingDown("stopping")


def test_every_method_that_may_be_asked_twice_exists():
    assert set(METHODS) >= TWICE | POINTLESS


def test_what_makes_something_is_never_asked_twice():
    assert not TWICE & {"start", "submit", "retry", "signal", "upload", "queue.put", "queue.get", "lock.acquire"}


def test_a_submit_may_be_repeated_if_each_of_its_jobs_has_a_key():
    assert repeatable("submit", {"jobs": [{"key": "a"}, {"key": "b"}]})
    assert not repeatable("submit", {"jobs": [{"key": "a"}, {}]})
    assert not repeatable("submit", {"jobs": []})
    assert not repeatable("submit", {"jobs": [{"key": "a"}], "stream": True})


@pytest.mark.parametrize("spec", [{"durable": True}, {"durable": "if-possible"}, {"command": {"argv": ["true"]}}])
def test_a_job_that_outlives_the_daemon_gets_a_key_of_its_own(spec):
    first, second = keyed(spec), keyed(spec)
    assert first["key"] != second["key"]
    assert first | spec == first


@pytest.mark.parametrize("spec", [{}, {"durable": False, "command": {}}, {"durable": True, "key": "mine"}])
def test_other_jobs_are_left_as_they_are(spec):
    assert keyed(spec) is spec


def test_pauses_grow_to_a_bound_and_end_in_time():
    comeback, now, pauses = Comeback("ping", {}, until=10.0), 0.0, []
    while (pause := comeback.pause(AWAY, now, left=False)) is not None:
        pauses.append(pause)
        now += pause
    assert now == pytest.approx(10.0)
    assert pauses[:-1] == sorted(pauses[:-1])
    assert max(pauses) == LONGEST_PAUSE


def test_what_may_have_been_done_is_not_asked_again_and_what_has_not_left_is():
    assert Comeback("start", {}, until=10.0).pause(LOST, 0.0, left=True) is None
    assert Comeback("start", {}, until=10.0).pause(AWAY, 0.0, left=False)
    assert Comeback("queue.ack", {}, until=10.0).pause(AWAY, 0.0, left=False) is None
    assert Comeback("result", {}, until=10.0).pause(STOPPING, 0.0, left=True)


def test_a_job_that_the_next_daemon_does_not_know_was_lost_with_the_last_one():
    comeback = Comeback("result", {"id": 5}, until=10.0)
    unknown = NoSuchJob("there is no job 5")
    assert comeback.verdict(unknown) is unknown
    comeback.pause(LOST, 0.0, left=True)
    assert isinstance(comeback.verdict(unknown), DaemonLost)
    other = NoSuchPool("no such pool")
    still = Comeback("set", {}, until=10.0)
    still.pause(LOST, 0.0, left=True)
    assert still.verdict(other) is other


def test_the_environment_says_how_long_in_seconds():
    assert patience_of({}) is None
    assert patience_of({"STOKER_RECONNECT": "0"}) == 0
    for wrong in ("soon", "-1", "nan", "1e9"):
        with pytest.raises(InvalidParams, match="STOKER_RECONNECT"):
            patience_of({"STOKER_RECONNECT": wrong})
