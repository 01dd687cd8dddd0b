"""Resident memory. *Idle*: a fresh daemon with two workers. *Queued*: 10⁶ small single jobs, submitted one by one,
that wait behind two that sleep: the daemon's growth by their number. *Session*: its growth by that of clients.
*Worker*: what a worker has to itself (USS), and its share of what it has in common with others (PSS).
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from benchmarks.daemon import Daemon
from benchmarks.figures import Measure
from benchmarks.peers import DIRECT, OVER_ZMQ
from benchmarks.peers.tasks import cube
from benchmarks.run import Run, note

TITLE = "Memory"
DEADLINE = 300.0
HOLD = 3600.0
WORKERS = 8
WHO = "in the daemon"
ROOM = "queue_jobs = 4000000\nsession_jobs = 4000000"


def resident(pid: int, kinds: tuple[str, ...] = ("Rss",)) -> float:
    """Bytes of these kinds, by the kernel's own sum over its mappings."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(1024.0 * int(line.split()[1]) for line in lines if line.split(":")[0] in kinds)


def idle(run: Run) -> Measure:
    with Daemon(run.folder()) as daemon:
        pid = daemon.pid
        return Measure(
            "idle daemon", "B", blocks={"resident": [resident(pid)], "its share (PSS)": [resident(pid, ("Pss",))]}
        )


def queued(run: Run) -> Measure:
    """Bytes per job."""
    count = run.plan.queued
    with Daemon(run.folder(), more=ROOM) as daemon, daemon.client() as client:
        held = [client.submit(time.sleep, HOLD) for _ in range(2)]
        pool_has(client, running=2, queued=0)
        before = resident(daemon.pid)
        held += [client.submit(cube, x) for x in range(count)]
        pool_has(client, running=2, queued=count)
        each = (resident(daemon.pid) - before) / count
    return Measure("per queued small job", "B", blocks={WHO: [each]}, sizes={WHO: count})


def pool_has(client: Any, *, running: int, queued: int) -> None:
    """Wait until the default pool is so."""
    end = time.monotonic() + DEADLINE
    while (pool := client.status().pools[0]).running + pool.queued < running + queued:
        assert time.monotonic() < end, f"the pool has {pool.running} running and {pool.queued} queued"
        time.sleep(0.05)


def sessions(run: Run) -> Measure:
    """Bytes per client."""
    found: dict[str, list[float | None]] = {}
    count = run.plan.sessions
    for name, transport in ((DIRECT, "direct"), (OVER_ZMQ, "zmq")):
        with Daemon(run.folder()) as daemon, contextlib.ExitStack() as stack:
            stack.enter_context(daemon.client(transport)).ping()
            before = resident(daemon.pid)
            for _ in range(count):
                stack.enter_context(daemon.client(transport)).ping()
            found[name] = [(resident(daemon.pid) - before) / count]
    return Measure("per session", "B", blocks=found, sizes=dict.fromkeys(found, count))


def workers(run: Run) -> Measure:
    """Bytes of each worker, and of the daemon for it."""
    with Daemon(run.folder()) as daemon, daemon.client() as client:
        client.submit(cube, 3).result()
        before = resident(daemon.pid)
        client.start_pool("more", workers=WORKERS)
        grown = (resident(daemon.pid) - before) / WORKERS
        pids = [worker.pid for pool in client.status("more").pools for worker in pool.workers]
        own = [resident(pid, ("Private_Clean", "Private_Dirty")) for pid in pids]
        share = [resident(pid, ("Pss",)) for pid in pids]
    return Measure("per worker", "B", blocks={"its own (USS)": [*own], "its share (PSS)": [*share], WHO: [grown]})


def run(run: Run) -> list[Measure]:
    measures = [idle(run), sessions(run), workers(run)]
    note("queued jobs")
    return [measures[0], queued(run), *measures[1:]]
