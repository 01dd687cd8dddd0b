"""What durability costs, without the daemon around it. The floor is how often this disk can be made to keep 200
bytes: a write and an `fdatasync`. Then one accept at a time on an idle store, to be held against the floor; then
groups of several sizes, one at a time, beside a loop thread that rests and beside one that does not. It says what
the disk under the temporary directory does: on a tmpfs, what the processor's part is.
"""

from __future__ import annotations

import itertools
import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.figures import Measure
from benchmarks.peers.peer import percentiles
from benchmarks.run import Run
from stokerd.promise import Promise
from stokerd.store.records import Accepted, Move
from stokerd.store.store import Store

TITLE = "The store"
FLOOR = "floor: write + fdatasync"
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

    def moves(self, size: int, *, busy: bool) -> float:
        """Rows per second."""
        group = [move(1)] * size
        return self._rates(size, lambda: self._store.move(group), busy=busy)

    def accepts(self, size: int, *, busy: bool) -> float:
        """Rows per second, each a batch of one job in a call of its own."""

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

    def _rates(self, size: int, hand_over: Callable[[], Promise[None]], *, busy: bool) -> float:
        groups = 0
        begin = time.perf_counter()
        while (taken := time.perf_counter() - begin) < self._seconds:
            self._clock.until(hand_over(), busy=busy)
            groups += 1
        return groups * size / taken


def run(run: Run) -> list[Measure]:
    folder = run.folder()
    folder.mkdir()
    seconds = 0.4 * run.plan.seconds
    rows, commits = Measure("records", "/s", "higher"), Measure("one record on disk, p50", "s")
    late = Measure("one record on disk, p99", "s")

    def note_down(name: str, taken: list[float]) -> None:
        found = percentiles(taken)
        commits.blocks.setdefault(name, []).append(found["p50"])
        late.blocks.setdefault(name, []).append(found.get("p99"))

    bench = Bench(folder, seconds)
    for _ in range(run.plan.rounds):
        note_down(FLOOR, floor(folder, seconds))
        note_down("Stoker's store", bench.latencies())
        for busy, (name, rate), size in itertools.product(
            (False, True), (("moves", bench.moves), ("accepts", bench.accepts)), SIZES
        ):
            what = f"{name} in groups of {size}" + (", loop busy" if busy else "")
            rows.blocks.setdefault(what, []).append(rate(size, busy=busy))
    bench.close()
    return [commits, late, rows]
