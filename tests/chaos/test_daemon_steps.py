"""SIGKILL of the daemon at every step of a durable job: what was promised of it is kept, to the letter.

A client that had no answer submits again with the same key, as clients do.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.houses import STANDING, Build, House
from tests.daemons import wait_until
from tests.peers import Peer

NOTHING_DONE = ("accept", "accept-commit", "accept-committed", "dispatch", "dispatch-commit", "dispatch-committed")
"""The job has not begun when the daemon dies."""
ALL_DONE = ("complete", "complete-commit")
"""It has run to its end, and nobody has been told."""


def standing(home: Path, step: str) -> tuple[str, ...]:
    """What becomes a daemon that stands at the step."""
    return (sys.executable, str(STANDING), step, str(home / "stands"))


def built(build: Build, step: str, workers: int = 1) -> House:
    """A house whose first daemon stands at the step."""
    return build(workers=workers, program=lambda home: standing(home, step))


def spec(house: House, **options: Any) -> dict[str, Any]:
    call = {"function": "deeds:writes_line", "args": [house.path("lines"), 7]}
    return {"call": call, "key": "once", "durable": True, **options}


def killed_there(house: House, specs: list[dict[str, Any]]) -> int | None:
    """Submit the jobs, and kill the daemon when it stands at its step; the first id, if there was an answer by then."""
    with Peer(house.daemon.endpoint) as peer:
        peer.post("submit", jobs=specs)
        house.wait_for_file("stands")
        house.die()
        answered = peer.socket.poll(0)
        return peer.receive()[0]["result"]["jobs"][0]["id"] if answered else None


def once_more(house: House, **options: Any) -> dict[str, Any]:
    """The job's end, as who submits it again with the same key has it."""
    return house.ended(house.submit_spec(spec(house, **options)))


@pytest.mark.parametrize("step", NOTHING_DONE)
def test_a_job_that_had_not_begun_is_run_once_whatever_its_policy(build: Build, step: str):
    house = built(build, step)
    specs = [spec(house, key=policy, on_crash=policy) for policy in ("fail", "requeue")]
    acknowledged = killed_there(house, specs)
    assert house.lines("lines") == []
    house.again()
    jobs = house.daemon.result("submit", jobs=specs)["jobs"]
    assert acknowledged in (None, jobs[0]["id"])
    for job in jobs:
        entry = house.ended(job["id"])
        assert (entry["state"], entry["value"], entry["attempt"]) == ("done", 49, 1)
        assert "attempts" not in entry
    assert house.lines("lines") == [7, 7]


def test_what_is_on_disk_is_run_though_nobody_was_told_and_nobody_asks_again(build: Build):
    house = built(build, "accept-committed")
    assert killed_there(house, [spec(house)]) is None
    house.again()
    wait_until(lambda: house.lines("lines") == [7])
    (entry,) = house.daemon.result("jobs", keys=["once"])["jobs"]
    assert house.ended(entry["id"])["value"] == 49


@pytest.mark.parametrize("step", ["accept", "accept-commit"])
def test_what_was_not_acknowledged_and_is_not_on_disk_is_nowhere(build: Build, step: str):
    house = built(build, step)
    assert killed_there(house, [spec(house)]) is None
    house.again()
    assert house.daemon.result("jobs")["jobs"] == []
    assert house.daemon.error("jobs", keys=["once"])["code"] == "no-such-job"


@pytest.mark.parametrize("step", ALL_DONE)
def test_a_job_whose_end_was_not_on_disk_is_lost_where_it_may_run_only_once(build: Build, step: str):
    house = built(build, step)
    killed_there(house, [spec(house)])
    house.again()
    entry = once_more(house)
    assert (entry["state"], entry["error"]["code"]) == ("lost-with-daemon", "lost-with-daemon")
    assert house.lines("lines") == [7]


@pytest.mark.parametrize("step", ALL_DONE)
def test_a_job_whose_end_was_not_on_disk_runs_again_where_it_may(build: Build, step: str):
    house = built(build, step)
    killed_there(house, [spec(house, on_crash="requeue")])
    house.again()
    entry = once_more(house, on_crash="requeue")
    assert (entry["state"], entry["value"], entry["attempt"]) == ("done", 49, 2)
    assert [attempt["state"] for attempt in entry["attempts"]] == ["lost-with-daemon"]
    assert house.lines("lines") == [7, 7]


@pytest.mark.parametrize("policy", ["fail", "requeue"])
def test_a_job_whose_end_was_on_disk_has_ended_though_nobody_was_told(build: Build, policy: str):
    house = built(build, "complete-committed")
    killed_there(house, [spec(house, on_crash=policy)])
    house.again()
    entry = once_more(house, on_crash=policy)
    assert (entry["state"], entry["value"], entry["attempt"]) == ("done", 49, 1)
    assert house.lines("lines") == [7]


@pytest.mark.parametrize(("policy", "state", "lines"), [("fail", "lost-with-daemon", 1), ("requeue", "done", 2)])
def test_a_job_that_ran_when_the_daemon_died_ends_by_its_policy(build: Build, policy: str, state: str, lines: int):
    house = build()
    job = house.deed("writes_line_and_waits", house.path("lines"), 5, house.path("go"), durable=True, on_crash=policy)
    wait_until(lambda: house.lines("lines") == [5])
    house.die()
    house.go()
    house.again()
    entry = house.ended(job)
    assert (entry["state"], entry["attempt"]) == (state, lines)
    assert house.lines("lines") == [5] * lines


def test_an_idle_daemon_s_death_costs_nothing(build: Build):
    house = build()
    done = house.deed("writes_line", house.path("lines"), 3, durable=True)
    before = house.ended(done)
    house.die()
    house.again()
    after = house.ended(done)
    assert after == before | {"session": after["session"]}
    assert house.lines("lines") == [3]


def test_a_job_that_stood_behind_the_one_that_ran_has_not_begun(build: Build):
    house = build(workers=1)
    house.all_ended(
        house.submit_many("blocks_at", [[x, -1, "", ""] for x in range(200)])
    )  # now they are known as quick
    batch = [[x, 5, house.path("at"), house.path("never")] for x in range(40)]
    jobs = house.submit_many("blocks_at", batch, durable=True)
    wait_until(lambda: bool(list(house.home.glob("at.*"))))
    house.die()
    house.again()
    states = [entry["state"] for entry in house.all_ended(jobs)]
    assert states[5] == "lost-with-daemon"
    assert states[6:] == ["done"] * 34
    assert set(states[:5]) <= {"done", "lost-with-daemon"}  # those whose end was not on disk yet
    assert [house.ended(job)["value"] for job in jobs[6:]] == list(range(7, 41))


@pytest.mark.parametrize("step", ["complete-commit", "again-commit"])
def test_a_job_that_killed_its_worker_has_begun_though_its_end_was_not_on_disk(build: Build, step: str):
    house = built(build, step)
    retries = 1 if step == "again-commit" else 0
    call = {"function": "deeds:dies_and_tells", "args": [house.path("lines")]}
    one = {"call": call, "key": "kills", "durable": True, "retries": retries, "retry_on": ["worker-died"]}
    with Peer(house.daemon.endpoint) as peer:
        peer.post("submit", jobs=[one])
        house.wait_for_file("stands")
        house.daemon.wait_for_workers(1)  # the dead one has been replaced, and is forgotten
        house.die()
    house.again()
    entry = house.ended(house.submit_spec(one))
    assert entry["state"] == "lost-with-daemon"
    assert len(house.lines("lines")) == 1


def test_the_daemon_that_dies_with_the_same_job_again_and_again_gives_it_up(build: Build):
    house = build(workers=1, more="quarantine = 2")
    job = house.deed(
        "writes_line_and_waits", house.path("lines"), 5, house.path("never"), durable=True, on_crash="requeue"
    )
    for times in (1, 2):
        wait_until(lambda times=times: len(house.lines("lines")) == times)  # type: ignore[misc]
        house.die()
        house.again()
    entry = house.ended(job)
    assert (entry["state"], entry["attempt"]) == ("quarantined", 2)
    assert house.lines("lines") == [5, 5]
    assert house.run("square", 4)["value"] == 16
