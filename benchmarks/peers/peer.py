"""What a peer has to be able to do, and how it is measured while it does."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.tasks import add_one, cube, echo

WORKERS = 2
LARGE = 10_000_000
"""Bytes of a large value."""
IN_FLIGHT = 4
"""Large jobs that are handed in before the first result is taken."""
WARM_UP = 20
HUNDRED = 100


class Missing(Exception):
    """The peer has nothing of the kind."""


class Peer:
    """One peer, alive. What is heavy is imported in :meth:`start`, so that a cold start includes it.

    Args:
        scratch: a directory of its own, short enough for a socket's path.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch

    def start(self) -> None:
        """Come up; need not wait until workers are there."""

    def stop(self) -> None:
        """End all that was started."""

    def measures(self) -> Any:
        """What its blocks are: methods from a size to figures."""
        return Measures(self)

    def submit(self, function: Callable[..., Any], x: Any) -> Any:
        """Hand in one job."""
        raise Missing

    def result(self, handle: Any) -> Any:
        """Wait for its result."""
        return handle.result()

    def call(self, x: int) -> Any:
        """One job, there and back."""
        return self.result(self.submit(cube, x))

    def storm(self, count: int) -> list[Any]:
        """So many single submits, then all results."""
        submit, result = self.submit, self.result
        return [result(handle) for handle in [submit(cube, x) for x in range(count)]]

    def map(self, count: int) -> list[Any]:
        """The peer's own map, as it comes."""
        raise Missing

    def chunked(self, count: int, chunk: int) -> list[Any]:
        """The peer's own map, with chunks of this size."""
        raise Missing

    def large(self, count: int, payload: Any, function: Callable[..., Any]) -> Any:
        """So many jobs with a large argument and as large a result, a few in flight; the last result."""
        waiting: deque[Any] = deque()
        for _ in range(count):
            waiting.append(self.submit(function, payload))
            if len(waiting) >= IN_FLIGHT:
                self.result(waiting.popleft())
        last = None
        while waiting:
            last = self.result(waiting.popleft())
        return last


class Measures:
    """The blocks of jobs: each takes a size and returns figures. Results are checked, after the clock has stopped."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._payloads: dict[str, Any] = {}

    def trip(self, count: int) -> dict[str, float]:
        """Seconds of one job, there and back."""
        clock, call, taken = time.perf_counter, self._peer.call, []
        for x in range(min(WARM_UP, count)):
            call(x)
        for _ in range(count):
            begin = clock()
            call(7)
            taken.append(clock() - begin)
        return percentiles(taken)

    def storm(self, count: int) -> dict[str, float]:
        """Single jobs a second."""
        return {"rate": count / timed(lambda: self._peer.storm(count), cubes(count))}

    def map(self, count: int) -> dict[str, float]:
        """Elements a second."""
        return {"rate": count / timed(lambda: self._peer.map(count), cubes(count))}

    def chunked(self, count: int) -> dict[str, float]:
        """Elements a second, with chunks whose size somebody chose."""
        return {"rate": count / timed(lambda: self._peer.chunked(count, 5000), cubes(count))}

    def bytes(self, count: int) -> dict[str, float]:
        """Bytes a second, in and out."""
        payload = self._payload("bytes", lambda: os.urandom(LARGE))
        taken = timed(lambda: self._peer.large(count, payload, echo), lambda last: last == payload)
        return {"rate": 2 * LARGE * count / taken}

    def numpy(self, count: int) -> dict[str, float]:
        """Bytes a second, in and out."""

        def make() -> Any:
            import numpy as np

            return np.random.default_rng(1).random(LARGE // 8)

        array = self._payload("numpy", make)
        taken = timed(lambda: self._peer.large(count, array, add_one), lambda last: (last == array + 1).all())
        return {"rate": 2 * LARGE * count / taken}

    def _payload(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._payloads:
            self._payloads[name] = make()
        return self._payloads[name]


def timed(work: Callable[[], Any], right: Callable[[Any], Any]) -> float:
    """Seconds of the work, whose result has to be right."""
    begin = time.perf_counter()
    result = work()
    taken = time.perf_counter() - begin
    assert right(result), "the results are wrong"
    return taken


def cubes(count: int) -> Callable[[Any], bool]:
    """Whether results are those of ``cube`` over a range."""
    return lambda results: len(results) == count and results[-1] == (count - 1) ** 3


def percentiles(taken: list[float]) -> dict[str, float]:
    """The middle, and what one in a hundred exceeds, where there are as many."""
    taken.sort()
    found = {"p50": taken[len(taken) // 2]}
    if len(taken) >= HUNDRED:
        found["p99"] = taken[len(taken) * 99 // 100]
    return found
