"""A process's load as the kernel sees it from outside, by its CPU clock (clock_getcpuclockid(3)), and what else the
machine does. Figures are points of one core: 1 point = 1 % of a core.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import psutil

from stokerd.burners.kinds import spin

FOREIGN_LOAD = 0.4
"""Share of a core that somebody else's load takes while it is there."""


class Sample(NamedTuple):
    """The process's CPU clock at a moment."""

    wall: float
    cpu: float


class Machine(NamedTuple):
    """Seconds of all cores in which anything ran."""

    wall: float
    busy: float


def machine() -> Machine:
    """Busy is what is not idle: the kernel samples who runs by its tick, and measures for how long nobody does."""
    wall, times = time.monotonic(), psutil.cpu_times()
    return Machine(wall, (os.cpu_count() or 1) * wall - times.idle - times.iowait - times.steal)


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
    own, wall = samples[-1].cpu - samples[0].cpu, after.wall - before.wall
    return {
        "run": abs(errors(samples, target, len(samples) - 1)[0]),
        "second": max(map(abs, errors(samples, target, min(10, len(samples) - 1)))),
        "rms": math.sqrt(math.fsum(error * error for error in errors(samples, target, 1)) / (len(samples) - 1)),
        "others": max(0.0, (after.busy - before.busy - own) / wall * 100),
    }


def usage(pid: int, seconds: float) -> float:
    """Percent of a core that one process uses."""
    first = sample(pid)
    time.sleep(seconds)
    last = sample(pid)
    return (last.cpu - first.cpu) / (last.wall - first.wall) * 100


@contextlib.contextmanager
def foreign(work: Callable[..., None], *args: Any) -> Iterator[None]:
    """A process of somebody else's."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=args, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def hog(core: int) -> None:
    """Wants all of one core."""
    os.sched_setaffinity(0, {core})
    while True:
        spin(10_000)


def come_and_go(period: float) -> None:
    """There for one period and away for the next."""
    while True:
        end = time.monotonic() + period
        while time.monotonic() < end:
            used = time.thread_time()
            while time.thread_time() - used < 0.02 * FOREIGN_LOAD:
                spin(500)
            time.sleep(0.02 * (1 - FOREIGN_LOAD))
        time.sleep(period)
