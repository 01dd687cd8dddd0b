"""``Pool``: the standard library's, on a pool of the daemon.

Functions and arguments travel as everywhere in Stoker; errors and results are the standard library's own classes. What
its pools can't do, these can: a worker that is killed fails the call that it ran, with
:class:`~stoker.errors.WorkerDied`, and nothing hangs.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import pickle
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from multiprocessing.pool import (  # type: ignore[attr-defined]
    CLOSE,
    INIT,
    RUN,
    TERMINATE,
    MaybeEncodingError,
    RemoteTraceback,
    ThreadPool,
)
from types import TracebackType
from typing import Any, NoReturn, Self, cast

from stoker.batch import Template
from stoker.default import client_at, default_client
from stoker.errors import ConnectionFailed, NotFound
from stoker.functions import Packed, Packer
from stoker.job import Job
from stoker.multiprocessing.packing import pack, pack_by
from stoker.multiprocessing.results import (
    ApplyResult,
    AsyncResult,
    Call,
    IMapIterator,
    IMapUnorderedIterator,
    MapResult,
)
from stoker.multiprocessing.tasks import PROTOCOL, Task

__all__ = [
    "ApplyResult",
    "AsyncResult",
    "IMapIterator",
    "IMapUnorderedIterator",
    "MapResult",
    "MaybeEncodingError",
    "Pool",
    "RemoteTraceback",
    "ThreadPool",
]

AHEAD = 4
"""Chunks per worker that ``imap`` has under way: one runs, the others wait for it or to be taken."""
FAREWELL = 10.0
"""Seconds that the workers of a pool get to end once their last job has."""

_numbers = itertools.count(1)
_forgotten: deque[tuple[Any, str]] = deque()
"""Pools that were collected without having been closed: removed when the next one is made, or with the session."""


class Pool:
    """A pool of workers; see :class:`multiprocessing.pool.Pool`.

    Without arguments it is the daemon's pool ``default``, which others use too and whose workers are warm. With a
    number of processes, an initializer or ``maxtasksperchild`` it is a pool of this program's own, which is removed
    when it is terminated, or joined, or this program ends, however it ends.

    Args:
        processes: how many workers; None: as many as there are usable cores.
        initializer: called in each worker before its first call.
        initargs: its arguments.
        maxtasksperchild: calls, or chunks of a map, that a worker runs before a fresh one takes its place.
        context: not used; here for the sake of programs that give one.

    Raises:
        ValueError: ``processes`` or ``maxtasksperchild`` is not a positive integer.
        TypeError: the initializer is not callable.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: object = None,  # noqa: ARG002 - the standard library's signature
    ) -> None:
        self._state = INIT
        _check(processes, initializer, maxtasksperchild)
        self._client = default_client()
        self._name: str = "default"
        self._own = processes is not None or initializer is not None or maxtasksperchild is not None
        if self._own:
            self._start(processes, initializer, tuple(initargs), maxtasksperchild)
        found = self._client.status(self._name).pools
        self._begin_with(max(found[0].size if found else os.cpu_count() or 1, 1))

    def _begin_with(self, processes: int) -> None:
        self._processes = processes
        self._ahead = AHEAD * processes
        self._packer = Packer()
        self._templates: dict[tuple[str, str, bool], Template] = {}
        self._open: set[AsyncResult | IMapIterator] = set()
        self._idle = threading.Condition()
        self._state = RUN

    def _start(
        self,
        processes: int | None,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        maxtasksperchild: int | None,
    ) -> None:
        connection = self._client.connection
        while _forgotten:
            other, name = _forgotten.popleft()
            if other is connection:
                self._remove(name)
        self._name = f"Pool@{connection.greeting.get('session', os.getpid())}.{next(_numbers)}"
        params: dict[str, Any] = {"kind": "pool", "name": self._name, "owned": True}
        if processes is not None:
            params["workers"] = processes
        if maxtasksperchild is not None:
            params["max_jobs"] = maxtasksperchild
        payload: tuple[bytes, ...] = ()
        if initializer is not None:
            payload = (pack(((pack((initializer, initargs)),), {})),)
            params["initializer"] = {
                "pickle": {
                    "function": "stoker.multiprocessing.tasks:initialize",
                    "lengths": len(payload[0]).to_bytes(4, "little"),
                }
            }
        connection.call("start", params, payload)

    # --- calls

    def apply(self, func: Callable[..., Any], args: Iterable[Any] = (), kwds: dict[str, Any] | None = None) -> Any:
        """Call ``func`` in a worker; its value."""
        return self._apply(AsyncResult(self), func, args, kwds, alone=True).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult:
        """Have ``func`` called in a worker; callbacks are called in a thread of this program."""
        return self._apply(AsyncResult(self, callback, error_callback), func, args, kwds, alone=False)

    def _apply(
        self,
        result: AsyncResult,
        func: Callable[..., Any],
        args: Iterable[Any],
        kwds: dict[str, Any] | None,
        *,
        alone: bool,
    ) -> AsyncResult:
        self._check_running()
        result._alone = alone  # noqa: SLF001 - the same family
        try:
            self._send(self._template(func, "call", alone=alone), (tuple(args), dict(kwds or {})), result)
        except Exception as why:  # what does not travel fails its own call
            self._begin(result, why)
        else:
            self._begin(result)
        return result

    def map(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """Call ``func`` with every item; the values in order, when all have come."""
        values: list[Any] = self._map(MapResult(self), func, iterable, chunksize, "map", alone=True).get()
        return values

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> MapResult:
        """Have ``func`` called with every item, ``chunksize`` of them to a job."""
        return self._map(MapResult(self, callback, error_callback), func, iterable, chunksize, "map", alone=False)

    def starmap(
        self, func: Callable[..., Any], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[Any]:
        """Call ``func`` with the items of every item."""
        values: list[Any] = self._map(MapResult(self), func, iterable, chunksize, "star", alone=True).get()
        return values

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> MapResult:
        """Have ``func`` called with the items of every item."""
        return self._map(MapResult(self, callback, error_callback), func, iterable, chunksize, "star", alone=False)

    def imap(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1) -> IMapIterator:
        """The values in order, as they come."""
        return self._imap(IMapIterator, func, iterable, chunksize)

    def imap_unordered(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1) -> IMapIterator:
        """The values in the order in which they come."""
        return self._imap(IMapUnorderedIterator, func, iterable, chunksize)

    def _map(
        self,
        result: MapResult,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None,
        form: str,
        *,
        alone: bool,
    ) -> MapResult:
        self._check_running()
        result._alone = alone  # noqa: SLF001 - the same family
        items: Sequence[Any] = iterable if hasattr(iterable, "__len__") else list(iterable)  # type: ignore[assignment]
        try:
            template = self._template(func, form, alone=alone)
            size = _chunksize(len(items), self._processes) if chunksize is None else max(chunksize, 1)
            source = iter(items)
            while chunk := list(itertools.islice(source, size)):
                self._send(template, ((chunk,), {}), result)
        except Exception as why:  # the iterable's, or what does not travel
            self._begin(result, why)
        else:
            self._begin(result)
        return result

    def _imap(
        self, kind: type[IMapIterator], func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int
    ) -> IMapIterator:
        self._check_running()
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize:n}")
        iterator = kind(self, self._template(func, "map"), iterable, chunksize)
        with self._idle:
            self._open.add(iterator)
        return iterator

    def _template(self, func: Callable[..., Any], form: str, *, alone: bool = False) -> Template:
        packed = self._packer.pack(func)
        template = self._templates.get((packed.function, form, alone))
        if template is None:
            blob = pickle.dumps(Task(packed.blob or packed.function, form), PROTOCOL)
            task = Packed(f"sha256:{hashlib.sha256(blob).hexdigest()}", packed.name, blob)
            options = {"pool": self._name}
            template = Template(task, "call", options, job=Call, on_settled=None if alone else self._settled)
            if len(self._templates) > 1000:
                self._templates.clear()
            self._templates[packed.function, form, alone] = template
        return template

    def _send(self, template: Template, arguments: Any, result: AsyncResult | IMapIterator) -> None:
        outbox = self._client.outbox
        packed = pack_by(partial(outbox.pack, template), arguments)
        with self._client.connection.lock:
            job = cast("Call", outbox.submit(template, packed))
            job.result_of = result
            result._add(job)  # noqa: SLF001 - the same family

    def _begin(self, result: AsyncResult, error: BaseException | None = None) -> None:
        """All of it has been handed over; or could not be."""
        with self._idle:
            self._open.add(result)
        if error is None:
            result._note(None)  # noqa: SLF001 - the same family
        else:
            result._settle(error)  # noqa: SLF001 - likewise

    def _await(self, jobs: Sequence[Job], timeout: float | None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            for job in jobs:
                left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
                if job.settled is None:
                    self._client.connection.wait(job, left)
        except BaseException:  # Ctrl-C: nobody will ever have these results
            self._cancel(jobs)
            raise

    def _hurry(self) -> None:
        """Somebody waits: what is gathered leaves now."""
        self._client.connection.progress()

    def _settled(self, jobs: Sequence[Job]) -> None:
        """In the pump's thread: these have ended. May be told twice."""
        for job in cast("Sequence[Call]", jobs):
            result, job.result_of = job.result_of, None
            if result is not None:
                result._note(job)  # noqa: SLF001 - the same family

    def _over(self, result: AsyncResult | IMapIterator) -> None:
        with self._idle:
            self._open.discard(result)
            self._idle.notify_all()

    # --- the end

    def close(self) -> None:
        """Take no more calls."""
        if self._state == RUN:
            self._state = CLOSE

    def terminate(self) -> None:
        """End it at once; calls that have not ended fail with :class:`~stoker.errors.JobCancelled`."""
        if self._state == TERMINATE:
            return
        self._state = TERMINATE
        with self._idle:
            still, self._open = list(self._open), set()
        if self._own:
            self._remove(self._name, 0.0)
        else:
            self._cancel([job for result in still for job in list(result._jobs)])  # noqa: SLF001 - the same family
        with self._idle:
            self._idle.notify_all()

    def join(self) -> None:
        """Wait until it has ended.

        Raises:
            ValueError: it was neither closed nor terminated.
        """
        if self._state == RUN:
            raise ValueError("Pool is still running")
        if self._state not in (CLOSE, TERMINATE):
            raise ValueError("In unknown state")
        for iterator in [result for result in self._open if isinstance(result, IMapIterator)]:
            iterator._finish()  # noqa: SLF001 - the same family
            self._over(iterator)
        with self._idle:
            self._idle.wait_for(lambda: not self._open)
        if self._own:
            self._remove(self._name)

    def _remove(self, name: str, grace: float = FAREWELL) -> None:
        with contextlib.suppress(NotFound, ConnectionFailed):  # somebody has stopped it, or it went with the daemon
            self._client.connection.call("stop", {"names": [name], "grace": grace})

    def _cancel(self, jobs: Iterable[Job]) -> None:
        if ids := [job.id for job in jobs if job.settled is None]:
            for at in range(0, len(ids), 10_000):
                self._client.connection.call("cancel", {"ids": ids[at : at + 10_000]})

    def _check_running(self) -> None:
        if self._state != RUN:
            raise ValueError("Pool not running")

    def __enter__(self) -> Self:
        self._check_running()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.terminate()

    def __reduce__(self) -> NoReturn:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} state={self._state} pool_size={self._processes}>"

    def __del__(self) -> None:
        if vars(self).get("_state") == RUN and self._own:
            _forgotten.append((self._client.connection, self._name))  # nothing may be sent from here
            warnings.warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self, stacklevel=2)


class ManagedPool(Pool):
    """A pool that a manager has made: it can be pickled, and whoever has it can use it, and end it."""

    def __reduce__(self) -> Any:
        return _join_pool, (self._client.endpoint, self._name, self._own, self._processes)

    def __del__(self) -> None:
        """It belongs to its manager."""


def _join_pool(endpoint: str, name: str, own: bool, processes: int) -> ManagedPool:  # noqa: FBT001 - unpickled
    pool = ManagedPool.__new__(ManagedPool)
    pool._client, pool._name, pool._own = client_at(endpoint), name, own  # noqa: SLF001 - the same family
    pool._begin_with(processes)  # noqa: SLF001 - likewise
    return pool


def _check(processes: int | None, initializer: object, maxtasksperchild: object) -> None:
    if processes is not None and processes < 1:
        raise ValueError("Number of processes must be at least 1")
    if maxtasksperchild is not None and (not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0):
        raise ValueError("maxtasksperchild must be a positive int or None")
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")


def _chunksize(items: int, workers: int) -> int:
    """As the standard library: four chunks for each worker."""
    return max(-(-items // (workers * 4)), 1)
