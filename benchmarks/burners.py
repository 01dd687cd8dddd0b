"""How exact burners are: ``python -m benchmarks.burners [--seconds 10] [--json]``.

Each process is watched from outside, by the kernel's own CPU clock of it (clock_getcpuclockid(3)), not by what it says
of itself. Figures are points of one core: 1 point = 1 % of a core. Beside each stands what else the machine did in the
meantime, because on a machine that is not quiet an error may be the neighbours'. stress-ng runs through the same
measurements when it is installed.
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
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psutil

from stoker.protocol.models import Environment
from stokerd.burners.burn import Clocks, run
from stokerd.burners.control import PERIOD, Grid
from stokerd.burners.kinds import KINDS, calibrated, spin
from stokerd.burners.page import PAGE_BYTES, Order, Page
from stokerd.burners.registry import Burners
from stokerd.bus import Bus
from stokerd.clock import LoopClock
from stokerd.forkserver.host import ForkServers
from stokerd.promise import Promise

T = TypeVar("T")
LOADS = (10.0, 30.0, 60.0, 90.0)
STEP_SETTLED = 2.0
"""Points of a core over one tick within which a new target counts as reached."""


class Sample(NamedTuple):
    """The process's CPU clock at a moment."""

    wall: float
    cpu: float


class Machine(NamedTuple):
    """CPU seconds of all cores: busy with anything, and stolen by the hypervisor."""

    busy: float
    stolen: float


def machine() -> Machine:
    times = psutil.cpu_times()
    return Machine(sum(times[:3]) + times.irq + times.softirq, times.steal)


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


def measure(pid: int, target: float, seconds: float) -> dict[str, float]:
    """The errors of one process, and what the others did meanwhile."""
    before, samples, after = machine(), watch(pid, seconds), machine()
    wall = samples[-1].wall - samples[0].wall
    own = samples[-1].cpu - samples[0].cpu
    return {
        "target": target,
        "run_error": errors(samples, target, len(samples) - 1)[0],
        "worst_second": max(map(abs, errors(samples, target, 10))),
        "rms_100ms": math.sqrt(math.fsum(e * e for e in errors(samples, target, 1)) / (len(samples) - 1)),
        "others": max(0.0, (after.busy - before.busy - own) / wall * 100),
        "steal": (after.stolen - before.stolen) / wall * 100,
    }


@contextlib.contextmanager
def hog(core: int) -> Iterator[None]:
    """A competitor that wants all of one core."""
    process = multiprocessing.get_context("fork").Process(target=_hog, args=(core,), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def _hog(core: int) -> None:
    os.sched_setaffinity(0, {core})
    while True:
        spin(10_000)


async def value(promise: Promise[T]) -> T:
    settled = asyncio.Event()
    promise.when_settled(lambda _: settled.set())
    await settled.wait()
    return promise.value()


async def stoker_runs(seconds: float, core: int) -> list[dict[str, Any]]:
    """All measurements of Stoker's burners, by the part that the daemon uses."""
    clock, bus = LoopClock(asyncio.get_running_loop()), Bus(time.time)
    forker = ForkServers(clock, bus, Environment(executable=sys.executable, cwd=str(Path.cwd())))
    burners = Burners(clock, bus, forker, default_seconds=3600.0, max_processes=256)
    rows: list[dict[str, Any]] = []

    async def one(case: str, load: float, cpus: tuple[int, ...] = ()) -> None:
        info = await value(burners.start("bench", 1, load, nice=0, cpus=cpus))
        pid = info.workers[0].pid
        assert pid is not None
        rows.append({"who": "stoker", "case": case, **measure(pid, load, seconds)})
        await value(burners.stop(["bench"]))

    for load in LOADS:
        await one("free", load)
    await one("all of a core", 100.0)
    with hog(core):
        await one("beside a 100 % competitor", 50.0, (core,))
    rows.append(await daemon_cost(burners, seconds))
    await value(burners.close())
    await value(forker.close(1.0))
    return rows


async def daemon_cost(burners: Burners, seconds: float) -> dict[str, Any]:
    """CPU time that 64 burners cost this process, percent of a core: by themselves, and asked once a second."""
    await asyncio.gather(*(value(burners.start(f"b{n}", 1, 0.5)) for n in range(64)))
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


def step_runs(repeat: int = 5) -> list[dict[str, Any]]:
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
    chunk = calibrated(spin)
    run(page, chunk, Clocks(time.monotonic, KINDS["spin"].clock, time.sleep), Grid(), lambda: None)


def _await(is_so: Callable[[], bool]) -> None:
    while not is_so():
        time.sleep(0.001)


def stress_ng_runs(program: str, seconds: float, core: int) -> list[dict[str, Any]]:
    """The same of stress-ng."""

    def one(case: str, load: float, *more: str) -> dict[str, Any]:
        arguments = ["--cpu", "1", "--cpu-load", f"{load:g}", "--timeout", f"{seconds + 30:.0f}s", "--quiet", *more]
        with subprocess.Popen([program, *arguments]) as stress:
            pid = _worker(stress.pid)
            time.sleep(0.5)  # it has its own run-up
            row = {"who": "stress-ng", "case": case, **measure(pid, load, seconds)}
            stress.terminate()
        return row

    rows = [one("free", load) for load in LOADS]
    rows.append(one("all of a core", 100.0))
    with hog(core):
        rows.append(one("beside a 100 % competitor", 50.0, "--taskset", str(core)))
    return rows


def _worker(pid: int) -> int:
    """The process under stress-ng's own that burns."""
    while True:
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.cpu_times().user > 0.02:
                    return int(child.pid)
        time.sleep(0.01)


def show(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        figures = {key: value for key, value in row.items() if key not in {"who", "case"}}
        text = "  ".join(
            f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in figures.items()
        )
        print(f"{row['who']:<10} {row['case']:<32} {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    core = max(os.sched_getaffinity(0))
    rows = asyncio.run(stoker_runs(options.seconds, core)) + step_runs()
    if program := shutil.which("stress-ng"):
        rows += stress_ng_runs(program, options.seconds, core)
    else:
        print("stress-ng is not installed: nothing to compare with", file=sys.stderr)
    if options.json:
        print(json.dumps({"cores": len(os.sched_getaffinity(0)), "python": sys.version.split()[0], "rows": rows}))
    else:
        show(rows)


if __name__ == "__main__":
    main()
