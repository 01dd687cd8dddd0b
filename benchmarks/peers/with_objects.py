"""Queues, locks and values that several processes share."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import Peer

QUEUE, LOCK = "benchmark-queue", "benchmark-lock"


class Objects(Peer):
    """Three objects of one kind, and a process that empties the queue.

    The process is told how many items are to come, and says whether it got them in order.
    """

    queue: Any
    lock: Any
    increment: Callable[[], object]

    def start(self) -> None:
        self.make()
        self._told, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._consumer = context.Process(target=consume, args=(self.other_end(), theirs), daemon=True)
        self._consumer.start()

    def make(self) -> None:
        """Make the objects."""
        raise NotImplementedError

    def other_end(self) -> Any:
        """The queue as it travels to another process."""
        return self.queue

    def stop(self) -> None:
        self._told.send(None)
        self._consumer.join()

    def measures(self) -> Objects:
        return self

    def items(self, count: int) -> dict[str, float]:
        """Items a second from one process to another, one ``put`` and one ``get`` each."""
        put = self.queue.put
        begin = time.perf_counter()
        self._told.send(count)
        for number in range(count):
            put(number)
        assert self._told.recv(), "items are missing or out of order"
        return {"rate": count / (time.perf_counter() - begin)}

    def pair(self, count: int) -> dict[str, float]:
        """Seconds of an acquire and a release that nobody else wants."""
        acquire, release = self.lock.acquire, self.lock.release

        def both() -> None:
            acquire()
            release()

        return each(both, count)

    def increments(self, count: int) -> dict[str, float]:
        """Seconds of one atomic increment of a value."""
        return each(self.increment, count)


def each(operation: Callable[[], object], count: int) -> dict[str, float]:
    """Seconds of one, of so many in a row."""
    begin = time.perf_counter()
    for _ in range(count):
        operation()
    return {"each": (time.perf_counter() - begin) / count}


def consume(queue: Any, told: Any) -> None:
    """The other process."""
    if isinstance(queue, str):
        import stoker

        queue = stoker.Queue(queue)
    while (count := told.recv()) is not None:
        told.send([queue.get() for _ in range(count)] == list(range(count)))


class StokerObjects(Objects):
    """The daemon's. See :class:`benchmarks.peers.with_stoker.Stoker`."""

    def __init__(self, scratch: Path, *, transport: str) -> None:
        super().__init__(scratch)
        self._transport = transport

    def make(self) -> None:
        from benchmarks.daemon import Daemon

        self._daemon = Daemon(self.scratch)
        os.environ |= {"STOKER_TRANSPORT": self._transport, "STOKER_SOCKET": self._daemon.endpoint}
        import stoker

        self.queue, self.lock = stoker.Queue(QUEUE), stoker.Lock(LOCK)
        value = stoker.Value(typecode_or_type="i")
        self.increment = lambda: value.add(1)

    def other_end(self) -> str:
        return QUEUE

    def stop(self) -> None:
        super().stop()
        self._daemon.close()


class ManagerObjects(Objects):
    """Those of a ``multiprocessing.Manager``: in a process of their own, as Stoker's are."""

    def make(self) -> None:
        self._manager = multiprocessing.Manager()
        self.queue, self.lock = self._manager.Queue(), self._manager.Lock()
        value, guard = self._manager.Value("i", 0), self.lock

        def increment() -> None:
            with guard:
                value.value += 1

        self.increment = increment

    def stop(self) -> None:
        super().stop()
        self._manager.shutdown()


class PlainObjects(Objects):
    """multiprocessing's own: semaphores and memory that related processes share; nobody hears of a holder's death."""

    def make(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.queue, self.lock = context.Queue(), context.Lock()
        value = context.Value("i", 0)

        def increment() -> None:
            with value.get_lock():
                value.value += 1

        self.increment = increment
