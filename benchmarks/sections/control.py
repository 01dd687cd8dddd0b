"""How soon the daemon answers: idle, and while both cores are saturated by burners at 100 % and by a pool that runs
jobs of 2 ms without a pause. The client that asks competes with all of that at normal priority, so its own way to a
core is part of what is measured.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from benchmarks import machine
from benchmarks.daemon import Daemon
from benchmarks.figures import Measure, one
from benchmarks.load import feeding
from benchmarks.peers import DIRECT, OVER_ZMQ
from benchmarks.peers.peer import percentiles
from benchmarks.rounds import Block, Taken, in_turn
from benchmarks.run import Run, note

TITLE = "Control"
LEAST = 200
RUN_UP = 2.0
"""Seconds until burners have reached their load."""


def latency(operation: Callable[[], object], seconds: float, most: int) -> Block:
    """A block: one after the other, for so long."""

    def block() -> dict[str, float]:
        taken: list[float] = []
        end = time.perf_counter() + seconds
        while len(taken) < most and ((begin := time.perf_counter()) < end or len(taken) < LEAST):
            operation()
            taken.append(time.perf_counter() - begin)
        return percentiles(taken)

    return block


@contextlib.contextmanager
def saturated(daemon: Daemon, client: Any) -> Iterator[None]:
    """Burners and a full pool."""
    cores = len(os.sched_getaffinity(0))
    client.start_burner("full", workers=cores, load=100.0, no_reserve=True)
    try:
        with feeding(daemon, 10_000_000, 0.002):
            time.sleep(RUN_UP)
            yield
    finally:
        client.stop("full")


def asked(clients: Mapping[str, Any], run: Run) -> dict[str, Taken]:
    """All operations over all transports, in turn."""
    found = {}
    for name in ("ping", "status"):
        blocks = {
            who: latency(getattr(client, name), run.plan.seconds, run.plan.operations)
            for who, client in clients.items()
        }
        found[name] = in_turn(blocks, run.plan.rounds)
    return found


def measures(found: Mapping[str, Taken], when: str) -> list[Measure]:
    """Both percentiles of each operation."""
    return [
        taken.measure(figure, f"{name} {when}, {figure}", "s")
        for name, taken in found.items()
        for figure in ("p50", "p99")
    ]


def run(run: Run) -> list[Measure]:
    with Daemon(run.folder()) as daemon, daemon.client() as direct, daemon.client("zmq") as over_zmq:
        clients = {DIRECT: direct, OVER_ZMQ: over_zmq}
        idle = asked(clients, run)
        note("under full load")
        with saturated(daemon, direct):
            (begin, before), loaded, (end, after) = machine.busy(), asked(clients, run), machine.busy()
    share = (after - before) / (end - begin) / (os.cpu_count() or 1) * 100
    load = one("the machine's load meanwhile", "%", "all cores", [share], "higher")
    return [*measures(loaded, "under full load"), load, *measures(idle, "idle")]
