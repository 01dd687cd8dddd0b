"""What one job, or a lent lock, costs in system calls: a figure that does not depend on the machine's load.

A hop more, a message more or a wake-up more shows here at once, and never in a measurement of time. Whoever lowers a
figure lowers it here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.conftest import StartDaemon
from tests.daemons import RunningDaemon
from tests.tracing import traced

import stoker
from stoker.cli.commands.trace import HOPS

JOBS = 200
SPARE = 0.3
"""System calls a job that timers may add: looks at what runs, and at clocks."""

COUNTED = ("-c", "-U", "calls,name")
"""Count the system calls of one thread."""
DAEMON = {"epoll_wait": 2, "recvfrom": 2, "sendto": 2}
"""Woken by the client, reads, hands over; woken by the worker, reads, answers."""
WORKER = {"poll": 1, "recvfrom": 1, "lseek": 2, "getrusage": 1, "sendto": 1}
"""Woken, reads; looks whether the job has written anything; accounts for it; answers."""
CLIENT = {"sendto": 1, "poll": 1, "recvfrom": 1}

SCRIPT = """
    import sys
    import stoker
    client = stoker.Client(sys.argv[1])
    def run(jobs):
        for number in range(jobs):
            assert client.submit(abs, -number).result() == number
    run(50)
    status = client.status()
    print(status.daemon.pid, *(worker.pid for pool in status.pools for worker in pool.workers), flush=True)
    sys.stdin.readline()
    run(int(sys.argv[2]))
    print("done", flush=True)
    sys.stdin.readline()
"""


def calls(table: Path) -> dict[str, float]:
    """System calls a job."""
    found = re.findall(r"^\s*(\d+)\s+(\w+)$", table.read_text(), re.MULTILINE)
    return {name: int(count) / JOBS for count, name in found if name != "total"}


def test_a_job_costs_no_system_call_more_than_it_must(start_daemon: StartDaemon, strace: str, tmp_path: Path) -> None:
    daemon = start_daemon("--log-level", "info", config="[daemon]\nbusy_poll_ms = 0\n[pool.default]\nworkers = 2\n")
    environ = {**os.environ, "STOKER_TRANSPORT": "direct"}
    client = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), daemon.endpoint, str(JOBS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environ,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    with client:
        daemon_pid, *workers = map(int, client.stdout.readline().split())
        tables = {pid: tmp_path / str(pid) for pid in (daemon_pid, client.pid, *workers)}
        with _all(strace, tables):
            client.stdin.write("go\n")
            client.stdin.flush()
            assert client.stdout.readline() == "done\n"
        client.stdin.write("end\n")
    spent: dict[str, dict[str, float]] = {
        "daemon": calls(tables[daemon_pid]),
        "client": calls(tables[client.pid]),
        "worker": {},
    }
    for pid in workers:  # whichever of them had the jobs
        for name, count in calls(tables[pid]).items():
            spent["worker"][name] = spent["worker"].get(name, 0) + count
    for who, most in (("daemon", DAEMON), ("worker", WORKER), ("client", CLIENT)):
        total = sum(spent[who].values())
        assert total <= sum(most.values()) + SPARE, f"{who}: {total:.2f} system calls a job: {spent[who]}"


def test_an_idle_daemon_sleeps_whatever_went_before(start_daemon: StartDaemon, strace: str, tmp_path: Path) -> None:
    """Awake between messages that follow close upon each other, and asleep when none does."""
    daemon = start_daemon("--log-level", "info", config="[pool.default]\nworkers = 2\n")
    with stoker.Client(daemon.endpoint) as client:
        for number in range(JOBS):
            assert client.submit(abs, -number).result() == number
        daemon.wait_for_workers(2)  # those of this program's own environment took the places of others
        quiet = threading.Event()
        table = tmp_path / "idle"
        with traced(strace, daemon.pid, table, *COUNTED):
            assert not quiet.wait(1.0)  # nothing is waited for: the second is what is measured
    counted = re.findall(r"^\s*(\d+)\s+(?:epoll_wait|recvfrom)$", table.read_text(), re.MULTILINE)
    woken = sum(map(int, counted))
    assert woken <= 50, table.read_text()  # a worker's beginning, looks at those that were busy; not thousands


@pytest.mark.parametrize("library", ["_asyncio", "_ssl"])
def test_the_daemon_does_not_load_what_it_has_no_use_for(daemon: RunningDaemon, library: str) -> None:
    maps = Path(f"/proc/{daemon.pid}/maps").read_text()
    assert "msgspec" in maps
    assert f"/{library}." not in maps


@contextmanager
def _all(strace: str, tables: dict[int, Path]) -> Iterator[None]:
    if not tables:
        yield
        return
    (pid, table), *rest = tables.items()
    with traced(strace, pid, table, *COUNTED), _all(strace, dict(rest)):
        yield


LOCKED = """
    import sys
    import stoker
    lock = stoker.Lock("cost", client=stoker.Client(sys.argv[1]))
    def run(pairs):
        for number in range(pairs):
            with lock:
                pass
    run(50)
    print(lock._ask("lock.show")["lent"], flush=True)
    sys.stdin.readline()
    run(int(sys.argv[2]))
    print("done", flush=True)
    sys.stdin.readline()
"""


def test_a_lent_lock_costs_no_system_call(daemon: RunningDaemon, strace: str, tmp_path: Path) -> None:
    client = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(LOCKED), daemon.endpoint, str(JOBS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "STOKER_TRANSPORT": "direct"},
    )
    assert client.stdin is not None
    assert client.stdout is not None
    with client:
        assert client.stdout.readline() == "True\n"
        tables = {pid: tmp_path / str(pid) for pid in (daemon.pid, client.pid)}
        with _all(strace, tables):
            client.stdin.write("go\n")
            client.stdin.flush()
            assert client.stdout.readline() == "done\n"
        client.stdin.write("end\n")
    for pid, table in tables.items():
        assert sum(calls(table).values()) * JOBS < JOBS / 10, f"{pid}: {calls(table)}"


def run_trace(daemon: RunningDaemon, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stoker", "trace", "--socket", daemon.endpoint, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_trace_tells_every_hop_of_a_job_and_their_sum(daemon: RunningDaemon) -> None:
    ran = run_trace(daemon, "--times", "10", "--json")
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["jobs"] == 10
    assert told["channel"] == "direct"
    assert [hop["hop"] for hop in told["hops"]] == list(HOPS)
    assert all(0 <= hop["least"] <= hop["median"] <= hop["p90"] for hop in told["hops"])
    assert sum(hop["least"] for hop in told["hops"]) <= told["all"]["least"] + 0.5
    worked = next(hop for hop in told["hops"] if hop["hop"].startswith("worker"))
    assert 0 < worked["least"] < told["all"]["least"]


def test_a_trace_of_a_job_that_takes_its_time_shows_it_where_it_is_spent(daemon: RunningDaemon) -> None:
    told = json.loads(run_trace(daemon, "--times", "2", "--json", "time:sleep", "0.02").stdout)
    longest = max(told["hops"], key=lambda hop: hop["median"])
    assert longest["hop"].startswith("worker")
    assert longest["least"] >= 20_000


def test_a_trace_of_a_job_that_fails_ends_with_its_error(daemon: RunningDaemon) -> None:
    ran = run_trace(daemon, "--times", "2", "math:sqrt", "--", "-1")
    assert ran.returncode == 1
    assert "math domain error" in ran.stderr
    assert "Traceback" not in ran.stderr
