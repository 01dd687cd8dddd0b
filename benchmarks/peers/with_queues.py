"""Task queues with a broker: Celery and RQ on a Redis of their own, huey on SQLite."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from benchmarks.peers import programs
from benchmarks.peers.peer import WORKERS, Missing, Peer
from benchmarks.peers.tasks import add_one, cube, echo

RESULT_DEADLINE = 60


class OnRedis(Peer):
    """Has a Redis on a Unix socket, that keeps nothing on disk."""

    def start_redis(self) -> None:
        self.socket = self.scratch / "redis.sock"
        argv = ["redis-server", "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.scratch)]
        argv += ["--save", "", "--appendonly", "no", "--client-output-buffer-limit", "pubsub 0 0 0"]
        self._programs = [programs.start(argv, log=self.scratch / "redis.log")]
        programs.await_socket(self.socket, self._programs[0])

    def start_worker(self, argv: list[str]) -> None:
        self._programs.append(programs.start(argv, log=self.scratch / "worker.log"))

    def stop(self) -> None:
        programs.end(*self._programs[1:])
        programs.end(self._programs[0])


class Celery(OnRedis):
    """Celery's prefork workers; a map is ``chunks``, as many as multiprocessing would make."""

    def start(self) -> None:
        self.start_redis()
        os.environ |= {"BENCHMARK_REDIS": str(self.socket), "C_FORCE_ROOT": "1"}
        self._app: Any = import_module("benchmarks.peers.celery_app")
        where = ["-A", "benchmarks.peers.celery_app", "worker", "-c", str(WORKERS), "-P", "prefork", "-l", "ERROR"]
        self.start_worker([sys.executable, "-m", "celery", *where])
        self._tasks = {cube: self._app.cube, echo: self._app.echo, add_one: self._app.add_one}

    def submit(self, function: Callable[..., Any], x: Any) -> Any:
        return self._tasks[function].delay(x)

    def result(self, handle: Any) -> Any:
        return handle.get(timeout=RESULT_DEADLINE)

    def map(self, count: int) -> list[Any]:
        parts = self._app.cube.chunks(((x,) for x in range(count)), max(1, count // (4 * WORKERS))).apply_async()
        return [value for part in parts.get(timeout=RESULT_DEADLINE) for value in part]


class Rq(OnRedis):
    """RQ's workers, which fork for each job."""

    def start(self) -> None:
        self.start_redis()
        import redis
        import rq

        self._queue = rq.Queue(connection=redis.Redis(unix_socket_path=str(self.socket)))
        for _ in range(WORKERS):
            self.start_worker([sys.executable, "-m", "rq.cli", "worker", "-q", "--url", f"unix://{self.socket}"])

    def submit(self, function: Callable[..., Any], x: Any) -> Any:
        return self._queue.enqueue(function, x)

    def result(self, handle: Any) -> Any:
        found = handle.latest_result(timeout=RESULT_DEADLINE)
        if found is None:
            raise TimeoutError("no result from RQ")
        return found.return_value


class Huey(Peer):
    """huey's process workers on a SQLite file.

    Args:
        fsync: keep every write through a loss of power (its default does not).
    """

    def __init__(self, scratch: Any, *, fsync: bool = False) -> None:
        super().__init__(scratch)
        self._fsync = fsync

    def start(self) -> None:
        os.environ |= {"BENCHMARK_HUEY": str(self.scratch / "huey.db"), "BENCHMARK_HUEY_FSYNC": "1" * self._fsync}
        app: Any = import_module("benchmarks.peers.huey_app")
        where = ["benchmarks.peers.huey_app.huey", "-k", "process", "-w", str(WORKERS), "-q"]
        self._worker = programs.start(
            [sys.executable, "-m", "huey.bin.huey_consumer", *where], log=self.scratch / "worker.log"
        )
        self._tasks = {cube: app.cube, echo: app.echo, add_one: app.add_one}

    def stop(self) -> None:
        programs.end(self._worker)

    def submit(self, function: Callable[..., Any], x: Any) -> Any:
        return self._tasks[function](x)

    def result(self, handle: Any) -> Any:
        return handle.get(blocking=True, timeout=RESULT_DEADLINE)

    def map(self, count: int) -> list[Any]:
        raise Missing
