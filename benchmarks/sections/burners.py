"""How exact load is. Each process is watched from outside, by the kernel's CPU clock of it and not by what it says
of itself, in points of one core (1 point = 1 % of a core): the error over the whole measurement, of its worst
second, and the root mean square over stretches of 100 ms. stress-ng and lookbusy go through the same where they are
installed, case by case in turn. *Others* is what the rest of the machine used meanwhile: where it is not near zero,
an error may be the neighbours'.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.burning import steps, watching
from benchmarks.burning.generators import NAME, PROGRAMS, Burner, Program
from benchmarks.daemon import Daemon
from benchmarks.figures import Measure
from benchmarks.rounds import Block, in_turn
from benchmarks.run import Run, note
from stoker.errors import StokerError

TITLE = "Burners"
POINTS = "points"
LOADS = (10.0, 30.0, 60.0, 90.0, 100.0)
RUN_UP = 0.5
"""Seconds that a generator gets before it is watched."""
OURS = "Stoker"
KINDS = ("spin", "hash", "float", "matrix", "memory", "bandwidth", "disk", "call")
MACHINE_TARGET, MACHINE_WINDOW = 70.0, 5.0
"""Mode ``total``: percent of the machine; seconds of one figure."""
MANY = 64
GROUPS = {
    "run": "error over the run",
    "second": "error of the worst second",
    "rms": "rms error over 100 ms",
    "others": "others",
}


def block(generator: Burner | Program, load: float, seconds: float, contended: int | None) -> Block:
    """One measurement of one process; beside a competitor for its core where one is named."""

    def once() -> dict[str, float]:
        beside = contextlib.nullcontext() if contended is None else watching.foreign(watching.hog, contended)
        with beside, generator.burning(load, contended) as pid:
            time.sleep(RUN_UP)
            return watching.measure(pid, load, seconds)

    return once


def compared(run: Run, client: Any) -> list[Measure]:
    """Every case, all generators in turn."""
    generators: dict[str, Burner | Program] = {OURS: Burner(client)}
    for program in PROGRAMS:
        if not program.installed:
            run.leave_out(program.name, "is not installed")
        elif run.wants(program.name):
            generators[program.name] = program
    if "stress-ng" in generators:
        generators["Stoker's stress-ng:cpu"] = Burner(client, "stress-ng:cpu")
    core = max(os.sched_getaffinity(0))
    cases: list[tuple[str, float, int | None]] = [(f"{load:g} %", load, None) for load in LOADS]
    cases.append(("50 % beside a hog", 50.0, core))
    measures: list[Measure] = []
    for case, load, contended in cases:
        note(case)
        blocks = {name: block(who, load, run.plan.burns, contended) for name, who in generators.items()}
        taken = in_turn(blocks, run.plan.burn_rounds)
        measures += [grouped(taken.measure(key, f"{group}, {case}", POINTS), group) for key, group in GROUPS.items()]
    return sorted(measures, key=lambda measure: list(GROUPS.values()).index(measure.group))


def grouped(measure: Measure, group: str) -> Measure:
    """In a table with others."""
    measure.group = group
    if group == GROUPS["others"]:
        measure.better = ""  # nobody's merit
    return measure


def kinds(client: Any, seconds: float, folder: str) -> Measure:
    """Each kind at 50 %, by its own clock of its last second; a disk by its bytes."""
    found = Measure("every kind at 50 %: error of its last second", POINTS)
    more: dict[str, dict[str, Any]] = {
        "memory": {"bytes": 64 << 20},
        "disk": {"rate": 4e6, "folder": folder, "quota": 8 << 20},
        "call": {"call": "os:listdir"},
    }
    for kind in KINDS:
        try:
            client.start_burner(NAME, workers=1, load=50.0, kind=kind, no_reserve=True, **more.get(kind, {}))
        except StokerError as why:
            found.failed[kind] = str(why)
            continue
        time.sleep(max(1.5, seconds / 2))
        info = client.status(NAME).burners[0]
        found.blocks[kind] = [abs(info.achieved - info.target)]
        client.stop(NAME)
    return found


def total(client: Any, seconds: float) -> Measure:
    """The whole machine held at a load while somebody else's comes and goes."""
    client.start_burner(NAME, load=MACHINE_TARGET, mode="total", no_reserve=True)
    found: list[float | None] = []
    with watching.foreign(watching.come_and_go, MACHINE_WINDOW / 2):
        time.sleep(1.0)
        for _ in range(max(1, round(2 * seconds / MACHINE_WINDOW))):
            before, _, after = watching.machine(), time.sleep(MACHINE_WINDOW), watching.machine()
            busy = (after.busy - before.busy) / (after.wall - before.wall) / (os.cpu_count() or 1) * 100
            found.append(abs(busy - MACHINE_TARGET))
    client.stop(NAME)
    return Measure(f"machine held at {MACHINE_TARGET:g} % in total: error over 5 s", "% of it", blocks={OURS: found})


def costs(daemon: Daemon, client: Any, seconds: float) -> Measure:
    """Percent of a core: of the daemon with many burners, and of a burner that is paused."""
    found: dict[str, list[float | None]] = {}
    for number in range(MANY):
        client.start_burner(f"b{number}", workers=1, load=0.5, no_reserve=True)
    found[f"daemon with {MANY} burners"] = [watching.usage(daemon.pid, seconds)]
    with repeated(client.status, 1.0):
        found["the same, status asked each second"] = [watching.usage(daemon.pid, seconds)]
    client.stop(*(f"b{number}" for number in range(MANY)))
    client.start_burner(NAME, workers=1, load=50.0, no_reserve=True)
    client.set(NAME, paused=True)
    time.sleep(RUN_UP)
    found["a paused burner"] = [watching.usage(client.status(NAME).burners[0].workers[0].pid, seconds)]
    client.stop(NAME)
    return Measure("cost", "% of a core", blocks=found)


@contextlib.contextmanager
def repeated(call: Callable[[], object], period: float) -> Iterator[None]:
    """Another thread calls it again and again."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(period):
            call()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def ticks(repeat: int) -> Measure:
    """From an order to its effect."""
    steps_taken = {
        f"{before:.0%} to {after:.0%}": [float(steps.step(before, after)) for _ in range(repeat)]
        for before, after in ((0.2, 0.8), (0.8, 0.2))
    }
    return Measure("a new target is reached after", "ticks of 10 ms", blocks={**steps_taken})


def run(run: Run) -> list[Measure]:
    seconds, folder = run.plan.burns, run.folder()
    folder.mkdir()
    with Daemon(run.folder()) as daemon, daemon.client() as client:
        measures = compared(run, client)
        note("kinds, whole machine, costs, steps")
        own = [kinds(client, seconds, str(folder)), total(client, seconds), costs(daemon, client, seconds)]
    return [*measures, *own, ticks(2 * run.plan.burn_rounds)]
