"""When jobs run: delays, appointments, dependencies, tags, slots, pauses and drains; on a real daemon."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tests.conftest import StartDaemon
from tests.daemons import wait_until
from tests.farms import Farm, make_farm
from tests.peers import Peer


@pytest.fixture
def farm(start_daemon: StartDaemon, short_path: Path) -> Farm:
    """Two workers."""
    return make_farm(start_daemon, short_path / "home")


@pytest.fixture
def single(start_daemon: StartDaemon, short_path: Path) -> Farm:
    """One worker."""
    return make_farm(start_daemon, short_path / "home", workers=1)


# --- their time


def test_a_delayed_job_is_delayed_until_its_time_and_then_runs(farm: Farm):
    job = farm.submit("square", 3, delay=0.5)
    [entry] = farm.daemon.result("jobs", ids=[job])["jobs"]
    assert entry["state"] == "delayed"
    assert entry["due"] > entry["submitted"]
    ended = farm.ended(job)
    assert ended["value"] == 9
    assert ended["started"] >= entry["due"] - 0.01


def test_a_job_with_an_appointment_keeps_it(farm: Farm):
    at = time.time() + 0.4
    job = farm.submit("square", 3, at=at)
    assert farm.state(job) == "delayed"
    assert farm.ended(job)["started"] >= at - 0.01


def test_a_batch_can_be_delayed_as_one(farm: Farm):
    jobs = farm.submit_many("square", [[x] for x in range(50)], delay=0.2)
    assert {farm.state(job) for job in jobs} == {"delayed"}
    assert farm.values(jobs) == [x * x for x in range(50)]


def test_a_delayed_job_can_be_cancelled(farm: Farm):
    job = farm.submit("square", 3, delay=3600)
    assert farm.daemon.result("cancel", ids=[job])["cancelled"] == [job]
    assert farm.state(job) == "cancelled"
    assert farm.daemon.result("status")["pools"][0]["held"] == 0


def test_delay_and_at_together_are_refused(farm: Farm):
    error = farm.daemon.error(
        "submit", jobs=[{"call": {"function": "work:square", "args": [1]}, "delay": 1, "at": time.time()}]
    )
    assert error["code"] == "invalid-params"
    assert "both delay and at" in error["message"]


# --- what they come after


def test_a_job_waits_for_those_that_it_comes_after(farm: Farm):
    first = farm.submit("marked", farm.path("first"), farm.path("go"), 7)
    second = farm.submit("square", 2, after=[first])
    farm.wait_for_marks("first")
    [entry] = farm.daemon.result("jobs", ids=[second])["jobs"]
    assert entry["state"] == "waiting"
    assert entry["after"] == [first]
    farm.go()
    assert farm.ended(second)["value"] == 4
    assert farm.ended(second)["started"] >= farm.ended(first)["ended"]


def test_a_job_whose_predecessor_failed_fails_unrun(farm: Farm):
    bad = farm.submit("fails", "no")
    after = farm.ended(farm.submit("appends", farm.path("ran"), "x", after=[bad]))
    assert after["state"] == "failed"
    assert after["error"]["code"] == "dependency-failed"
    assert str(bad) in after["error"]["message"]
    assert not Path(farm.path("ran")).exists()


def test_a_job_can_come_after_whatever_end_its_predecessor_has(farm: Farm):
    bad = farm.submit("fails", "no")
    assert farm.ended(farm.submit("square", 5, after=[bad], after_end="any"))["value"] == 25


def test_a_job_can_come_after_one_that_has_ended_long_ago(farm: Farm):
    done = farm.submit("square", 2)
    farm.ended(done)
    assert farm.ended(farm.submit("square", 3, after=[done]))["value"] == 9


def test_entries_of_one_request_can_come_after_each_other_by_number_and_by_key(farm: Farm):
    call = {"function": "work:appends", "args": [farm.path("order")]}
    specs = [
        {"call": {**call, "args": [*call["args"], "c"]}, "after": ["#1", "b"]},
        {"call": {**call, "args": [*call["args"], "a"]}},
        {"call": {**call, "args": [*call["args"], "b"]}, "after": ["#1"], "key": "b"},
    ]
    jobs = [entry["id"] for entry in farm.daemon.result("submit", jobs=specs)["jobs"]]
    farm.all_ended(jobs)
    assert Path(farm.path("order")).read_text() == "abc"


@pytest.mark.parametrize(
    ("after", "circle"),
    [([["#0"]], "#0 → #0"), ([["#1"], ["#2"], ["#0"]], "#0 → #1 → #2 → #0")],
)
def test_entries_that_wait_for_each_other_in_a_circle_are_refused_with_the_circle(farm: Farm, after, circle):
    specs = [{"call": {"function": "work:square", "args": [1]}, "after": names} for names in after]
    error = farm.daemon.error("submit", jobs=specs)
    assert error["code"] == "invalid-params"
    assert circle in error["message"]


@pytest.mark.parametrize(
    ("after", "code"), [([999_999], "no-such-job"), (["nobody"], "no-such-job"), (["#7"], "invalid-params")]
)
def test_coming_after_what_is_not_there_is_refused(farm: Farm, after, code):
    specs = [{"call": {"function": "work:square", "args": [1]}, "after": after}]
    assert farm.daemon.error("submit", jobs=specs)["code"] == code


def test_a_delay_begins_when_the_predecessors_have_ended(farm: Farm):
    first = farm.submit("square", 2)
    second = farm.ended(farm.submit("square", 3, after=[first], delay=0.3))
    assert second["started"] >= farm.ended(first)["ended"] + 0.28


# --- how many at a time


def test_no_more_jobs_with_a_tag_run_at_a_time_than_its_limit_in_all_pools_together(farm: Farm):
    farm.daemon.result("limit", tag="db", most=1)
    farm.daemon.result("start", kind="pool", name="other", workers=1)
    jobs = [
        job
        for pool in ("default", "other")
        for job in farm.submit_many("gathers", [[farm.path("crowd"), 1]] * 15, tags=["db"], pool=pool)
    ]
    assert farm.values(jobs) == [1] * 30


def test_jobs_without_the_tag_pass_those_by_that_are_held_up(farm: Farm):
    farm.daemon.result("limit", tag="db", most=1)
    holding = farm.submit("marked", farm.path("holding"), farm.path("go"), tags=["db"])
    held = farm.submit("square", 2, tags=["db"])
    farm.wait_for_marks("holding")
    assert farm.ended(farm.submit("square", 3))["value"] == 9
    assert farm.state(held) == "queued"
    farm.go()
    assert farm.ended(held)["value"] == 4
    assert farm.ended(holding)["state"] == "done"


def test_a_limit_is_lifted_while_jobs_wait_for_it(farm: Farm):
    assert farm.daemon.result("limit", tag="db", most=0) == {"limits": {"db": 0}}
    job = farm.submit("square", 2, tags=["db", "slow"])
    assert farm.ended(farm.submit("square", 3))["value"] == 9
    assert farm.state(job) == "queued"
    assert farm.daemon.result("limit", tag="db", most=None) == {"limits": {}}
    assert farm.ended(job)["value"] == 4
    listed = farm.daemon.result("jobs", tags=["slow"])["jobs"]
    assert [entry["id"] for entry in listed] == [job]


def test_limits_of_tags_stand_in_the_configuration(start_daemon: StartDaemon, short_path: Path):
    farm = make_farm(start_daemon, short_path / "home", limits="[tag.db]\nmost = 0")
    assert farm.daemon.result("limit") == {"limits": {"db": 0}}


def test_a_job_with_slots_takes_the_place_of_as_many_workers(farm: Farm):
    wide = farm.submit("marked", farm.path("wide"), farm.path("go"), slots=2)
    farm.wait_for_marks("wide")
    narrow = farm.submit("square", 3)
    assert farm.state(narrow) == "queued"
    states = sorted(worker["state"] for worker in farm.daemon.workers())
    assert states == ["busy", "idle"]
    farm.go()
    assert farm.ended(narrow)["value"] == 9
    assert farm.ended(wide)["state"] == "done"


def test_a_job_with_slots_is_not_starved_by_a_stream_of_small_ones(farm: Farm):
    stream = farm.submit_many("spends", [[0.005, 1]] * 300)
    wide = farm.submit("square", 4, slots=2, priority=1)
    assert farm.ended(wide)["value"] == 16
    assert farm.ended(stream[-1])["state"] == "done"
    assert farm.ended(stream[-1])["ended"] > farm.ended(wide)["ended"]


def test_more_slots_than_there_are_workers_are_refused(farm: Farm):
    error = farm.daemon.error("submit", jobs=[{"call": {"function": "work:square", "args": [1]}, "slots": 3}])
    assert error["code"] == "invalid-params"
    assert "3 slots" in error["message"]


def test_a_session_s_own_bound_holds(farm: Farm):
    with Peer(farm.daemon.endpoint) as peer:
        peer.post("hello", most=1, pid=os.getpid())
        assert "result" in peer.receive()[0]
        spec = {"call": {"function": "work:gathers", "many": [[farm.path("mine"), 1]] * 20}}
        peer.post("submit", jobs=[spec], wait=30)
        reply, _ = peer.receive()
    assert {entry["value"] for entry in reply["result"]["jobs"]} == {1}


# --- holding back


def test_a_drained_pool_takes_nothing_new_and_says_when_it_is_empty(farm: Farm):
    running = farm.submit("marked", farm.path("running"), farm.path("go"))
    farm.wait_for_marks("running")
    assert farm.daemon.result("drain", timeout=0.01) == {"name": "default", "left": 1}
    error = farm.daemon.error("submit", jobs=[{"call": {"function": "work:square", "args": [1]}}])
    assert (error["code"], error["retryable"]) == ("pool-draining", True)
    farm.go()
    assert farm.daemon.result("drain") == {"name": "default", "left": 0}
    assert farm.ended(running)["state"] == "done"
    farm.daemon.result("set", name="default", paused=False)
    assert farm.run("square", 3)["value"] == 9


def test_a_drain_waits_for_delayed_jobs_too(farm: Farm):
    job = farm.submit("square", 2, delay=0.3)
    assert farm.daemon.result("drain", timeout=0.01)["left"] == 1
    assert farm.daemon.result("drain")["left"] == 0
    assert farm.state(job) == "done"


def test_the_higher_priority_is_picked_first(single: Farm):
    single.submit("marked", single.path("busy"), single.path("go"))
    single.wait_for_marks("busy")
    jobs = [single.submit("appends", single.path("order"), str(p), priority=p) for p in (0, 5, -5, 9)]
    single.go()
    single.all_ended(jobs)
    assert Path(single.path("order")).read_text() == "950-5"


def test_jobs_are_listed_by_state_tag_pool_and_age(farm: Farm):
    done = farm.submit("square", 1, tags=["a", "b"])
    farm.ended(done)
    held = farm.submit("square", 1, tags=["a"], delay=3600)

    def listed(**which):
        return [entry["id"] for entry in farm.daemon.result("jobs", **which)["jobs"]]

    assert listed(tags=["a"]) == [done, held]
    assert listed(tags=["a", "b"]) == [done]
    assert listed(states=["delayed"]) == [held]
    assert listed(newer=3600) == [done, held]
    assert listed(older=3600) == []
    assert listed(pool="default", states=["done"]) == [done]
    wait_until(lambda: listed(older=0.05) == [done, held])
