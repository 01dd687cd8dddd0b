"""The standard library's pools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.peers.peer import WORKERS, Peer
from benchmarks.peers.tasks import cube


class Pool(Peer):
    """``multiprocessing.Pool``."""

    def start(self) -> None:
        import multiprocessing

        self._pool = multiprocessing.Pool(WORKERS)

    def stop(self) -> None:
        self._pool.terminate()
        self._pool.join()

    def submit(self, function: Callable[..., Any], x: Any) -> Any:
        return self._pool.apply_async(function, (x,))

    def result(self, handle: Any) -> Any:
        return handle.get()

    def map(self, count: int) -> list[Any]:
        return self._pool.map(cube, range(count))

    def chunked(self, count: int, chunk: int) -> list[Any]:
        return self._pool.map(cube, range(count), chunk)


class Executor(Peer):
    """``concurrent.futures.ProcessPoolExecutor``."""

    def start(self) -> None:
        from concurrent.futures import ProcessPoolExecutor

        self._pool: Any = ProcessPoolExecutor(WORKERS)

    def stop(self) -> None:
        self._pool.shutdown()

    def submit(self, function: Callable[..., Any], x: Any) -> Any:
        return self._pool.submit(function, x)

    def map(self, count: int) -> list[Any]:
        return list(self._pool.map(cube, range(count)))

    def chunked(self, count: int, chunk: int) -> list[Any]:
        return list(self._pool.map(cube, range(count), chunksize=chunk))
