"""How exact burners are: ``python -m benchmarks.burners [--seconds 10] [--rounds 3] [--quick] [--json]``.

Each process is watched from outside, by the kernel's own CPU clock of it (clock_getcpuclockid(3)), not by what it says
of itself. Figures are points of one core: 1 point = 1 % of a core. stress-ng and lookbusy go through the same
measurements where they are installed, case by case in turn, so that all see the same machine; figures are medians over
the rounds. Beside each stands what else the machine did in the meantime (``others``, ``steal``), because on a machine
that is not quiet an error may be the neighbours'.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import math
import mmap
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psutil

from stoker.errors import StokerError
from stoker.protocol.models import Environment
from stokerd.burners.burn import run
from stokerd.burners.control import PERIOD, Grid
from stokerd.burners.diary import Clocks
from stokerd.burners.kinds import KINDS, spin
from stokerd.burners.page import PAGE_BYTES, Order, Page
from stokerd.burners.registry import Burners
from stokerd.bus import Bus
from stokerd.clock import LoopClock
from stokerd.forkserver.host import ForkServers
from stokerd.promise import Promise

T = TypeVar("T")
Row = dict[str, Any]

LOADS = (10.0, 30.0, 60.0, 90.0)
CONTENDED = "50 beside a 100 % competitor"
FULL = "100"
STEP_SETTLED = 2.0
"""Points of a core over one tick within which a new target counts as reached."""

RUN_UP = 0.5
"""Seconds that a generator gets before it is watched."""

MACHINE_TARGET, FOREIGN_LOAD, MACHINE_WINDOW = 70.0, 0.4, 5.0
"""Mode ``total``: percent of the machine; the foreign load's share of a core while it is there; seconds of a figure."""

COMPARED = ("run_error", "worst_second", "rms_100ms")


class Sample(NamedTuple):
    """The process's CPU clock at a moment."""

    wall: float
    cpu: float


class Machine(NamedTuple):
    """Seconds of all cores: in which anything ran, and stolen by the hypervisor."""

    wall: float
    busy: float
    stolen: float


def machine() -> Machine:
    """Busy is what is not idle: the kernel samples who runs by its tick, and measures for how long nobody does."""
    wall, times = time.monotonic(), psutil.cpu_times()
    idle = times.idle + times.iowait + times.steal
    return Machine(wall, (os.cpu_count() or 1) * wall - idle, times.steal)


def sample(pid: int) -> Sample:
    return Sample(time.monotonic(), time.clock_gettime((~pid << 3) | 2))


def watch(pid: int, seconds: float, step: float = 0.1) -> list[Sample]:
    """Samples on an absolute grid, so that the watching does not drift."""
    begin, samples = time.monotonic(), [sample(pid)]
    for number in range(1, round(seconds / step) + 1):
        time.sleep(max(0.0, begin + number * step - time.monotonic()))
        samples.append(sample(pid))
    return samples


def errors(samples: list[Sample], target: float, width: int) -> list[float]:
    """Error in points of every stretch of ``width`` samples."""
    pairs = zip(samples, samples[width:], strict=False)
    return [(last.cpu - first.cpu) / (last.wall - first.wall) * 100 - target for first, last in pairs]


def measure(pid: int, target: float, seconds: float) -> Row:
    """The errors of one process, and what the others did meanwhile."""
    before, samples, after = machine(), watch(pid, seconds), machine()
    own = samples[-1].cpu - samples[0].cpu
    wall = after.wall - before.wall
    return {
        "target": target,
        "run_error": errors(samples, target, len(samples) - 1)[0],
        "worst_second": max(map(abs, errors(samples, target, min(10, len(samples) - 1)))),
        "rms_100ms": math.sqrt(math.fsum(e * e for e in errors(samples, target, 1)) / (len(samples) - 1)),
        "others": max(0.0, (after.busy - before.busy - own) / wall * 100),
        "steal": (after.stolen - before.stolen) / wall * 100,
    }


@contextlib.contextmanager
def foreign(work: Callable[..., None], *args: Any) -> Iterator[None]:
    """A process of somebody else's."""
    process = multiprocessing.get_context("fork").Process(target=work, args=args, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def _hog(core: int) -> None:
    """Wants all of one core."""
    os.sched_setaffinity(0, {core})
    while True:
        spin(10_000)


def _comer_and_goer(period: float) -> None:
    """There for one period and away for the next."""
    while True:
        end = time.monotonic() + period
        while time.monotonic() < end:
            used = time.thread_time()
            while time.thread_time() - used < 0.02 * FOREIGN_LOAD:
                spin(500)
            time.sleep(0.02 * (1 - FOREIGN_LOAD))
        time.sleep(period)


# --- what is compared: each context yields the process id that burns ------------------------------------------


async def value(promise: Promise[T]) -> T:
    settled = asyncio.Event()
    promise.when_settled(lambda _: settled.set())
    await settled.wait()
    return promise.value()


class Stoker:
    """Stoker's burners, by the part that the daemon uses."""

    name = "stoker"

    def __init__(self, burners: Burners, kind: str = "spin") -> None:
        self.burners, self.kind = burners, kind
        if kind != "spin":
            self.name = f"stoker {kind}"

    async def measure(self, load: float, seconds: float, core: int | None) -> Row:
        """The figures of one process at this load; pinned to a core, or not."""
        cpus = () if core is None else (core,)
        more = {"nice": 0, "cpus": cpus, "generator": self.kind, "no_reserve": True}
        info = await value(self.burners.start("bench", 1, load, **more))  # type: ignore[arg-type]
        pid = info.workers[0].pid
        assert pid is not None
        await asyncio.sleep(RUN_UP)
        try:
            return await asyncio.to_thread(measure, _burning(pid) if ":" in self.kind else pid, load, seconds)
        finally:
            await value(self.burners.stop(["bench"]))


class Program:
    """Another load generator.

    Args:
        name: of its program.
        arguments: from the load in percent to its arguments; one process is to burn.
    """

    def __init__(self, name: str, arguments: Callable[[float], list[str]]) -> None:
        self.name, self._arguments = name, arguments

    async def measure(self, load: float, seconds: float, core: int | None) -> Row:
        """The figures of one process at this load; pinned to a core, or not."""
        pinned = [] if core is None else ["taskset", "-c", str(core)]
        process = await asyncio.to_thread(
            subprocess.Popen, [*pinned, self.name, *self._arguments(load)], stdout=subprocess.DEVNULL
        )
        try:
            pid = _burning(process.pid)
            await asyncio.sleep(RUN_UP)
            return await asyncio.to_thread(measure, pid, load, seconds)
        finally:
            process.terminate()
            process.wait()


PROGRAMS = (
    Program("stress-ng", lambda load: ["--cpu", "1", "--cpu-load", f"{load:.0f}", "--timeout", "0", "--quiet"]),
    Program("lookbusy", lambda load: ["--ncpus", "1", "--cpu-util", f"{load:.0f}", "--quiet"]),
)


def _burning(pid: int) -> int:
    """The process under this one that burns."""
    while True:
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if sum(child.cpu_times()[:2]) > 0.02:
                    return int(child.pid)
        time.sleep(0.01)


async def compare(subjects: Sequence[Stoker | Program], seconds: float, rounds: int, core: int) -> list[Row]:
    """Every case, all subjects in turn, so many times; medians."""
    cases: list[tuple[str, float, bool]] = [(f"{load:g}", load, False) for load in LOADS]
    cases += [(FULL, 100.0, False), (CONTENDED, 50.0, True)]
    rows = []
    for case, load, contended in cases:
        found: dict[str, list[Row]] = {subject.name: [] for subject in subjects}
        for _, subject in itertools.product(range(rounds), subjects):
            with foreign(_hog, core) if contended else contextlib.nullcontext():
                found[subject.name].append(await subject.measure(load, seconds, core if contended else None))
        rows += [{"who": name, "case": case, **_medians(runs)} for name, runs in found.items()]
    return rows


def _medians(runs: Sequence[Row]) -> Row:
    """The median of each figure; of errors, that of their sizes decides, with its sign."""
    middle = sorted(runs, key=lambda row: abs(row["run_error"]))[len(runs) // 2]
    return {key: middle[key] if key == "run_error" else statistics.median(run[key] for run in runs) for key in runs[0]}


def ratios(rows: Sequence[Row]) -> list[Row]:
    """How many times Stoker's error each of the others has, case by case."""
    stoker = {row["case"]: row for row in rows if row["who"] == Stoker.name}
    return [
        {
            "who": row["who"],
            "case": row["case"],
            **{key: abs(row[key]) / max(abs(stoker[row["case"]][key]), 1e-3) for key in COMPARED},
        }
        for row in rows
        if row["who"] != Stoker.name
    ]


# --- what only Stoker has -------------------------------------------------------------------------------------


async def every_kind(burners: Burners, seconds: float) -> list[Row]:
    """Each kind at 50 %, by its own clock; a disk by its bytes."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        params: dict[str, dict[str, Any]] = {
            "memory": {"bytes": 64 << 20},
            "disk": {"rate": 4e6, "folder": folder, "quota": 8 << 20},
            "call": {"call": "os:listdir"},
        }
        for kind in KINDS:
            try:
                await value(burners.start("bench", 1, 50.0, generator=kind, params=params.get(kind, {})))
            except StokerError as why:
                print(f"kind {kind}: {why}", file=sys.stderr)
                continue
            await asyncio.sleep(max(1.0, seconds / 2))
            info = burners.info()[0]
            rows.append(
                {
                    "who": "stoker",
                    "case": f"kind {kind}",
                    "target": info.target,
                    "last_second_error": info.achieved - info.target,
                    "work_per_second": f"{info.work:.4g} {info.work_unit}".strip(),
                }
            )
            await value(burners.stop(["bench"]))
    return rows


async def total_mode(burners: Burners, seconds: float) -> Row:
    """The whole machine held at a load while somebody else's comes and goes."""
    await value(burners.start("bench", None, MACHINE_TARGET, mode="total", no_reserve=True))
    worst, windows = 0.0, max(1, round(2 * seconds / MACHINE_WINDOW))
    with foreign(_comer_and_goer, MACHINE_WINDOW / 2):
        await asyncio.sleep(1.0)
        for _ in range(windows):
            before = machine()
            await asyncio.sleep(MACHINE_WINDOW)
            after = machine()
            cores = os.cpu_count() or 1
            busy = (after.busy - before.busy) / (after.wall - before.wall) / cores * 100
            worst = max(worst, abs(busy - MACHINE_TARGET))
    await value(burners.stop(["bench"]))
    return {"who": "stoker", "case": f"machine at {MACHINE_TARGET:g} in total", "worst_5s": worst, "windows": windows}


async def daemon_cost(burners: Burners, seconds: float) -> Row:
    """CPU time that 64 burners cost this process, percent of a core: by themselves, and asked once a second."""
    await asyncio.gather(*(value(burners.start(f"b{n}", 1, 0.5, no_reserve=True)) for n in range(64)))
    cost = []
    for asked in (False, True):
        begin, used = time.monotonic(), time.process_time()
        while (left := begin + seconds - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 1.0))
            if asked:
                burners.info()
        cost.append((time.process_time() - used) / (time.monotonic() - begin) * 100)
    await value(burners.stop([info.name for info in burners.info()]))
    return {"who": "stoker", "case": "64 burners' cost to the daemon", "idle": cost[0], "asked_each_second": cost[1]}


async def paused_cost(burners: Burners, seconds: float) -> Row:
    """CPU time of a process that has nothing to burn, percent of a core."""
    info = await value(burners.start("bench", 1, 50.0))
    pid = info.workers[0].pid
    assert pid is not None
    await value(burners.set("bench", paused=True))
    await asyncio.sleep(RUN_UP)
    first = sample(pid)
    await asyncio.sleep(seconds)
    last = sample(pid)
    await value(burners.stop(["bench"]))
    return {"who": "stoker", "case": "paused", "cpu": (last.cpu - first.cpu) / (last.wall - first.wall) * 100}


def step_runs(repeat: int) -> list[Row]:
    """Ticks until a new target is reached, worst of several, from the process's own records of its ticks."""
    rows = []
    for before, after in ((0.2, 0.8), (0.8, 0.2)):
        ticks = [_step(before, after) for _ in range(repeat)]
        rows.append(
            {
                "who": "stoker",
                "case": f"step {before:.0%} to {after:.0%}",
                "worst_ticks": max(ticks),
                "median_ticks": sorted(ticks)[repeat // 2],
            }
        )
    return rows


def _step(before: float, after: float) -> int:
    page = Page(mmap.mmap(-1, PAGE_BYTES))
    page.give(Order(1, before, math.inf))
    process = multiprocessing.get_context("fork").Process(target=_burn, args=(page,), daemon=True)
    process.start()
    _await(lambda: (newest := page.newest()) is not None and newest.observed == 1)
    ordered = time.monotonic()
    page.give(Order(2, after, math.inf))
    _await(lambda: (newest := page.newest()) is not None and newest.epoch == 2 and newest.tick - newest.since >= 50)
    page.give(Order(2, after, math.inf, stop=True))
    process.join()
    newest = page.newest()
    assert newest is not None
    records = [record for tick in range(newest.tick - 110, newest.tick + 1) if (record := page.record(tick))]
    since = [record for record in records if record.tick >= newest.since]
    good = [
        abs((last.cpu - first.cpu) / (last.wall - first.wall) - after) * 100 <= STEP_SETTLED
        for first, last in itertools.pairwise(since)
    ]
    settled = next((n for n in range(len(good) - 5) if all(good[n : n + 5])), len(good))
    return math.ceil((since[0].wall - ordered) / PERIOD) + settled


def _burn(page: Page) -> None:
    run(page, KINDS["spin"]({}), Clocks(time.monotonic, time.sleep, time.sleep), Grid(), lambda: None)


def _await(is_so: Callable[[], bool]) -> None:
    while not is_so():
        time.sleep(0.001)


# --- all of it ------------------------------------------------------------------------------------------------


async def everything(seconds: float, rounds: int, core: int) -> dict[str, Any]:
    clock, bus = LoopClock(asyncio.get_running_loop()), Bus(time.time)
    forker = ForkServers(clock, bus, Environment(executable=sys.executable, cwd=str(Path.cwd())))
    burners = Burners(clock, bus, forker, default_seconds=3600.0, max_processes=256)
    installed = [program for program in PROGRAMS if shutil.which(program.name)]
    for program in PROGRAMS:
        if program not in installed:
            print(f"{program.name} is not installed, and left out", file=sys.stderr)
    subjects: list[Stoker | Program] = [Stoker(burners), *installed]
    if shutil.which("stress-ng"):
        subjects.append(Stoker(burners, "stress-ng:cpu"))
    rows = await compare(subjects, seconds, rounds, core)
    own = [
        *await every_kind(burners, seconds),
        await total_mode(burners, seconds),
        await daemon_cost(burners, seconds),
        await paused_cost(burners, seconds),
    ]
    await value(burners.close())
    await value(forker.close(1.0))
    left_out = [program.name for program in PROGRAMS if program not in installed]
    return {"ratios": ratios(rows), "rows": [*rows, *own, *step_runs(2 * rounds)], "left_out": left_out}


def show(title: str, rows: Sequence[Row]) -> None:
    print(title)
    for row in rows:
        figures = {key: value for key, value in row.items() if key not in {"who", "case"}}
        text = "  ".join(
            f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in figures.items()
        )
        print(f"  {row['who']:<20} {row['case']:<32} {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of all measurements; medians are shown")
    parser.add_argument("--quick", action="store_true", help="1 second, 1 round: shows that it works, and no more")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    seconds, rounds = (1.0, 1) if options.quick else (options.seconds, options.rounds)
    found = asyncio.run(everything(seconds, rounds, max(os.sched_getaffinity(0))))
    facts = {"cores": len(os.sched_getaffinity(0)), "python": sys.version.split()[0], "seconds": seconds}
    if options.json:
        print(json.dumps({**facts, "rounds": rounds, **found}))
        return
    print(f"{facts['cores']} cores, Python {facts['python']}, {seconds:g} s each, medians of {rounds}")
    show("how many times Stoker's error", found["ratios"])
    show("points of one core", found["rows"])


if __name__ == "__main__":
    main()
