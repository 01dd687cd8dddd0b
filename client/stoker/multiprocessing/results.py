"""What a pool's calls give: results that are waited for, and iterators over values as they come."""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import math
import pickle
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import TimeoutError as StillRunning
from typing import TYPE_CHECKING, Any, Protocol, Self

from stoker.job import Job
from stoker.multiprocessing.tasks import NOTHING, OUTPUT, Spoken

if TYPE_CHECKING:
    from stoker.batch import Batch, Template


class Owner(Protocol):
    """What results ask of their pool."""

    _ahead: int
    """Chunks that an iterator may have under way."""

    def _send(self, template: Template, arguments: Any, result: AsyncResult | IMapIterator) -> None:
        """Hand over one job of a result."""

    def _await(self, jobs: Sequence[Job], timeout: float | None) -> None:
        """Wait for jobs that nobody else receives for."""

    def _hurry(self) -> None:
        """Somebody waits: what is gathered leaves now."""

    def _over(self, result: AsyncResult | IMapIterator) -> None:
        """It has ended, or has given its last value."""


class Call(Job):
    """A job that tells a result when it has ended."""

    __slots__ = ("result_of",)

    def __init__(self, batch: Batch, row: int) -> None:
        super().__init__(batch, row)
        self.result_of: AsyncResult | IMapIterator | None = None


def outcome(job: Job, context: contextvars.Context) -> Any:
    """A job's value; what its call has written is written here first, in the context in which the call was made.

    Raises:
        Exception: what the call raised.
    """
    try:
        value = job.result()
    except Exception as why:
        write(vars(why).pop(OUTPUT, NOTHING), context)
        raise
    if type(value) is Spoken:
        write(value.output, context)
        return pickle.loads(value.data)  # noqa: S301 - it comes from this user's own worker
    return value


def write(output: tuple[str, str], context: contextvars.Context) -> None:
    """Write to stdout and stderr what was written there in a worker."""
    for name, text in zip(("stdout", "stderr"), output, strict=True):
        stream = getattr(sys, name)
        if text and stream is not None:
            with contextlib.suppress(OSError, ValueError):  # it is closed, or nobody reads it
                context.copy().run(stream.write, text)
                stream.flush()


class AsyncResult:
    """What ``apply_async`` gives; see :class:`multiprocessing.pool.AsyncResult`."""

    def __init__(
        self,
        pool: Owner,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> None:
        self._pool: Owner | None = pool
        self._callback, self._error_callback = callback, error_callback
        self._alone = False
        """Whoever made it is waiting for it, and nobody else: no other thread need receive for it."""
        self._context = contextvars.copy_context()
        self._jobs: list[Call] = []
        self._counting = threading.Lock()
        self._left = 1  # for the end of the handing over
        self._ended = threading.Event()
        self._success = False
        self._value: Any = None

    def ready(self) -> bool:
        """Whether it has ended."""
        return self._ended.is_set()

    def successful(self) -> bool:
        """Whether it has ended without an exception.

        Raises:
            ValueError: it has not ended.
        """
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._success

    def wait(self, timeout: float | None = None) -> None:
        """Wait for its end, for at most ``timeout`` seconds."""
        pool = self._pool
        if not self._ended.is_set() and pool is not None:
            if self._alone:
                pool._await(self._jobs, timeout)  # noqa: SLF001 - the same family
                if all(job.settled is not None for job in self._jobs):
                    self._settle(None)
                return
            pool._hurry()  # noqa: SLF001 - likewise
        self._ended.wait(timeout)

    def get(self, timeout: float | None = None) -> Any:
        """Its value.

        Raises:
            multiprocessing.TimeoutError: it has not ended within ``timeout`` seconds.
            Exception: what the call raised, with the worker's traceback as its cause.
        """
        self.wait(timeout)
        if not self.ready():
            raise StillRunning
        if self._success:
            return self._value
        try:
            raise self._value
        finally:
            del self  # the exception's traceback refers to this frame

    # --- for the pool

    def _add(self, job: Call) -> None:
        """One more job; with the connection's lock held."""
        with self._counting:
            self._left += 1
        self._jobs.append(job)

    def _note(self, _job: Call | None) -> None:
        """A job has ended, in the pump's thread; None: all has been handed over."""
        with self._counting:
            self._left -= 1
            last = not self._left
        if last:
            self._settle(None)

    def _settle(self, error: BaseException | None) -> None:
        if self._ended.is_set():
            return
        if error is None:
            try:
                self._value, self._success = self._collect(), True
            except BaseException as why:
                error = why
        if error is not None:
            self._value = error
        self._tell()
        self._callback = self._error_callback = None
        self._jobs = []
        pool, self._pool = self._pool, None
        self._ended.set()
        if pool is not None:
            pool._over(self)  # noqa: SLF001 - the same family

    def _collect(self) -> Any:
        return outcome(self._jobs[0], self._context)

    def _tell(self) -> None:
        call = self._callback if self._success else self._error_callback
        if call is None:
            return
        try:
            call(self._value)
        except Exception:  # the caller's callback: it must not cost anybody else the result
            sys.excepthook(*sys.exc_info())


ApplyResult = AsyncResult


class MapResult(AsyncResult):
    """What ``map_async`` gives: ended when all chunks have, with the first exception if there is one."""

    def _collect(self) -> list[Any]:
        values: list[Any] = []
        for job in self._jobs:
            values += outcome(job, self._context)
        return values


class IMapIterator:
    """What ``imap`` gives: the values in order, as they come.

    The iterable is read in the thread that takes the values, a few chunks ahead.
    """

    _ordered = True

    def __init__(self, pool: Owner, template: Template, items: Iterable[Any], chunksize: int) -> None:
        self._pool, self._template, self._chunksize = pool, template, chunksize
        self._context = contextvars.copy_context()
        self._items: Iterator[Any] | None = None
        self._failure: BaseException | None = None
        self._under_way: deque[Call] = deque()
        self._arrived: deque[Call] = deque()
        self._values: deque[Any] = deque()
        self._news = threading.Semaphore(0)
        self._count = 0
        """Chunks that were sent and whose values have not been taken."""
        self._jobs: set[Call] = set()
        """Those of them that have not ended."""
        self._idle = threading.Condition()
        try:
            self._items = iter(items)
        except BaseException as why:
            self._failure = why
        self._refill(pool._ahead)  # noqa: SLF001 - the same family

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """The next value.

        Raises:
            multiprocessing.TimeoutError: it has not come within ``timeout`` seconds.
            StopIteration: there are no more.
            Exception: what the call raised, or the iterable.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._values:
            self._refill(self._pool._ahead)  # noqa: SLF001 - the same family
            if not self._count:
                failure, self._failure = self._failure, None
                self._pool._over(self)  # noqa: SLF001 - the same family
                if failure is not None:
                    raise failure
                raise StopIteration
            self._take(deadline)
        return self._values.popleft()

    def _take(self, deadline: float | None) -> None:
        """Wait for the chunk whose turn it is."""
        while (job := self._ready()) is None:
            self._pool._hurry()  # noqa: SLF001 - the same family
            if not self._news.acquire(timeout=None if deadline is None else max(deadline - time.monotonic(), 0)):
                raise StillRunning
        self._count -= 1
        self._values.extend(outcome(job, self._context))

    def _ready(self) -> Call | None:
        if self._ordered:
            return self._under_way.popleft() if self._under_way[0].settled is not None else None
        return self._arrived.popleft() if self._arrived else None

    def _refill(self, ahead: float) -> None:
        while self._items is not None and self._failure is None and self._count < ahead:
            try:
                chunk = list(itertools.islice(self._items, self._chunksize))
                if not chunk:
                    self._items = None
                    return
                self._pool._send(self._template, ((chunk,), {}), self)  # noqa: SLF001
            except Exception as why:  # the iterable's, or what does not travel: raised when its turn comes
                self._failure, self._items = why, None

    def _add(self, job: Call) -> None:
        self._count += 1
        with self._idle:
            self._jobs.add(job)
        if self._ordered:
            self._under_way.append(job)

    def _note(self, job: Call) -> None:
        if not self._ordered:
            self._arrived.append(job)
        self._news.release()
        with self._idle:
            self._jobs.discard(job)
            self._idle.notify_all()

    def _finish(self) -> None:
        """Hand over all the rest, and wait until it has ended; the values can be taken afterwards."""
        self._refill(math.inf)
        self._pool._hurry()  # noqa: SLF001 - the same family
        with self._idle:
            self._idle.wait_for(lambda: not self._jobs)


class IMapUnorderedIterator(IMapIterator):
    """What ``imap_unordered`` gives: the values of whichever chunk has come."""

    _ordered = False
