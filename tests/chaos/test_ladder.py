"""Jobs that are ended: the one that is meant, and no other; and jobs that end their workers."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from tests.chaos.houses import Build, House
from tests.daemons import DEADLINE, wait_until
from tests.peers import Peer

AT, COUNT = 20, 60


def batch(house: House, *, deaf: bool, **options: Any) -> tuple[list[int], int]:
    """Sixty jobs of a function that is known as quick, of which one does not end; the ids, and who runs that one."""
    house.all_ended(house.submit_many("deeds:prints", [[x, -1, "", deaf] for x in range(50)]))
    jobs = house.submit_many("deeds:prints", [[x, AT, house.path("at"), deaf] for x in range(COUNT)], **options)
    (pid,) = house.wait_for_marks("at")
    return jobs, pid


def check_neighbours(house: House, jobs: list[int]) -> None:
    """All but the victim ended well, at the first attempt, with their own value and nobody else's output."""
    for number, job in enumerate(jobs):
        if number != AT:
            entry = house.ended(job)
            assert (entry["state"], entry["value"], entry["attempt"]) == ("done", number, 1)
            assert house.logs(job)[0] == f"job {number}\n".encode()


@pytest.mark.parametrize("deaf", [False, True])
def test_a_cancel_hits_the_job_that_runs_and_not_those_behind_it(build: Build, *, deaf: bool):
    house = build(workers=1)
    jobs, pid = batch(house, deaf=deaf)
    assert house.daemon.result("cancel", ids=[jobs[AT]], grace=0.05)["cancelled"] == [jobs[AT]]
    victim = house.ended(jobs[AT])
    assert (victim["state"], victim["error"]["code"]) == ("cancelled", "job-cancelled")
    assert house.logs(jobs[AT])[0].startswith(f"job {AT}\n".encode())
    check_neighbours(house, jobs)
    survived = pid in house.pids()
    assert survived is not deaf  # the first rung does where it is heard, and costs no worker


def test_a_time_limit_hits_the_job_that_runs_and_not_those_behind_it(build: Build):
    house = build(workers=1)
    jobs, _ = batch(house, deaf=False, timeout=0.5)
    victim = house.ended(jobs[AT])
    assert (victim["state"], victim["error"]["code"]) == ("timed-out", "job-timed-out")
    assert victim["error"]["data"]["timeout"] == 0.5
    check_neighbours(house, jobs)


def test_a_cancel_of_jobs_behind_the_one_that_runs_leaves_that_alone(build: Build):
    house = build(workers=1)
    jobs, pid = batch(house, deaf=False)
    behind = jobs[AT + 1 : AT + 11]
    assert house.daemon.result("cancel", ids=behind)["cancelled"] == behind
    assert house.state(jobs[AT]) == "running"
    assert house.marks("at") == {pid}
    house.daemon.result("cancel", ids=[jobs[AT]])
    states = [entry["state"] for entry in house.all_ended(jobs)]
    assert states == ["done"] * AT + ["cancelled"] * 11 + ["done"] * (COUNT - AT - 11)


def test_a_job_that_kills_its_workers_is_given_up_after_as_many_as_are_allowed(house: House):
    neighbours = house.submit_many("spends", [[0.001, x] for x in range(300)])
    job = house.deed("dies_and_tells", house.path("deaths"), retries=10)
    entry = house.ended(job)
    assert (entry["state"], entry["error"]["code"], entry["attempt"]) == ("quarantined", "job-quarantined", 3)
    assert entry["error"]["data"]["deaths"] == 3
    assert [attempt["state"] for attempt in entry["attempts"]] == ["worker-died"] * 2
    assert len(set(house.lines("deaths"))) == 3
    assert house.values(neighbours) == [x * x for x in range(300)]


def test_a_job_that_kills_fewer_workers_than_that_is_tried_until_it_is_done(house: House):
    entry = house.run("deeds:dies_until", house.path("deaths"), 2, retries=10, retry_on=["worker-died"])
    assert (entry["state"], entry["value"], entry["attempt"]) == ("done", 3, 3)
    other = house.run("deeds:dies", retries=10, retry_on=["failed"])
    assert (other["state"], other["attempt"]) == ("worker-died", 1)


def test_a_one_job_client_has_its_answers_while_a_map_of_a_million_runs(house: House):
    code = f"""
from stoker import Client
import work
with Client({house.daemon.endpoint!r}) as client:
    for number, value in enumerate(client.map(work.square, range(1_000_000))):
        if number in (2000, 999_999):
            print(number, flush=True)
"""
    mapping = subprocess.Popen([sys.executable, "-c", code], cwd=house.home, stdout=subprocess.PIPE)
    try:
        assert mapping.stdout is not None
        assert mapping.stdout.readline() == b"2000\n"
        with Peer(house.daemon.endpoint) as peer:
            for x in range(20):
                job = {"call": {"function": "work:square", "args": [x]}}
                (entry,) = peer.result("submit", jobs=[job], wait=DEADLINE)["jobs"]
                assert entry["value"] == x * x
        assert mapping.poll() is None
    finally:
        mapping.kill()
        rest, _ = mapping.communicate(timeout=DEADLINE)
    assert rest == b""  # it was still at it
    wait_until(lambda: not house.daemon.result("status")["jobs"].get("running", 0))


def test_a_one_job_client_has_its_answers_while_twenty_thousand_jobs_wait(house: House):
    many = house.submit_many("spends", [[0.002, x] for x in range(20_000)])
    with Peer(house.daemon.endpoint) as peer:
        for x in range(20):
            job = {"call": {"function": "work:square", "args": [x]}}
            (entry,) = peer.result("submit", jobs=[job], wait=DEADLINE)["jobs"]
            assert entry["value"] == x * x
    counts = house.daemon.result("status")["jobs"]
    assert counts["queued"] > 0
    house.daemon.result("cancel", ids=many)
