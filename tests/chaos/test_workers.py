"""Workers are killed at every moment: the job that ran is the only one affected, and nothing is left of the dead."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from tests.chaos.houses import House
from tests.daemons import DEADLINE, alive, wait_until
from tests.farms import Farm

from stoker import Client, shared


@pytest.fixture
def farm(house: House) -> House:
    """Two workers; when the test is over there are two again, and what is open, runs and lies about is what it was."""
    return house


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def ends(farm: Farm) -> dict[int, dict[str, Any]]:
    """The ends of workers that were told as events, by pid."""
    events = farm.daemon.result("events", limit=10_000)["events"]
    return {event["pid"]: event for _, topic, event in events if topic == "worker.ended"}


def check_victim(farm: Farm, job: int, pid: int, signum: int = signal.SIGKILL) -> None:
    """The job ended with a verdict that names all there is to know."""
    entry = farm.ended(job)
    assert (entry["state"], entry["error"]["code"]) == ("worker-died", "worker-died")
    told = entry["error"]["data"]
    assert (told["pid"], told["signal"], told["job"], told["attempt"]) == (pid, signum, job, 1)
    assert told["worker"] == entry["worker"]
    for word in (str(pid), signal.Signals(signum).name, str(job)):
        assert word in entry["error"]["message"]
    wait_until(lambda: pid in ends(farm))
    assert ends(farm)[pid]["job"] == job
    assert signal.Signals(signum).name in ends(farm)[pid]["reason"]


def test_an_idle_worker_s_death_is_told_and_made_good(farm: House):
    pid, other = sorted(farm.pids())
    kill(pid)
    wait_until(lambda: pid in ends(farm))
    assert "job" not in ends(farm)[pid] or ends(farm)[pid]["job"] is None
    wait_until(lambda: len(farm.pids()) == 2 and pid not in farm.pids())
    assert other in farm.pids()
    assert farm.run("square", 7)["value"] == 49


def test_the_death_of_all_idle_workers_at_once_costs_no_job(farm: House):
    for pid in farm.pids():
        kill(pid)
    jobs = farm.submit_many("square", [[x] for x in range(500)])
    assert farm.values(jobs[::50]) == [x * x for x in range(0, 500, 50)]
    assert {entry["state"] for entry in farm.all_ended(jobs)} == {"done"}


def test_in_the_middle_of_a_thousand_jobs_only_the_one_that_ran_is_affected(farm: House):
    many = [[x, 400, "victim", farm.path("never")] for x in range(1000)]
    jobs = farm.submit_many("blocks_at", many)
    (pid,) = farm.wait_for_marks("victim")
    kill(pid)
    entries = farm.all_ended(jobs)
    assert [entry["state"] for entry in entries] == ["done"] * 400 + ["worker-died"] + ["done"] * 599
    for x in (0, 399, 401, 402, 403, 999):
        assert farm.ended(jobs[x])["value"] == x + 1
    check_victim(farm, jobs[400], pid)
    assert all(entry.get("attempt") == 1 for entry in entries)


def test_a_worker_in_a_c_call(farm: House):
    before = farm.pids()
    job = farm.submit("in_c", farm.path("mark"))
    farm.wait_for_file("mark")
    neighbours = farm.submit_many("square", [[x] for x in range(100)])
    (busy,) = [worker["pid"] for worker in farm.daemon.workers() if worker["job"] == job]
    assert busy in before
    kill(busy)
    check_victim(farm, job, busy)
    assert farm.values(neighbours[:5]) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize("deed", ["computes", "hashes", "compresses"])
def test_a_worker_in_pure_python_or_in_c_code_that_never_comes_back(farm: House, deed: str):
    job = farm.deed(deed, farm.path("busy"))
    (pid,) = farm.wait_for_marks("busy")
    neighbours = farm.submit_many("square", [[x] for x in range(100)])
    kill(pid)
    check_victim(farm, job, pid)
    assert farm.values(neighbours[:5]) == [0, 1, 4, 9, 16]
    assert {entry["attempt"] for entry in farm.all_ended(neighbours)} == {1}


def test_a_worker_that_holds_a_shared_lock_gives_it_to_whoever_waits(farm: House):
    job = farm.deed("holds", farm.daemon.endpoint, "db", farm.path("holds"))
    (pid,) = farm.wait_for_marks("holds")
    with Client(farm.daemon.endpoint) as client:
        lock = shared.Lock("db", client=client)
        assert not lock.acquire(block=False)
        taken: list[bool] = []
        waiter = threading.Thread(target=lambda: taken.append(lock.acquire(timeout=DEADLINE)))
        waiter.start()
        wait_until(lambda: farm.daemon.result("status")["objects"][0]["detail"]["waiting"] == 1)
        assert not taken
        kill(pid)
        waiter.join()
        assert taken == [True]
        lock.drop()
    check_victim(farm, job, pid)


def test_what_was_handed_to_a_worker_behind_its_victim_is_run_by_others_at_no_cost(farm: House):
    farm.all_ended(farm.submit_many("blocks_at", [[x, -1, "", ""] for x in range(300)]))  # known as quick from here on
    jobs = farm.submit_many("blocks_at", [[x, 20, farm.path("at"), farm.path("never")] for x in range(60)])
    (pid,) = farm.wait_for_marks("at")
    os.kill(farm.daemon.pid, signal.SIGSTOP)  # so that nothing is taken back before
    kill(pid)
    os.kill(farm.daemon.pid, signal.SIGCONT)
    check_victim(farm, jobs[20], pid)
    entries = farm.all_ended(jobs)
    assert [entry["state"] for entry in entries] == ["done"] * 20 + ["worker-died"] + ["done"] * 39
    assert {entry["attempt"] for entry in entries} == {1}
    assert [farm.ended(job)["value"] for job in jobs[21:25]] == [22, 23, 24, 25]


def test_a_worker_in_the_middle_of_sending_a_hundred_megabytes(farm: House):
    neighbour = farm.submit("marked", "neighbour", farm.path("go"))
    farm.wait_for_marks("neighbour")
    job = farm.submit("large", 100_000_000, "sends")
    (pid,) = farm.wait_for_marks("sends")
    os.kill(farm.daemon.pid, signal.SIGSTOP)  # nobody reads: the worker is sure to be at it
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_SLEEPING)
    kill(pid)
    os.kill(farm.daemon.pid, signal.SIGCONT)
    entry = farm.ended(job)
    if entry["state"] == "done":  # all of it had been read before the daemon was stopped
        assert len(entry["value"]) == 100_000_000
    else:
        check_victim(farm, job, pid)
    farm.go()
    assert farm.ended(neighbour)["state"] == "done"


def test_a_command_dies_with_its_worker_and_so_does_what_it_started(farm: House):
    job = farm.command("sh", "-c", f"sleep 1000 & (trap '' INT TERM HUP; sleep 1000) & touch {farm.path('mark')}; wait")
    farm.wait_for_file("mark")
    (busy,) = [worker["pid"] for worker in farm.daemon.workers() if worker["job"] == job]
    family = {child.pid for child in psutil.Process(busy).children(recursive=True)}
    assert len(family) >= 3
    kill(busy)
    check_victim(farm, job, busy)
    wait_until(lambda: not alive(family))


def test_a_worker_that_leaves_by_itself_tells_its_exit_code(farm: House):
    entry = farm.run("os:_exit", 3)
    assert entry["state"] == "worker-died"
    assert (entry["error"]["data"]["exit_code"], entry["error"]["data"]["signal"]) == (3, None)
    assert "exit code 3" in entry["error"]["message"]


def test_what_the_dead_wrote_is_kept(farm: House):
    code = "import os; print('last words', flush=True); os.kill(os.getpid(), 9)"
    entry = farm.run("builtins:exec", code, {})
    assert entry["state"] == "worker-died"
    assert farm.logs(entry["id"])[0] == b"last words\n"


def test_a_job_that_closes_everything_costs_itself_at_most(farm: House):
    entry = farm.run("os:closerange", 3, 1000)
    assert entry["state"] in ("worker-died", "done")
    jobs = farm.submit_many("square", [[x] for x in range(50)])
    assert farm.values(jobs) == [x * x for x in range(50)]


def test_a_job_that_writes_to_its_worker_s_channel_costs_itself_at_most(farm: House):
    code = "import os\nfor fd in range(3, 30):\n try: os.write(fd, b'nonsense' * 1000)\n except OSError: pass"
    farm.run("builtins:exec", code, {})
    jobs = farm.submit_many("square", [[x] for x in range(50)])
    assert farm.values(jobs) == [x * x for x in range(50)]


@pytest.mark.slow
def test_thirty_random_kills_over_twenty_thousand_jobs(farm: House):
    spec = {"call": {"function": "work:spends", "many": [[0.0004, x] for x in range(20_000)]}}
    answer: list[dict[str, Any]] = []
    waiter = threading.Thread(target=lambda: answer.append(farm.daemon.call("submit", jobs=[spec], wait=300)))
    with generous(farm):
        waiter.start()
        dice = random.Random(20)
        killed: set[int] = set()
        wait_until(lambda: farm.daemon.result("status")["jobs"].get("running", 0) > 0)
        while len(killed) < 30:
            there = farm.pids() - killed
            if there:
                pid = dice.choice(sorted(there))
                kill(pid)
                killed.add(pid)
        waiter.join()
    entries = answer[0]["result"]["jobs"]
    assert len(entries) == 20_000
    died = [entry for entry in entries if entry["state"] == "worker-died"]
    assert len(died) <= len(killed)
    assert {entry["error"]["data"]["pid"] for entry in died} <= killed
    for x, entry in enumerate(entries):
        if entry["state"] == "done":
            assert entry["value"] == x * x
        else:
            assert entry["state"] == "worker-died"
    sys.stdout.write(f"{len(died)} of {len(killed)} kills hit a job\n")


@contextlib.contextmanager
def generous(farm: House) -> Iterator[None]:
    """Requests of the test may take their time: its one long wait takes as long as twenty thousand jobs."""
    import tests.daemons as module

    before, module.DEADLINE = module.DEADLINE, 110.0
    try:
        yield
    finally:
        module.DEADLINE = before


def test_a_stopped_worker_holds_up_nobody_and_goes_on_when_it_may(farm: House):
    idle, busy = sorted(farm.pids())
    os.kill(idle, signal.SIGSTOP)
    try:
        jobs = farm.submit_many("square", [[x] for x in range(200)])
        singles = [farm.submit("square", x) for x in range(20)]
        assert farm.values([*jobs[::20], *singles]) == [x * x for x in (*range(0, 200, 20), *range(20))]
        assert {worker["pid"] for worker in farm.daemon.workers()} == {idle, busy}
    finally:
        os.kill(idle, signal.SIGCONT)
    both = farm.submit_many("marked", [["both", farm.path("go")]] * 2)
    farm.wait_for_marks("both", 2)
    assert farm.marks("both") == {idle, busy}
    farm.go()
    assert {entry["state"] for entry in farm.all_ended(both)} == {"done"}


def test_a_worker_stopped_while_it_runs_a_job_ends_it_when_it_may(farm: House):
    job = farm.submit("marked", "stopped", farm.path("go"))
    (pid,) = farm.wait_for_marks("stopped")
    os.kill(pid, signal.SIGSTOP)
    try:
        farm.go()
        others = farm.submit_many("square", [[x] for x in range(100)])
        assert farm.values(others[-3:]) == [97 * 97, 98 * 98, 99 * 99]
        assert farm.state(job) == "running"
    finally:
        os.kill(pid, signal.SIGCONT)
    assert farm.ended(job)["value"] == pid


def test_what_waits_behind_a_stopped_job_is_run_by_others(farm: House):
    farm.all_ended(farm.submit_many("blocks_at", [[x, -1, "", ""] for x in range(300)]))  # known as quick from here on
    jobs = farm.submit_many("blocks_at", [[x, 20, farm.path("at"), farm.path("go")] for x in range(60)])
    (pid,) = farm.wait_for_marks("at")
    os.kill(pid, signal.SIGSTOP)
    try:
        others = jobs[:20] + jobs[21:]
        assert {entry["state"] for entry in farm.all_ended(others)} == {"done"}
        assert farm.state(jobs[20]) == "running"
        farm.go()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert farm.ended(jobs[20])["value"] == 21
    assert {entry["attempt"] for entry in farm.all_ended(jobs)} == {1}


def test_a_stopped_worker_s_job_can_be_cancelled(farm: House):
    job = farm.submit("marked", "stopped", farm.path("never"))
    (pid,) = farm.wait_for_marks("stopped")
    os.kill(pid, signal.SIGSTOP)
    assert farm.daemon.result("cancel", ids=[job], grace=0.05)["cancelled"] == [job]
    wait_until(lambda: not alive({pid}))


def test_the_death_of_a_forkserver_takes_its_workers_and_the_service_resumes(farm: House):
    running = farm.submit("marked", "running", farm.path("never"))
    (pid,) = farm.wait_for_marks("running")
    before = farm.pids()
    forkserver = psutil.Process(pid).ppid()
    assert forkserver != farm.daemon.pid
    jobs = farm.submit_many("spends", [[0.001, x] for x in range(500)])
    kill(forkserver)
    check_victim(farm, running, pid)
    states = [entry["state"] for entry in farm.all_ended(jobs)]
    assert set(states) <= {"done", "worker-died"}
    assert states.count("worker-died") <= 1
    assert not alive(before)
    farm.daemon.wait_for_workers(2)
    assert not farm.pids() & before
    assert farm.run("square", 9)["value"] == 81


def test_a_stopped_forkserver_holds_up_no_job_and_its_dead_are_replaced_when_it_goes_on(farm: House):
    (forkserver,) = farm.forkservers()
    victim, other = sorted(farm.pids())
    forkserver.suspend()
    try:
        assert farm.values(farm.submit_many("square", [[x] for x in range(100)]))[-1] == 99 * 99
        kill(victim)
        assert farm.values(farm.submit_many("square", [[x] for x in range(100)]))[-1] == 99 * 99
    finally:
        forkserver.resume()
    wait_until(lambda: len(farm.pids()) == 2 and victim not in farm.pids())
    assert other in farm.pids()


def test_a_hundred_workers_die_and_nothing_grows(farm: House):
    for _ in range(50):
        before = farm.pids()
        for pid in before:
            kill(pid)
        wait_until(lambda before=before: len(farm.pids()) == 2 and not farm.pids() & before, DEADLINE)  # type: ignore[misc]
