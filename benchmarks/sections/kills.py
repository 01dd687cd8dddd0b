"""How soon a death is known. A job is begun and waited for, and its worker, or the worker's forkserver, is killed:
the time from the return of kill(2) to the verdict in the hands of whoever waits (promised: 100 ms). For the daemon
itself, until the client's wait ends; for a client, until the daemon has told of the end of its session.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil

from benchmarks.daemon import Daemon
from benchmarks.figures import Measure
from benchmarks.run import Run
from stoker.errors import StokerError, WorkerDied

TITLE = "Deaths"
DEADLINE = 30.0
HOLD = 1000.0
"""Seconds that a job would take if it were let."""
VISITOR = """
import sys, time, stoker
client = stoker.Client(sys.argv[1])
client.ping()
print("here", flush=True)
time.sleep(1000)
"""


def until(condition: Callable[[], Any]) -> Any:
    """Ask again and again; the first answer that is not empty."""
    end = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
    return found


def workers(client: Any) -> Any:
    """Of the default pool."""
    return client.status().pools[0].workers


def verdict(client: Any, whom: Callable[[int], int]) -> float:
    """Seconds until the waiter for a job knows."""
    until(lambda: sum(worker.state == "idle" for worker in workers(client)) == 2)
    job = client.submit(time.sleep, HOLD)
    pid = until(lambda: [worker.pid for worker in workers(client) if worker.job is not None])[0]
    os.kill(whom(pid), signal.SIGKILL)
    begin = time.perf_counter()
    try:
        job.result(DEADLINE)
    except WorkerDied:
        return time.perf_counter() - begin
    raise AssertionError("the job outlived its worker")


def farewell(daemon: Daemon, client: Any) -> float:
    """Seconds until the daemon has told of the end of a dead client's session."""
    argv = [sys.executable, "-c", VISITOR, daemon.endpoint]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as visitor:
        assert visitor.stdout is not None
        visitor.stdout.readline()
        after = client.status().seq
        visitor.kill()
        begin = time.perf_counter()
        until(lambda: [event for event in client.events(after=after).events if event[1] == "session.closed"])
        return time.perf_counter() - begin


def end_of_daemon(run: Run) -> float:
    """Seconds until a client's wait ends with the daemon's death."""
    with Daemon(run.folder()) as daemon, daemon.client() as client:
        job = client.submit(time.sleep, HOLD)
        until(lambda: [worker for worker in workers(client) if worker.job is not None])
        os.kill(daemon.pid, signal.SIGKILL)
        begin = time.perf_counter()
        try:
            job.result(DEADLINE)
        except StokerError:
            return time.perf_counter() - begin
    raise AssertionError("the job outlived its daemon")


def run(run: Run) -> list[Measure]:
    times = run.plan.tries
    with Daemon(run.folder()) as daemon, daemon.client() as client:
        found: dict[str, list[float | None]] = {
            "worker": [verdict(client, int) for _ in range(times)],
            "forkserver": [verdict(client, lambda pid: psutil.Process(pid).ppid()) for _ in range(times)],
            "client": [farewell(daemon, client) for _ in range(times)],
        }
    found["daemon"] = [end_of_daemon(run) for _ in range(max(1, times // 4))]
    return [Measure("known after the death of", "s", blocks=found)]
