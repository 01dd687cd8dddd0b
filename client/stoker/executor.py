"""``stoker.Executor``: a real :class:`concurrent.futures.Executor` whose workers are a daemon's.

A Future that is *pending* is still here and can be cancelled; one that is *running* has been handed to the daemon. So
that this says something, only a window of calls is handed over at a time: it widens while results come fast and
narrows when they do not. All of it moves in the connection's pump thread, callbacks included.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor as BaseExecutor
from concurrent.futures import Future
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

from stoker.client import Client
from stoker.errors import StokerError
from stoker.functions import pack_value
from stoker.job import Job

if TYPE_CHECKING:
    from stoker.batch import Batch, Template

T = TypeVar("T")

SLOW = 0.05
"""Seconds between handing over and the result above which the window narrows."""

MAX_WINDOW = 8192
"""Calls handed over at a time, at most."""


class _Task(Job):
    """A job that settles a Future."""

    __slots__ = ("future", "since")

    def __init__(self, batch: Batch, row: int) -> None:
        super().__init__(batch, row)
        self.future: Future[Any] | None = None
        self.since = time.monotonic()


class _Window:
    """How many calls may be with the daemon at once.

    Args:
        workers: the pool's size: the least that keeps it busy is one more each.
        limit: what the user asked for; None: nothing.
    """

    def __init__(self, workers: int, limit: int | None) -> None:
        self._least = 2 * max(workers, 1)
        self._most = MAX_WINDOW
        if limit is not None:
            self._least, self._most = min(self._least, limit), limit
        self.now = self._least

    def learn(self, elapsed: float, results: int) -> None:
        """So many results have come, the oldest ``elapsed`` seconds after it was handed over."""
        if elapsed > SLOW:
            self.now = max(self.now // 2, self._least)
        else:
            self.now = min(self.now + results, self._most)


class Executor(BaseExecutor):
    """Runs calls in a pool of a daemon.

    Args:
        pool: which pool.
        max_workers: at most so many of its calls are with the daemon at once; None: as many as the pool takes.
        client: a connected client, which stays open; None: one of its own.

    Raises:
        ValueError: ``max_workers`` is not positive.
        ConnectionFailed: no daemon can be reached.
    """

    def __init__(self, pool: str = "default", max_workers: int | None = None, client: Client | None = None) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        self._client = client or Client()
        self._own = client is None
        self._submitter = self._client.options(pool=pool)
        size = next((found.size for found in self._client.status(pool).pools), os.cpu_count() or 1)
        self._max_workers = max_workers or size
        """Under this name the standard library's executors tell it, and others read it there."""
        self._window = _Window(size, max_workers)
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._waiting: deque[tuple[Future[Any], Template, bytes]] = deque()
        self._running: dict[Future[Any], _Task] = {}
        self._shut = False
        _alive.add(self)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Have ``fn(*args, **kwargs)`` called; the Future is running once the call has been handed over.

        Raises:
            RuntimeError: the executor has been shut down.
        """
        return cast("Future[T]", self._enter(self._template(fn, "call"), (args, kwargs)))

    def map(
        self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[T]:
        """As the base class's. ``chunksize`` items travel together where there is one iterable; the calls of several
        are gathered anyway.

        Raises:
            ValueError: ``chunksize`` is not positive.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1 or len(iterables) != 1:
            return super().map(fn, *iterables, timeout=timeout)
        template = self._template(fn, "chunk")
        items = iter(iterables[0])
        futures = [self._enter(template, chunk) for chunk in iter(lambda: list(islice(items, chunksize)), [])]
        return chain.from_iterable(_in_order(futures, timeout))

    def kill(self, future: Future[Any]) -> bool:
        """End a call even while it runs; False if it had ended before.

        The Future then has :class:`~stoker.errors.JobCancelled` as its exception, or is cancelled if it was pending.
        """
        if future.cancel():
            return True
        task = self._running.get(future)
        return task is not None and task.cancel()

    def shutdown(
        self,
        wait: bool = True,  # noqa: FBT001, FBT002 - the base class's signature
        *,
        cancel_futures: bool = False,
    ) -> None:
        """Take no more calls.

        Args:
            wait: return when all calls have ended.
            cancel_futures: cancel those that have not been handed over.
        """
        with self._lock:
            self._shut = True
            unwanted = list(self._waiting) if cancel_futures else []
            if cancel_futures:
                self._waiting.clear()
        for future, _, _ in unwanted:
            future.cancel()
            future.set_running_or_notify_cancel()
        if wait:
            with self._lock:
                self._idle.wait_for(lambda: not self._waiting and not self._running)
        self._close_if_done()

    def _template(self, fn: Callable[..., Any], shape: str) -> Template:
        return self._submitter.template(fn, shape, job=_Task, on_settled=self._settle)

    def _enter(self, template: Template, value: object) -> Future[Any]:
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[Any] = Future()
        try:
            pickled = pack_value(value)
        except StokerError as why:
            future.set_running_or_notify_cancel()
            future.set_exception(why)
            return future
        with self._lock:
            self._waiting.append((future, template, pickled))
        self._feed()
        return future

    def _feed(self) -> None:
        """Hand over what the window has room for."""
        with self._lock:
            while self._waiting and len(self._running) < self._window.now:
                future, template, pickled = self._waiting.popleft()
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    with self._client.connection.lock:
                        task = cast("_Task", self._client.outbox.submit(template, pickled))
                        task.future = future
                        self._running[future] = task
                except StokerError as why:
                    future.set_exception(why)

    def _settle(self, jobs: Sequence[Job]) -> None:
        """In the pump's thread: these have ended. May be told twice."""
        tasks = [task for task in cast("Sequence[_Task]", jobs) if task.future in self._running]
        if not tasks:
            return
        self._window.learn(time.monotonic() - tasks[0].since, len(tasks))
        with self._lock:
            for task in tasks:
                del self._running[cast("Future[Any]", task.future)]
        self._feed()
        for task in tasks:
            _hand_on(task)
        with self._lock:
            self._idle.notify_all()
        if self._shut:
            self._close_if_done()

    def _close_if_done(self) -> None:
        with self._lock:
            done = self._shut and self._own and not self._waiting and not self._running
        if done:
            self._client.close()


def _hand_on(task: _Task) -> None:
    future = cast("Future[Any]", task.future)
    task.future = None
    error = task.exception()
    if error is None:
        future.set_result(task.result())
    else:
        future.set_exception(error)


def _in_order(futures: list[Future[Any]], timeout: float | None) -> Iterator[Any]:
    deadline = None if timeout is None else time.monotonic() + timeout
    futures.reverse()
    try:
        while futures:
            yield futures.pop().result(None if deadline is None else deadline - time.monotonic())
    finally:
        for future in futures:
            future.cancel()


_alive: weakref.WeakSet[Executor] = weakref.WeakSet()


def _finish_all() -> None:
    """At exit: what was submitted is done, as with the standard library's executors."""
    for executor in list(_alive):
        executor.shutdown(wait=True)


atexit.register(_finish_all)
