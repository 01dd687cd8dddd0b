"""What the daemon itself uses, without its workers. *CPU per job*: its processor time over a block by the number of
jobs; *of all processes*: with the client's and the workers', which says what so many cores can do at best. *Idle*: how
often it goes to sleep in a second (its voluntary context switches, all its threads), which is how often something woke
it, and the processor time that it uses meanwhile. A daemon under systemd is woken by its watchdog as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.daemon import Daemon, Usage, cpu_of
from benchmarks.figures import Measure
from benchmarks.peers import DIRECT, OVER_ZMQ
from benchmarks.peers.tasks import cube
from benchmarks.rounds import Block, in_turn
from benchmarks.run import Run, note

TITLE = "The daemon's own cost"
SETTLED = 1.0
"""Seconds until what was started is at rest."""


def one_by_one(client: Any, count: int) -> None:
    for x in range(count):
        client.submit(cube, x).result()


def storm(client: Any, count: int) -> None:
    for job in [client.submit(cube, x) for x in range(count)]:
        job.result()


def mapping(client: Any, count: int) -> None:
    for _ in client.map(cube, range(count)):
        pass


def cost(daemon: Daemon, client: Any, work: Callable[[Any, int], None], count: int) -> Block:
    """A block: the daemon's seconds for one job, and everybody's."""
    work(client, count // 10 + 1)
    workers = [worker.pid for pool in client.status().pools for worker in pool.workers]

    def used() -> tuple[float, float]:
        own = daemon.usage().cpu
        return own, own + time.process_time() + sum(map(cpu_of, workers))

    def block() -> dict[str, float]:
        own, everybody = used()
        work(client, count)
        own_after, everybody_after = used()
        return {"cpu": (own_after - own) / count, "all": (everybody_after - everybody) / count}

    return block


def idle(daemon: Daemon, seconds: float) -> tuple[float, float]:
    """Wake-ups and processor time in a second."""
    time.sleep(SETTLED)
    before: Usage = daemon.usage()
    begin = time.monotonic()
    time.sleep(seconds)
    after, passed = daemon.usage(), time.monotonic() - begin
    return (after.voluntary - before.voluntary) / passed, (after.cpu - before.cpu) / passed


def run(run: Run) -> list[Measure]:
    plan, folder, other = run.plan, run.folder(), run.folder()
    kinds = {
        "one by one": (one_by_one, plan.trips),
        "storm": (storm, plan.storm),
        "map, per element": (mapping, plan.elements),
    }
    measures = []
    with Daemon(folder) as first, Daemon(other) as second, first.client() as direct, second.client("zmq") as over_zmq:
        subjects = {DIRECT: (first, direct), OVER_ZMQ: (second, over_zmq)}
        for name, (work, count) in kinds.items():
            blocks = {who: cost(daemon, client, work, count) for who, (daemon, client) in subjects.items()}
            taken = in_turn(blocks, plan.rounds)
            measures.append(taken.measure("cpu", f"CPU per job, {name}", "s"))
            measures.append(taken.measure("all", f"CPU per job of all processes, {name}", "s"))
    note("idle")
    return [*measures, *at_rest(run)]


def at_rest(run: Run) -> list[Measure]:
    """After some work: with clients that stay, and without."""
    found = {}
    with Daemon(run.folder()) as daemon:
        found["fresh"] = idle(daemon, run.plan.idle)
        with daemon.client() as direct, daemon.client("zmq") as over_zmq:
            for client in (direct, over_zmq):
                storm(client, 1000)
            found["two idle clients"] = idle(daemon, run.plan.idle)
        found["clients gone"] = idle(daemon, run.plan.idle)
    return [
        Measure("idle wake-ups", "/s", blocks={name: [woken] for name, (woken, _) in found.items()}),
        Measure("idle CPU per second", "s", blocks={name: [cpu] for name, (_, cpu) in found.items()}),
    ]
