"""What durability costs: ``python -m benchmarks.store [--folder DIR] [--seconds 2] [--json]``.

The floor first: how often this disk can be made to keep a few hundred bytes (a write and an fdatasync, the least that
any durable record costs). Then one accept at a time on an idle store, to be held against the floor. Then groups of
several sizes, one group at a time, beside a loop thread that rests and beside one that does not. ``--folder`` is to be
on the disk that is meant; on a tmpfs it shows what the processor's part is.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import select
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stokerd.promise import Promise
from stokerd.store.records import Accepted, Move
from stokerd.store.store import Store

SIZES = (1, 50, 500)
BUSY = 40_000
"""Additions between two looks: about half a millisecond, a turn of a loop that has much to do."""
RECORD = 200
"""Bytes of what happened to a job: a note and a small value."""


class Turning:
    """The least of a clock: the store's descriptor, looked at by :meth:`until`."""

    def __init__(self) -> None:
        self._fd = -1
        self._call: Callable[[], object] = bool

    def watch(self, fd: int, call: Callable[..., object]) -> None:
        """See :class:`stokerd.clock.Clock`."""
        self._fd, self._call = fd, call

    def unwatch(self, fd: int) -> None:
        """See :class:`stokerd.clock.Clock`."""
        assert fd == self._fd

    def until(self, promise: Promise[None], *, busy: bool = False) -> None:
        """Turn until it is settled; ``busy``: without ever resting, as a loop under full load does."""
        while not promise.settled:
            if busy:
                sum(range(BUSY))
            if select.select([self._fd], [], [], 0 if busy else 60)[0]:
                self._call()
        promise.value()


def floor(folder: Path, seconds: float) -> list[float]:
    """Seconds of each write and fdatasync into a file that has its size already."""
    fd = os.open(folder / "floor", os.O_RDWR | os.O_CREAT, 0o600)
    os.pwrite(fd, bytes(1 << 22), 0)
    os.fsync(fd)
    taken = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        os.pwrite(fd, bytes(RECORD), len(taken) * 4096 % (1 << 22))
        os.fdatasync(fd)
        taken.append(time.perf_counter() - begin)
    os.close(fd)
    return taken


def batch(first_id: int) -> Accepted:
    return Accepted(first_id=first_id, count=1, key=None, head=bytes(60), lengths=bytes(4), payload=bytes(RECORD - 64))


def move(of: int) -> Move:
    return Move(batch=of, first=0, count=1, note=bytes(20), data=bytes(RECORD - 20))


class Bench:
    """One open store."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self._seconds = seconds
        self._clock: Any = Turning()
        self._store = Store(folder / "state", clock=self._clock, on_health=print)
        self._store.open()
        self._ids = itertools.count(1)

    def moves(self, size: int, *, busy: bool) -> tuple[float, float]:
        """Commits and rows per second."""
        group = [move(1)] * size
        return self._rates(size, lambda: self._store.move(group), busy=busy)

    def accepts(self, size: int, *, busy: bool) -> tuple[float, float]:
        """Commits and rows per second, each row a batch of one job in a call of its own."""

        def hand_over() -> Promise[None]:
            return [self._store.accept([batch(next(self._ids))]) for _ in range(size)][-1]

        return self._rates(size, hand_over, busy=busy)

    def latencies(self) -> list[float]:
        """Seconds of one accept at a time, from the call to its promise."""
        taken = []
        end = time.perf_counter() + self._seconds
        while (begin := time.perf_counter()) < end:
            self._clock.until(self._store.accept([batch(next(self._ids))]))
            taken.append(time.perf_counter() - begin)
        return taken

    def close(self) -> None:
        """All on disk."""
        self._clock.until(self._store.close())

    def _rates(self, size: int, hand_over: Callable[[], Promise[None]], *, busy: bool) -> tuple[float, float]:
        groups = 0
        begin = time.perf_counter()
        while (taken := time.perf_counter() - begin) < self._seconds:
            self._clock.until(hand_over(), busy=busy)
            groups += 1
        return groups / taken, groups * size / taken


def measure(folder: Path, seconds: float) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    syncs = floor(folder, seconds)
    found.append({"what": "floor: write + fdatasync", "per_s": len(syncs) / sum(syncs), **spread(syncs)})
    bench = Bench(folder, seconds)
    single = bench.latencies()
    found.append({"what": "accept, one at a time", "per_s": len(single) / sum(single), **spread(single)})
    for busy in (False, True):
        for name, run in (("moves", bench.moves), ("accepts", bench.accepts)):
            for size in SIZES:
                commits, rows = run(size, busy=busy)
                what = f"{name} in groups of {size}" + (", loop busy" if busy else "")
                found.append({"what": what, "per_s": commits, "rows_per_s": rows})
    bench.close()
    return found


def spread(taken: list[float]) -> dict[str, float]:
    """Milliseconds."""
    hundredths = statistics.quantiles(taken, n=100)
    return {"p50_ms": 1000 * hundredths[49], "p99_ms": 1000 * hundredths[98]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to make a folder for it; default: the current directory")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure (default 1)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stoker-bench-", dir=options.folder or Path.cwd()) as folder:
        found = measure(Path(folder), options.seconds)
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{'':<42} {'commits/s':>10} {'rows/s':>10} {'p50 ms':>8} {'p99 ms':>8}")
    for one in found:
        figures = [f"{one[name]:,.{digits}f}" if name in one else "" for name, digits in COLUMNS]
        print(f"{one['what']:<42} {figures[0]:>10} {figures[1]:>10} {figures[2]:>8} {figures[3]:>8}")


COLUMNS = (("per_s", 0), ("rows_per_s", 0), ("p50_ms", 2), ("p99_ms", 2))

if __name__ == "__main__":
    main()
