"""Durable jobs and SIGKILL of the daemon: none that was acknowledged is lost, and all that was known of it still is."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections import Counter
from typing import Any

import pytest
from tests.chaos import deeds
from tests.chaos.houses import Build, House
from tests.daemons import DEADLINE, wait_until
from tests.peers import Peer

from stoker import Client
from stoker.errors import StokerError

COUNT = 10_000
AHEAD = 200
"""Submits that are under way at a time."""


def spec(house: House, number: int, policy: str) -> dict[str, Any]:
    """One job with its key."""
    call = {"function": "deeds:writes_line", "args": [house.path("lines"), number]}
    return {"call": call, "key": f"job-{number}", "durable": True, "on_crash": policy}


def submit_until(house: House, kill_at: int, policy: str) -> dict[int, int]:
    """Submit one after the other, and kill the daemon after so many answers; id by number of those acknowledged."""
    acknowledged: dict[int, int] = {}

    def take(peer: Peer) -> None:
        head, _ = peer.receive()
        acknowledged[head["id"]] = head["result"]["jobs"][0]["id"]

    with Peer(house.daemon.endpoint) as peer:
        for number in range(COUNT):
            peer.post("submit", number, jobs=[spec(house, number, policy)])
            if number >= AHEAD:
                take(peer)
            if len(acknowledged) == kill_at:
                break
        house.die()
        while peer.socket.poll(100):  # answers that were on their way
            take(peer)
    return acknowledged


def check_ends(house: House, ids: dict[int, int], policy: str) -> None:
    """Each of these jobs has ended, as its policy promises."""
    numbers = sorted(ids)
    entries: dict[int, dict[str, Any]] = {}
    for start in range(0, len(numbers), 2000):
        some = numbers[start : start + 2000]
        entries.update(zip(some, house.all_ended([ids[number] for number in some]), strict=True))
    lines = Counter(house.lines("lines"))
    for number, entry in entries.items():
        if entry["state"] == "done":
            assert 1 <= lines[number] <= entry["attempt"]
        else:
            assert (entry["state"], policy) == ("lost-with-daemon", "fail")
            assert lines[number] <= 1
        assert entry["attempt"] == 1 or policy == "requeue"


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["fail", "requeue"])
def test_of_ten_thousand_jobs_none_that_was_acknowledged_is_lost(build: Build, policy: str):
    house = build()
    acknowledged = submit_until(house, COUNT // 2, policy)
    assert len(acknowledged) >= COUNT // 2
    assert len(set(acknowledged.values())) == len(acknowledged)
    house.again()
    check_ends(house, acknowledged, policy)

    # the same keys are the same jobs; what was not acknowledged becomes one job, whether it was kept or not
    ids: dict[int, int] = {}
    with Peer(house.daemon.endpoint) as peer:
        for number in range(COUNT + AHEAD):
            if number < COUNT:
                peer.post("submit", number, jobs=[spec(house, number, policy)])
            if number >= AHEAD:
                head, _ = peer.receive()
                ids[head["id"]] = head["result"]["jobs"][0]["id"]
    assert len(set(ids.values())) == COUNT
    assert {number: ids[number] for number in acknowledged} == acknowledged
    check_ends(house, ids, policy)


@pytest.mark.slow
def test_of_ten_thousand_jobs_of_the_python_client_none_that_has_an_id_is_lost(build: Build):
    house = build()
    with Client(house.daemon.endpoint) as client:
        durable = client.options(durable=True, on_crash="requeue")
        jobs = [durable.submit(deeds.writes_line, house.path("lines"), number) for number in range(COUNT)]
        acknowledged = {number: jobs[number].id for number in range(COUNT // 2)}
        house.die()
        for number in range(COUNT // 2, COUNT):
            try:
                acknowledged[number] = jobs[number].id
            except StokerError:
                break
    house.again()
    check_ends(house, acknowledged, "requeue")
    with Client(house.daemon.endpoint) as client:
        for number in (0, 1, COUNT // 2 - 1):
            assert client.job(acknowledged[number]).result(DEADLINE) == number * number


def told(house: House, jobs: list[int]) -> tuple[list[dict[str, Any]], list[tuple[bytes, bytes]]]:
    """All that is known of jobs but their session, which is over, and what they wrote."""
    entries = [house.ended(job) | {"session": ""} for job in jobs]
    return entries, [house.logs(job) for job in jobs]


def test_results_output_and_errors_are_read_after_a_restart_as_before(build: Build):
    house = build()
    value = house.deed("prints", 7, -1, "", False, durable=True)
    failed = house.submit("fails", "on purpose", durable=True)
    command = house.command("sh", "-c", "echo out; echo err >&2; exit 3")
    large = house.submit("large", 300_000, durable=True)
    jobs = [value, failed, command, large]
    house.all_ended(jobs)
    before = told(house, jobs)
    house.die()
    house.again()
    assert told(house, jobs) == before
    assert before[1][0][0] == b"job 7\n"
    assert before[1][2] == (b"out\n", b"err\n")
    assert len(before[0][3]["value"]) == 300_000
    assert house.submit("square", 2, durable=True) > max(jobs)


def test_a_key_names_the_same_job_after_a_restart_for_whoever_asks(build: Build):
    house = build()
    first = house.deed("writes_line", house.path("lines"), 4, key="rent")
    house.ended(first)
    for _ in range(2):
        house.die()
        house.again()
        assert house.deed("writes_line", house.path("lines"), 4, key="rent") == first
        assert house.ended(first)["value"] == 16
        with Client(house.daemon.endpoint) as client:
            assert client.job(key="rent").result(DEADLINE) == 16
    assert house.lines("lines") == [4]


def test_delays_and_appointments_hold_across_a_restart(build: Build):
    house = build()
    path = house.path("lines")
    begun = time.time()
    soon = house.deed("writes_line", path, 1, durable=True, delay=1.5)
    at = house.deed("writes_line", path, 2, durable=True, at=begun + 1.5)
    late = house.deed("writes_line", path, 3, durable=True, delay=3600)
    house.die()
    house.again()
    entries = house.all_ended([soon, at])
    assert [entry["state"] for entry in entries] == ["done", "done"]
    assert all(entry["started"] >= begun + 1.5 for entry in entries)
    (entry,) = house.daemon.result("jobs", ids=[late])["jobs"]
    assert entry["state"] == "delayed"
    assert begun + 3590 < entry["due"] < begun + 3700
    assert sorted(house.lines("lines")) == [1, 2]


def test_dependencies_hold_across_a_restart(build: Build):
    house = build()
    lines, go = house.path("lines"), house.path("go")
    ended = house.run("deeds:writes_line", lines, 3, durable=True)["id"]
    first = house.deed("writes_line_and_waits", lines, 1, go, durable=True, on_crash="requeue")
    lost = house.deed("writes_line_and_waits", lines, 2, go, durable=True)
    second = house.deed("writes_line", lines, 4, durable=True, after=[first, ended])
    third = house.deed("writes_line", lines, 5, durable=True, after=[second])
    refused = house.deed("writes_line", lines, 6, durable=True, after=[lost])
    anyway = house.deed("writes_line", lines, 7, durable=True, after=[lost], after_end="any")
    wait_until(lambda: {1, 2} <= set(house.lines("lines")))
    house.die()
    house.again()
    assert house.state(second) == house.state(third) == "waiting"
    assert house.ended(lost)["state"] == "lost-with-daemon"
    told = house.ended(refused)
    assert (told["state"], told["error"]["code"]) == ("failed", "dependency-failed")
    assert house.ended(anyway)["state"] == "done"
    house.go()
    assert [entry["state"] for entry in house.all_ended([first, second, third])] == ["done"] * 3
    assert Counter(house.lines("lines")) == {1: 2, 2: 1, 3: 1, 4: 1, 5: 1, 7: 1}
    assert house.lines("lines").index(4) < house.lines("lines").index(5)


def test_attempts_and_the_time_of_the_next_hold_across_a_restart(build: Build):
    house = build()
    job = house.deed("fails_until", house.path("lines"), 2, durable=True, retries=5, backoff=1.0)
    wait_until(lambda: house.state(job) == "delayed")
    before = house.daemon.result("jobs", ids=[job])["jobs"][0]
    house.die()
    house.again()
    after = house.daemon.result("jobs", ids=[job])["jobs"][0]
    if after["state"] == "delayed" and len(after["attempts"]) == len(before["attempts"]):
        assert after["due"] == pytest.approx(before["due"], abs=0.5)
    assert after["attempts"][: len(before["attempts"])] == before["attempts"]
    entry = house.ended(job)
    assert (entry["state"], entry["value"], entry["attempt"]) == ("done", 3, 3)
    assert [attempt["state"] for attempt in entry["attempts"]] == ["failed", "failed"]
    assert [attempt["attempt"] for attempt in entry["attempts"]] == [1, 2]


def test_what_is_cancelled_or_held_back_stays_so_across_a_restart(build: Build):
    house = build()
    lines = house.path("lines")
    cancelled = house.deed("writes_line", lines, 1, durable=True, delay=3600)
    house.daemon.result("cancel", ids=[cancelled])
    house.daemon.result("set", name="default", paused=True)
    queued = house.submit_many("deeds:writes_line", [[lines, x] for x in range(10, 20)], durable=True)
    house.die()
    house.again()
    assert house.ended(cancelled)["state"] == "cancelled"
    assert {entry["state"] for entry in house.all_ended(queued)} == {"done"}
    assert sorted(house.lines("lines")) == list(range(10, 20))


def test_files_of_large_payloads_go_with_their_jobs_and_with_a_crash(build: Build):
    house = build(tables="[store]\nfile_bytes = 4096")
    payloads = house.state_dir / "jobs" / "payloads"

    def files() -> int:
        return len(list(payloads.iterdir()))

    kept = house.submit("large", 200_000, durable=True)
    house.ended(kept)
    assert files() == 1
    passing = house.submit("large", 200_000, durable=True, ttl=0.01)
    house.all_ended([passing])
    wait_until(lambda: files() == 1)
    (payloads / f"{12345:016x}").write_bytes(b"what a crash left between file and row")
    house.die()
    house.again()
    assert files() == 1
    assert len(house.ended(kept)["value"]) == 200_000


def test_a_record_that_can_t_be_read_costs_one_job_and_not_the_daemon(house: House):
    good, bad = (house.submit("square", number, durable=True) for number in (3, 4))
    house.all_ended([good, bad])
    house.die()
    with contextlib.closing(sqlite3.connect(house.state_dir / "jobs" / "jobs.sqlite3")) as database:
        database.execute("UPDATE batches SET head = ? WHERE id = ?", [b"\xc1 no MessagePack", bad])
        database.commit()
    house.again()
    assert house.ended(good)["value"] == 9
    ended = house.ended(bad)
    assert ended["state"] == "failed"
    assert "damaged" in ended["error"]["message"]
    assert house.run("square", 5)["value"] == 25
