"""Workers are killed at every moment: the job that ran is the only one affected, and nothing is left of the dead."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.conftest import StartDaemon
from tests.daemons import DEADLINE, alive, wait_until
from tests.farms import Farm, make_farm


@pytest.fixture
def farm(start_daemon: StartDaemon, short_path: Path) -> Iterator[Farm]:
    """Two workers; when the test is over there are two again, and what is open and runs is what it was."""
    made = make_farm(start_daemon, short_path / "home")
    made.all_ended(made.submit_many("square", [[x] for x in range(2000)]))  # a reply so large as to open what it takes
    made.daemon.wait_for_workers(2)
    before, files = baseline(made), shared_memory()
    yield made
    made.daemon.wait_for_workers(2)
    # No more than before, and not exactly as many: a connection that was being closed may have been counted then.
    wait_until(lambda: (now := settled(made)) is not None and now[0] <= before[0] and now[1] <= before[1])
    assert not zombies(made.daemon.pid)
    assert shared_memory() <= files


def settled(farm: Farm) -> tuple[int, int] | None:
    """How many descriptors the daemon has open and how many processes it has, once that stays the same."""
    seen = [(farm.descriptors(), len(farm.daemon.family())) for _ in range(20)]
    return seen[0] if len(set(seen)) == 1 else None


def baseline(farm: Farm) -> tuple[int, int]:
    """What :func:`settled` says first."""
    found: list[tuple[int, int]] = []

    def look() -> bool:
        now = settled(farm)
        if now is not None:
            found.append(now)
        return now is not None

    wait_until(look)
    return found[0]


def shared_memory() -> set[str]:
    return {entry.name for entry in Path("/dev/shm").iterdir()}


def zombies(pid: int) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() == psutil.STATUS_ZOMBIE:
                found.append(child)
    return found


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


def test_an_idle_worker_s_death_is_told_and_made_good(farm: Farm):
    pid, other = sorted(farm.pids())
    kill(pid)
    wait_until(lambda: pid in ends(farm))
    assert "job" not in ends(farm)[pid] or ends(farm)[pid]["job"] is None
    wait_until(lambda: len(farm.pids()) == 2 and pid not in farm.pids())
    assert other in farm.pids()
    assert farm.run("square", 7)["value"] == 49


def test_the_death_of_all_idle_workers_at_once_costs_no_job(farm: Farm):
    for pid in farm.pids():
        kill(pid)
    jobs = farm.submit_many("square", [[x] for x in range(500)])
    assert farm.values(jobs[::50]) == [x * x for x in range(0, 500, 50)]
    assert {entry["state"] for entry in farm.all_ended(jobs)} == {"done"}


def test_in_the_middle_of_a_thousand_jobs_only_the_one_that_ran_is_affected(farm: Farm):
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


def test_a_worker_in_a_c_call(farm: Farm):
    before = farm.pids()
    job = farm.submit("in_c", farm.path("mark"))
    farm.wait_for_file("mark")
    neighbours = farm.submit_many("square", [[x] for x in range(100)])
    (busy,) = [worker["pid"] for worker in farm.daemon.workers() if worker["job"] == job]
    assert busy in before
    kill(busy)
    check_victim(farm, job, busy)
    assert farm.values(neighbours[:5]) == [0, 1, 4, 9, 16]


def test_a_worker_in_the_middle_of_sending_a_hundred_megabytes(farm: Farm):
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


def test_a_command_dies_with_its_worker_and_so_does_what_it_started(farm: Farm):
    job = farm.command("sh", "-c", f"sleep 1000 & (trap '' INT TERM HUP; sleep 1000) & touch {farm.path('mark')}; wait")
    farm.wait_for_file("mark")
    (busy,) = [worker["pid"] for worker in farm.daemon.workers() if worker["job"] == job]
    family = {child.pid for child in psutil.Process(busy).children(recursive=True)}
    assert len(family) >= 3
    kill(busy)
    check_victim(farm, job, busy)
    wait_until(lambda: not alive(family))


def test_a_worker_that_leaves_by_itself_tells_its_exit_code(farm: Farm):
    entry = farm.run("os:_exit", 3)
    assert entry["state"] == "worker-died"
    assert (entry["error"]["data"]["exit_code"], entry["error"]["data"]["signal"]) == (3, None)
    assert "exit code 3" in entry["error"]["message"]


def test_what_the_dead_wrote_is_kept(farm: Farm):
    code = "import os; print('last words', flush=True); os.kill(os.getpid(), 9)"
    entry = farm.run("builtins:exec", code, {})
    assert entry["state"] == "worker-died"
    assert farm.logs(entry["id"])[0] == b"last words\n"


def test_a_job_that_closes_everything_costs_itself_at_most(farm: Farm):
    entry = farm.run("os:closerange", 3, 1000)
    assert entry["state"] in ("worker-died", "done")
    jobs = farm.submit_many("square", [[x] for x in range(50)])
    assert farm.values(jobs) == [x * x for x in range(50)]


def test_a_job_that_writes_to_its_worker_s_channel_costs_itself_at_most(farm: Farm):
    code = "import os\nfor fd in range(3, 30):\n try: os.write(fd, b'nonsense' * 1000)\n except OSError: pass"
    farm.run("builtins:exec", code, {})
    jobs = farm.submit_many("square", [[x] for x in range(50)])
    assert farm.values(jobs) == [x * x for x in range(50)]


@pytest.mark.slow
def test_thirty_random_kills_over_twenty_thousand_jobs(farm: Farm):
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
def generous(farm: Farm) -> Iterator[None]:
    """Requests of the test may take their time: its one long wait takes as long as twenty thousand jobs."""
    import tests.daemons as module

    before, module.DEADLINE = module.DEADLINE, 110.0
    try:
        yield
    finally:
        module.DEADLINE = before


def test_a_stopped_worker_holds_up_nobody_and_goes_on_when_it_may(farm: Farm):
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


def test_a_worker_stopped_while_it_runs_a_job_ends_it_when_it_may(farm: Farm):
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


def test_a_stopped_worker_s_job_can_be_cancelled(farm: Farm):
    job = farm.submit("marked", "stopped", farm.path("never"))
    (pid,) = farm.wait_for_marks("stopped")
    os.kill(pid, signal.SIGSTOP)
    assert farm.daemon.result("cancel", ids=[job], grace=0.05)["cancelled"] == [job]
    wait_until(lambda: not alive({pid}))


def test_the_death_of_a_forkserver_takes_its_workers_and_the_service_resumes(farm: Farm):
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


def test_a_hundred_workers_die_and_nothing_grows(farm: Farm):
    for _ in range(50):
        before = farm.pids()
        for pid in before:
            kill(pid)
        wait_until(lambda before=before: len(farm.pids()) == 2 and not farm.pids() & before, DEADLINE)  # type: ignore[misc]
