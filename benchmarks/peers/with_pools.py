"""Pools from PyPI that live inside the caller's process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import IN_FLIGHT, WORKERS, Peer
from benchmarks.peers.tasks import cube
from benchmarks.peers.with_stdlib import Executor

MEMORY = Path("/dev/shm")  # noqa: S108 - what is made in it has the run's own name


class Loky(Executor):
    """loky's reusable executor."""

    def start(self) -> None:
        from loky import get_reusable_executor

        self._pool = get_reusable_executor(max_workers=WORKERS)


class Pebble(Peer):
    """``pebble.ProcessPool``."""

    def start(self) -> None:
        from pebble import ProcessPool

        self._pool = ProcessPool(max_workers=WORKERS)

    def stop(self) -> None:
        self._pool.stop()
        self._pool.join()

    def submit(self, function: Callable[..., Any], x: Any) -> Any:
        return self._pool.schedule(function, args=(x,))

    def map(self, count: int) -> list[Any]:
        return list(self._pool.map(cube, range(count)).result())

    def chunked(self, count: int, chunk: int) -> list[Any]:
        return list(self._pool.map(cube, range(count), chunksize=chunk).result())


class Mpire(Peer):
    """``mpire.WorkerPool``: one for single jobs and one for maps, for one pool can't do both (2.10)."""

    def start(self) -> None:
        from mpire import WorkerPool

        self._kind = WorkerPool
        self._pool = WorkerPool(n_jobs=WORKERS)
        self._maps: Any = None

    def stop(self) -> None:
        self._pool.terminate()
        if self._maps is not None:
            self._maps.terminate()

    def submit(self, function: Callable[..., Any], x: Any) -> Any:
        return self._pool.apply_async(function, (x,))

    def result(self, handle: Any) -> Any:
        return handle.get()

    def map(self, count: int) -> list[Any]:
        return self._mapping().map(cube, range(count))

    def chunked(self, count: int, chunk: int) -> list[Any]:
        return self._mapping().map(cube, range(count), chunk_size=chunk)

    def _mapping(self) -> Any:
        if self._maps is None:
            self._maps = self._kind(n_jobs=WORKERS, keep_alive=True)
        return self._maps


class Joblib(Peer):
    """joblib has no submit: a job is one ``Parallel`` call, and a storm is one of so many delayed calls."""

    def start(self) -> None:
        # it leaves its mapped arrays in memory's file system when it is ended by force: there they are found
        if MEMORY.is_dir():
            os.environ["JOBLIB_TEMP_FOLDER"] = str(MEMORY / "-".join(self.scratch.parts[-2:]))
        from joblib import Parallel, delayed

        self._delayed = delayed
        self._held = Parallel(n_jobs=WORKERS)
        self._run = self._held.__enter__()

    def stop(self) -> None:
        from joblib.externals.loky import get_reusable_executor

        self._held.__exit__(None, None, None)
        get_reusable_executor().shutdown(wait=True)

    def call(self, x: int) -> Any:
        return self._run([self._delayed(cube)(x)])[0]

    def storm(self, count: int) -> list[Any]:
        return self.map(count)

    def map(self, count: int) -> list[Any]:
        call = self._delayed(cube)
        return self._run(call(x) for x in range(count))

    def large(self, count: int, payload: Any, function: Callable[..., Any]) -> Any:
        # the same array twice would be mapped from a file once written: each job has one of its own, as it would have
        fresh = payload.copy if hasattr(payload, "copy") else lambda: payload
        call, last = self._delayed(function), None
        for done in range(0, count, IN_FLIGHT):
            last = self._run(call(fresh()) for _ in range(min(IN_FLIGHT, count - done)))[-1]
        return last
