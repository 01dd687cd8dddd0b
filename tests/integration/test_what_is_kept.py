"""What is durable: across SIGKILL and SIGTERM of the daemon, by state directory, on a real disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import StartDaemon
from tests.daemons import wait_until
from tests.farms import Farm, make_farm

Again = Callable[[], Farm]


@pytest.fixture
def house(start_daemon: StartDaemon, short_path: Path) -> Callable[..., Farm]:
    """Makes a farm in the same state directory each time."""

    def make(**options) -> Farm:
        daemon_of = lambda **rest: start_daemon(directory=short_path / "d", **rest)  # noqa: E731 - as make_farm wants it
        return make_farm(daemon_of, short_path / "home", **options)

    return make


def test_what_was_queued_is_queued_after_sigkill_and_runs_once(house: Callable[..., Farm]):
    farm = house(workers=1)
    running = farm.submit("marked", farm.path("mark"), farm.path("never"), durable=True)
    farm.wait_for_marks("mark")
    queued = [farm.submit("appends", farm.path("ran"), f"{number};", durable=True) for number in range(20)]
    fleeting = farm.submit("appends", farm.path("fleeting"), "x")
    farm.daemon.kill()
    farm = house(workers=1)
    assert {entry["state"] for entry in farm.all_ended(queued)} == {"done"}
    assert Path(farm.path("ran")).read_text() == "".join(f"{number};" for number in range(20))
    lost = farm.ended(running)
    assert lost["state"] == "lost-with-daemon"
    assert lost["error"]["code"] == "lost-with-daemon"
    assert lost["error"]["message"].endswith("and the job was not to be run twice")
    assert farm.daemon.error("result", id=fleeting)["code"] == "no-such-job"
    assert not Path(farm.path("fleeting")).exists()


def test_what_ran_is_run_again_where_that_was_asked_for(house: Callable[..., Farm]):
    farm = house(workers=1)
    job = farm.submit("marked", farm.path("mark"), farm.path("go"), 5, durable=True, on_crash="requeue")
    farm.wait_for_marks("mark")
    farm.daemon.kill()
    farm = house(workers=1)
    farm.wait_for_marks("mark", 2)
    farm.go()
    ended = farm.ended(job)
    assert (ended["value"], ended["attempt"]) == (5, 2)
    assert [entry["state"] for entry in ended["attempts"]] == ["lost-with-daemon"]
    assert ended["attempts"][0]["message"] == f"the daemon died while job {job} ran"


def test_what_a_worker_held_and_had_not_begun_with_is_queued_again(house: Callable[..., Farm]):
    farm = house(workers=1)
    farm.all_ended(farm.submit_many("blocks_at", [[x, -1, "", ""] for x in range(200)]))  # quick, so that many are held
    jobs = farm.submit_many(
        "blocks_at", [[x, 0, farm.path("mark"), farm.path("never")] for x in range(50)], durable=True
    )
    farm.wait_for_marks("mark")
    farm.daemon.kill()
    farm = house(workers=1)
    states = [entry["state"] for entry in farm.all_ended(jobs)]
    assert states == ["lost-with-daemon"] + ["done"] * 49


def test_values_errors_and_output_are_there_after_a_restart(house: Callable[..., Farm]):
    farm = house()
    value = farm.submit("large", 300_000, durable=True)
    bad = farm.submit("fails", "so bad", durable=True)
    wrote = farm.submit("writes", 7, durable=True)
    farm.all_ended([value, bad, wrote])
    told = farm.ended(bad)
    farm.daemon.kill()
    farm = house()
    assert farm.ended(value)["value"] == b"v" * 300_000
    again = farm.ended(bad)
    assert again["error"]["message"] == "so bad"
    assert "Traceback" in again["error"]["traceback"]
    assert {name: again[name] for name in ("started", "ended", "worker")} == {
        name: told[name] for name in ("started", "ended", "worker")
    }
    assert farm.logs(wrote) == (b"print 7\nwrite 7\nchild 7\n", b"error 7\n") or b"child 7" in farm.logs(wrote)[0]


def test_commands_are_durable_by_default_and_calls_are_not(house: Callable[..., Farm]):
    farm = house()
    command, call = farm.command("true"), farm.submit("square", 2)
    kept = {entry["id"]: entry.get("durable", False) for entry in farm.all_ended([command, call])}
    assert kept == {command: True, call: False}
    assert farm.ended(farm.command("true", durable=False)).get("durable", False) is False


def test_ids_are_never_given_out_twice(house: Callable[..., Farm]):
    farm = house()
    before = [farm.command("true"), farm.submit("square", 2), farm.submit("square", 3)]
    farm.all_ended(before)
    farm.daemon.kill()
    farm = house()
    assert farm.submit("square", 4) > max(before)


def test_a_key_has_the_same_job_back_however_often_and_across_restarts(house: Callable[..., Farm]):
    farm = house()
    first = farm.submit("appends", farm.path("ran"), "x", key="once")
    assert farm.submit("appends", farm.path("ran"), "x", key="once") == first
    farm.ended(first)
    assert farm.submit("appends", farm.path("ran"), "x", key="once") == first
    farm.daemon.kill()
    farm = house()
    assert farm.submit("appends", farm.path("ran"), "x", key="once") == first
    assert farm.ended(first)["state"] == "done"
    assert Path(farm.path("ran")).read_text() == "x"
    [entry] = farm.daemon.result("jobs", keys=["once"])["jobs"]
    assert entry["id"] == first


def test_a_key_that_belongs_to_something_else_is_refused(house: Callable[..., Farm]):
    farm = house()
    farm.submit("square", 2, key="mine")
    error = farm.daemon.error("submit", jobs=[{"command": {"argv": ["true"]}, "key": "mine"}])
    assert error["code"] == "invalid-params"
    assert "belongs to job" in error["message"]


def test_delays_dependencies_and_retries_go_on_after_a_restart(house: Callable[..., Farm]):
    farm = house(workers=1)
    first = farm.submit("square", 2, durable=True)
    farm.ended(first)
    blocked = farm.submit("marked", farm.path("mark"), farm.path("go"), 1, durable=True, on_crash="requeue")
    after = farm.submit("square", 3, after=[first, blocked], durable=True)
    delayed = farm.submit("square", 4, delay=1.0, durable=True)
    farm.wait_for_marks("mark")
    trying = farm.submit("counts_down", farm.path("calls"), 1, durable=True, retries=3, backoff=0.5)
    farm.daemon.kill()
    farm = house(workers=1)
    assert farm.state(after) == "waiting"
    farm.go()
    assert [entry["state"] for entry in farm.all_ended([blocked, after, delayed, trying])] == ["done"] * 4
    assert farm.ended(after)["started"] >= farm.ended(blocked)["ended"]
    assert farm.ended(trying)["attempt"] == 2


def test_a_daemon_that_is_told_to_end_keeps_what_was_not_started(house: Callable[..., Farm]):
    farm = house(workers=1)
    running = farm.submit("marked", farm.path("mark"), farm.path("go"), 3, durable=True)
    farm.wait_for_marks("mark")
    queued = farm.submit("square", 6, durable=True)
    farm.go()
    assert farm.daemon.stop() == 0
    farm = house(workers=1)
    assert farm.ended(running)["state"] == "done"
    assert farm.ended(queued)["value"] == 36


def test_results_are_pruned_when_their_time_is_over_on_disk_too(house: Callable[..., Farm]):
    farm = house()
    short = farm.submit("square", 2, durable=True, ttl=0.2)
    long = farm.submit("square", 3, durable=True)
    farm.all_ended([short, long])
    wait_until(lambda: "value" not in farm.daemon.result("result", id=short, timeout=1)["job"])
    farm.daemon.stop()
    farm = house()
    assert farm.daemon.error("result", id=short)["code"] == "no-such-job"
    assert farm.ended(long)["value"] == 9


def test_a_daemon_that_keeps_nothing_says_so_and_does_not_pretend(house: Callable[..., Farm]):
    farm = house(limits="[store]\nenabled = false")
    error = farm.daemon.error("submit", jobs=[{"call": {"function": "work:square", "args": [1]}, "durable": True}])
    assert error["code"] == "unavailable"
    assert farm.ended(farm.command("true")).get("durable", False) is False
    assert farm.daemon.result("status")["daemon"]["store"] == "off"


def test_a_pool_is_there_again_as_long_as_jobs_wait_in_it_and_no_longer(house: Callable[..., Farm]):
    farm = house(workers=1)
    for name in ("small", "over"):
        farm.daemon.result("start", kind="pool", name=name, workers=1)
    failed = farm.submit("fails", "no", pool="over", durable=True)
    farm.ended(failed)
    waiting = farm.submit("square", 4, pool="small", durable=True, delay=3600)
    farm.daemon.kill()
    farm = house(workers=1)
    assert {pool["name"] for pool in farm.daemon.result("status")["pools"]} == {"default", "small"}
    assert (farm.state(waiting), farm.state(failed)) == ("delayed", "failed")
    error = farm.daemon.error("retry", ids=[failed])
    assert "'over'" in error["message"]
    farm.daemon.result("start", kind="pool", name="over", workers=1)
    farm.daemon.result("retry", ids=[failed])
    assert farm.ended(failed)["attempt"] == 2


def test_two_daemons_on_one_state_directory_are_refused(house: Callable[..., Farm], start_daemon: StartDaemon):
    farm = house()
    state = str(farm.daemon.directory / "state")
    second = start_daemon("--state-dir", state, directory=farm.home / "2")
    assert second.process.wait(30) != 0
    assert "state" in second.log or "store" in second.log
    assert farm.run("square", 2)["value"] == 4


def test_a_job_is_acknowledged_and_answered_with_its_value_in_one_request(house: Callable[..., Farm]):
    farm = house()
    began = time.time()
    reply = farm.daemon.result(
        "submit", jobs=[{"call": {"function": "work:square", "args": [9]}, "durable": True}], wait=30
    )
    [entry] = reply["jobs"]
    assert entry["value"] == 81
    assert began <= entry["submitted"] <= entry["started"] <= entry["ended"]
