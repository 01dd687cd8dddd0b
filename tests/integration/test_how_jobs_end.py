"""How jobs end, and how often they are tried: retries, quarantine, memory, what they used; on a real daemon."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import StartDaemon
from tests.daemons import wait_until
from tests.farms import Farm, make_farm


@pytest.fixture
def farm(start_daemon: StartDaemon, short_path: Path) -> Farm:
    """Two workers."""
    return make_farm(start_daemon, short_path / "home")


# --- retries


def test_a_job_is_tried_again_and_each_attempt_is_remembered(farm: Farm):
    ended = farm.run("counts_down", farm.path("calls"), 2, retries=5, timeout=600, on_crash="requeue")
    assert (ended["state"], ended["value"], ended["attempt"]) == ("done", 3, 3)
    assert (ended["retries"], ended["timeout"], ended["on_crash"]) == (5, 600, "requeue")
    attempts = ended["attempts"]
    assert [entry["attempt"] for entry in attempts] == [1, 2]
    assert {entry["state"] for entry in attempts} == {"failed"}
    assert [(entry["type"], entry["message"]) for entry in attempts] == [
        ("ValueError", "call 1"),
        ("ValueError", "call 2"),
    ]
    for entry in attempts:
        assert entry["ended"] >= entry["started"]
        assert entry["pid"]
        assert entry["peak_rss"] > 1_000_000


def test_a_job_is_tried_no_more_often_than_it_asked_for(farm: Farm):
    ended = farm.run("counts_down", farm.path("calls"), 9, retries=2)
    assert (ended["state"], ended["attempt"]) == ("failed", 3)
    assert ended["error"]["message"] == "call 3"
    assert Path(farm.path("calls")).read_text() == "xxx"


@pytest.mark.parametrize(
    ("retry_on", "calls"),
    [
        (["OSError"], 2),  # a base of ConnectionResetError
        (["builtins.ConnectionResetError"], 2),
        (["failed"], 2),
        (["ValueError", "worker-died", "timed-out"], 1),
    ],
)
def test_retry_on_names_what_a_job_is_tried_again_after(farm: Farm, retry_on, calls):
    ended = farm.run("counts_down", farm.path("calls"), 1, "ConnectionResetError", retries=3, retry_on=retry_on)
    assert len(Path(farm.path("calls")).read_text()) == calls
    assert ended["state"] == ("done" if calls == 2 else "failed")


def test_the_pause_between_attempts_doubles_and_the_job_is_delayed_meanwhile(farm: Farm):
    job = farm.submit("counts_down", farm.path("calls"), 2, retries=2, backoff=0.2)
    wait_until(lambda: farm.state(job) == "delayed")
    ended = farm.ended(job)
    first, second = ended["attempts"]
    assert second["started"] - first["ended"] >= 0.19
    assert ended["started"] - second["ended"] >= 0.39


def test_a_command_is_tried_again_as_well(farm: Farm):
    script = f'echo x | tee -a {farm.path("calls")}; [ "$(wc -l < {farm.path("calls")})" -ge 3 ]'
    job = farm.command("sh", "-c", script, retries=5)
    ended = farm.ended(job)
    assert (ended["state"], ended["attempt"]) == ("done", 3)
    assert [entry["message"] for entry in ended["attempts"]] == ["sh ended with exit code 1"] * 2
    assert farm.logs(job) == (b"x\n", b""), "of the last attempt"


def test_each_job_of_a_batch_has_retries_of_its_own(farm: Farm):
    many = [[farm.path(f"calls{number}"), number % 3] for number in range(9)]
    jobs = farm.submit_many("counts_down", many, retries=2)
    assert [entry["attempt"] for entry in farm.all_ended(jobs)] == [number % 3 + 1 for number in range(9)]
    assert farm.values(jobs) == [number % 3 + 1 for number in range(9)]


def test_a_job_that_waits_for_its_next_attempt_can_be_cancelled(farm: Farm):
    job = farm.submit("fails", "no", retries=3, backoff=3600, backoff_most=3600)
    wait_until(lambda: farm.state(job) == "delayed")
    assert farm.daemon.result("cancel", ids=[job])["cancelled"] == [job]
    assert farm.state(job) == "cancelled"


def test_a_timed_out_attempt_is_tried_again_if_that_was_asked_for(farm: Farm):
    job = farm.submit("marked", farm.path("mark"), farm.path("go"), timeout=0.2, retries=1, retry_on=["timed-out"])
    ended = farm.ended(job)
    assert ended["state"] == "timed-out"
    assert [entry["state"] for entry in ended["attempts"]] == ["timed-out"]


def test_a_cancelled_job_is_not_tried_again(farm: Farm):
    job = farm.submit("marked", farm.path("mark"), farm.path("go"), retries=5)
    farm.wait_for_marks("mark")
    farm.daemon.result("cancel", ids=[job])
    assert farm.state(job) == "cancelled"
    assert len(farm.marks("mark")) == 1


# --- workers that die


def test_a_job_that_keeps_killing_workers_is_quarantined_and_can_be_retried_by_hand(farm: Farm):
    job = farm.submit("dies", retries=100)
    ended = farm.ended(job)
    assert ended["state"] == "quarantined"
    assert ended["error"]["code"] == "job-quarantined"
    assert ended["error"]["data"]["deaths"] == 3
    assert [entry["state"] for entry in ended["attempts"]] == ["worker-died"] * 2
    farm.daemon.result("retry", ids=[job])
    assert farm.ended(job)["attempt"] == 4


def test_a_job_without_retries_dies_with_its_worker_and_is_not_tried_again(farm: Farm):
    ended = farm.run("dies")
    assert ended["state"] == "worker-died"
    assert ended["error"]["data"]["signal"] == 9
    assert ended["error"]["data"]["oom"] is False


def test_a_worker_over_its_memory_is_killed_and_the_verdict_says_so(start_daemon: StartDaemon, short_path: Path):
    farm = make_farm(start_daemon, short_path / "home", more="memory_bytes = 200000000")
    job = farm.submit("eats", 400, farm.path("ate"), farm.path("go"))
    ended = farm.ended(job)
    assert ended["state"] == "worker-died"
    data = ended["error"]["data"]
    assert data["oom"] is True
    assert data["memory_bytes"] > data["limit"] == 200_000_000
    assert farm.run("eats", 50)["value"] == 50_000_000


def test_a_command_s_children_count_for_the_memory_of_its_worker(start_daemon: StartDaemon, short_path: Path):
    farm = make_farm(start_daemon, short_path / "home", more="memory_bytes = 200000000")
    program = "b = bytearray(400_000_000)\nfor i in range(0, len(b), 4096): b[i] = 1\nimport time; time.sleep(1000)"
    ended = farm.ended(farm.command("sh", "-c", f"python3 -c '{program}'; true"))
    assert ended["state"] == "worker-died"
    assert ended["error"]["data"]["oom"] is True


# --- what they used


def test_cpu_time_and_peak_memory_are_told_of_functions_and_of_commands(farm: Farm):
    spent = farm.run("spends", 0.3, 7)
    assert 0.1 <= spent["cpu_seconds"] <= 2
    assert farm.run("eats", 150)["peak_rss"] > 150_000_000
    assert farm.run("square", 2)["peak_rss"] < 150_000_000, "the next job is not blamed for it"
    program = "x = bytearray(80_000_000); sum(range(3_000_000))"
    command = farm.ended(farm.command("python3", "-c", program))
    assert command["cpu_seconds"] > 0.02
    assert command["peak_rss"] > 80_000_000


# --- workers that are told to make way


def test_a_worker_makes_way_after_so_many_jobs(start_daemon: StartDaemon, short_path: Path):
    farm = make_farm(start_daemon, short_path / "home", workers=1, more="max_jobs = 3")
    pids = farm.values(farm.submit_many("pid", [[] for _ in range(10)]))
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3, 1]
    assert farm.pids() != set(pids[:3])


def test_an_initializer_is_called_in_each_worker_before_its_first_job(farm: Farm):
    initializer = {"call": {"function": "work:begins", "args": ["with this"]}}
    farm.daemon.result("start", kind="pool", name="begun", workers=2, max_jobs=2, initializer=initializer)
    values = farm.values(farm.submit_many("began", [[] for _ in range(8)], pool="begun"))
    assert {text for text, _ in values} == {"with this"}
    assert len({pid for _, pid in values}) >= 4


def test_a_pool_whose_initializer_raises_is_refused_with_why_and_nothing_is_left(farm: Farm):
    initializer = {"call": {"function": "work:fails", "args": ["not today"]}}
    error = farm.daemon.error("start", kind="pool", name="broken", workers=2, initializer=initializer)
    assert error["code"] == "start-failed"
    assert "ValueError: not today" in error["message"]
    assert [pool["name"] for pool in farm.daemon.result("status")["pools"]] == ["default"]


def test_an_initializer_that_begins_to_fail_fails_what_waits(farm: Farm):
    good = farm.home / "good"
    good.touch()
    initializer = {"call": {"function": "work:fails_unless", "args": [str(good)]}}
    farm.daemon.result("start", kind="pool", name="fickle", workers=1, max_jobs=1, initializer=initializer)
    good.unlink()
    jobs = farm.submit_many("square", [[x] for x in range(5)], pool="fickle")
    ended = farm.all_ended(jobs)
    assert ended[0]["state"] == "done"
    assert {entry["state"] for entry in ended[1:]} == {"failed"}
    assert {entry["error"]["code"] for entry in ended[1:]} == {"initializer-failed"}


@pytest.mark.parametrize("initializer", [{}, {"call": {"function": "no colon"}}])
def test_an_initializer_that_is_none_is_refused(farm: Farm, initializer):
    error = farm.daemon.error("start", kind="pool", name="odd", workers=1, initializer=initializer)
    assert error["code"] == "invalid-params"
