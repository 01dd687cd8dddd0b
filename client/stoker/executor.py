"""``stoker.Executor``: a real :class:`concurrent.futures.Executor` whose workers are a daemon's.

A Future that is *pending* is still here and can be cancelled; one that is *running* has been handed to the daemon. So
that this says something, only a window of calls is handed over at a time: it widens while results come fast and
narrows when they do not. All of it moves in the connection's pump thread, callbacks included.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor as BaseExecutor
from concurrent.futures import Future
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

from stoker.broken import InitializerBroke, translated
from stoker.client import Client
from stoker.errors import NoSuchJob, NoSuchPool, StokerError
from stoker.functions import pack_value
from stoker.futures import Task, Window, caused, in_order, outcome
from stoker.initialized import Initialized, NotInitialized, managers_key
from stoker.job import Held, Job
from stoker.lending import in_worker

if TYPE_CHECKING:
    from stoker.batch import Template
    from stoker.sharing import Parcel

T = TypeVar("T")

KEPT = 10.0
"""Seconds for which the daemon keeps a call whose output is still to be fetched."""

_numbers = itertools.count(1)
_log = logging.getLogger("concurrent.futures")


class Executor(BaseExecutor):
    """Runs calls in a pool of a daemon; takes the place of :class:`concurrent.futures.ProcessPoolExecutor`.

    At most ``max_workers`` of its calls run at once. Where the pool has as many workers, it is shared with everybody
    else, and no more calls are handed over at a time. Where it has fewer and no ``pool`` was named, inside a worker, or
    with ``initializer`` or ``max_tasks_per_child``, the executor has a pool to itself, which ends with it or with this
    process, however that ends.

    A worker that dies fails the call that it ran and no other; the executor goes on. Errors are Stoker's and the
    standard library's at once, see :mod:`stoker.broken`.

    Args:
        max_workers: how many calls may run at once; None: as many as the pool has workers.
        pool: which pool; None: ``default``, or one of its own where that cannot do it.
        client: a connected client, which stays open; None: one of its own.
        endpoint: of the daemon, for a client of its own; as of :class:`stoker.Client`.
        echo: write to stdout and stderr here what a call has written there, when it has ended; this costs a request
            per call. False: it is in :meth:`stoker.Client.logs` only.
        environment: where the functions live, as in :meth:`stoker.Client.options`; None: in this program's own.
        initializer: called in each worker before its first call. Should it raise, the executor is broken: its calls
            fail with :class:`~stoker.broken.InitializerBroke`, and it takes no more.
        initargs: what the initializer is called with.
        max_tasks_per_child: calls that a worker runs before a fresh one takes its place; None: any number.

    Raises:
        ValueError: ``max_workers`` or ``max_tasks_per_child`` is not positive, or ``pool`` comes with
            ``max_tasks_per_child`` or an ``initializer``.
        TypeError: the initializer is not callable, ``max_tasks_per_child`` no integer.
        CannotPack: it or its arguments cannot be pickled.
        NoSuchPool: no pool has this name.
        ConnectionFailed: no daemon can be reached.
    """

    def __init__(  # noqa: PLR0913 - all but the first by name
        self,
        max_workers: int | None = None,
        *,
        pool: str | None = None,
        client: Client | None = None,
        endpoint: str | None = None,
        echo: bool = False,
        environment: Mapping[str, Any] | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_child: int | None = None,
    ) -> None:
        _check(max_workers, pool, initializer, max_tasks_per_child)
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._waiting: deque[tuple[Future[Any], Template, bytes | Parcel]] = deque()
        self._running: dict[Future[Any], Task] = {}
        self._shut = False
        self._echo = echo
        self._broken: str | bool = False
        """Under this name the standard library's executors tell why they are broken, and others read it there."""
        self._initializer = None if initializer is None else pack_value((initializer, initargs))
        self._key = f"{os.getpid()}-{next(_numbers)}-{time.time_ns()}"
        self._initialized: dict[tuple[str, str], Template] = {}
        self._client = client or Client(endpoint)
        self._own_client = client is None
        self._own_pool: str | None = None
        self._max_tasks = max_tasks_per_child
        self._generation = 0
        try:
            self._enter_pool(max_workers, pool, environment)
        except BaseException:
            self._leave()
            raise
        self._finalizer = weakref.finalize(
            self, _abandon, self._client if self._own_client else None, self._client, self._own_pool
        )
        self._finalizer.atexit = False
        alive.add(self)

    def _enter_pool(self, max_workers: int | None, pool: str | None, environment: Mapping[str, Any] | None) -> None:
        size = self._size_of(pool or "default")
        workers = max_workers or max(size, 1)
        # inside a worker, a pool of one's own: there, waiting for the shared one could be waiting for oneself
        particular = self._initializer is not None or self._max_tasks is not None
        own = particular or (pool is None and (workers > size or in_worker()))
        if own:
            self._own_pool = pool = f"executor-{self._key}"
            self._start_pool(pool, workers)
            self._generation = self._client.connection.generation
        self._max_workers = workers
        """Under this name the standard library's executors tell it, and others read it there."""
        self._window = Window(workers, None if own or max_workers is None else max_workers)
        keep = KEPT if self._echo else None
        self._submitter = self._client.options(pool=pool or "default", environment=environment, keep=keep)

    def _size_of(self, name: str) -> int:
        pools = {found.name: found.size for found in self._client.status().pools}
        if name not in pools:
            raise NoSuchPool(f"there is no pool {name!r}", hint=f"there are: {', '.join(pools)}", data={"name": name})
        return pools[name]

    def _start_pool(self, name: str, workers: int) -> None:
        from stoker.control import ask
        from stoker.protocol.requests import StartPool

        ask(self._client.connection, StartPool(name=name, workers=workers, owned=True, max_jobs=self._max_tasks))

    # --- the standard library's face ----------------------------------------------------------------------------------

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Have ``fn(*args, **kwargs)`` called; the Future is running once the call has been handed over.

        What cannot be pickled fails the Future, with :class:`~stoker.broken.ArgumentsUnpicklable`.

        Raises:
            RuntimeError: the executor has been shut down.
            InitializerBroke: it is broken.
        """
        return cast("Future[T]", self._enter(fn, "call", (args, kwargs)))

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """The values of ``fn`` over the iterables, in order.

        Args:
            fn: called with one item of each iterable.
            iterables: read to the end at once, or as far as ``buffersize`` allows.
            timeout: seconds from now in which the values must come; None: for ever.
            chunksize: so many items of a single iterable travel as one call. Those of several iterables are gathered
                into messages anyway, and are calls of their own.
            buffersize: calls (chunks, where there are any) that may be under way or wait to be taken; None: any number.

        Raises:
            ValueError: ``chunksize`` or ``buffersize`` is not positive.
            TypeError: ``buffersize`` is not an integer.
            TimeoutError: while iterating: a value did not come in time.
            Exception: while iterating: what a call raised. Calls that have not been handed over are cancelled then.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        deadline = None if timeout is None else time.monotonic() + timeout
        if chunksize > 1 and len(iterables) == 1:
            items = iter(iterables[0])
            chunks = iter(lambda: list(islice(items, chunksize)), [])
            lists = self._mapped(lambda own, chunk: own._enter(fn, "chunk", chunk), chunks, buffersize, deadline)  # noqa: SLF001 - itself
            return chain.from_iterable(lists)
        return self._mapped(
            lambda own, args: own.submit(fn, *args), zip(*iterables, strict=False), buffersize, deadline
        )

    def _mapped(
        self,
        enter: Callable[[Executor, Any], Future[Any]],
        items: Iterator[Any],
        buffersize: int | None,
        deadline: float | None,
    ) -> Iterator[Any]:
        futures = deque(enter(self, item) for item in islice(items, buffersize))
        # the values can be taken after the executor was let go
        return in_order(futures, items if buffersize is not None else iter(()), enter, weakref.ref(self), deadline)

    def kill(self, future: Future[Any]) -> bool:
        """End a call even while it runs: SIGINT, SIGTERM, SIGKILL; returns when it has ended.

        The Future then has :class:`~stoker.errors.JobCancelled` as its exception, or is cancelled if it was pending.

        Returns:
            False if it had ended before, or is not this executor's.
        """
        if future.cancel():
            return True
        task = self._running.get(future)
        try:
            return task is not None and task.cancel()
        except NoSuchJob:  # it ended so long ago that its record is gone
            return False

    def kill_all(self, futures: Iterable[Future[Any]]) -> None:
        """End these calls, those that run by one request; returns when they have ended."""
        tasks = [task for future in futures if not future.cancel() and (task := self._running.get(future)) is not None]
        try:
            if numbers := [task.id for task in tasks if task.settled is None]:
                self._client.cancel(*numbers)
        except NoSuchJob:  # one of them ended long ago: then each for itself
            for task in tasks:
                with contextlib.suppress(StokerError):
                    task.cancel()

    def unfinished(self) -> list[Future[Any]]:
        """The Futures of calls that run or wait to be handed over."""
        with self._lock:
            return [*self._running, *(future for future, _, _ in self._waiting)]

    @property
    def is_local(self) -> bool:
        """True where the workers see this machine's files."""
        return self._client.endpoint.startswith("ipc://")

    @property
    def lost(self) -> bool:
        """True where the executor's own pool is gone, because the connection that it belonged to is."""
        return self._own_pool is not None and self._client.connection.generation != self._generation

    def shutdown(
        self,
        wait: bool = True,  # noqa: FBT001, FBT002 - the base class's signature
        *,
        cancel_futures: bool = False,
    ) -> None:
        """Take no more calls.

        Args:
            wait: return when all calls have ended, and the executor's own pool, if it has one, with its last worker.
            cancel_futures: cancel those that have not been handed over.

        Raises:
            RuntimeError: ``wait`` in a callback, which the calls that it waits for would have to pass.
        """
        with self._lock:
            self._shut = True
            unwanted = list(self._waiting) if cancel_futures else []
            if cancel_futures:
                self._waiting.clear()
        for future, _, _ in unwanted:
            future.cancel()
            future.set_running_or_notify_cancel()
        if wait and (self._waiting or self._running):
            if threading.current_thread() is self._client.connection.pump._thread:  # noqa: SLF001 - the same family
                raise RuntimeError("cannot wait for calls in a callback: use shutdown(wait=False)")
            with self._lock:
                self._idle.wait_for(lambda: not self._waiting and not self._running)
        self._leave_if_done()

    # --- in and out ---------------------------------------------------------------------------------------------------

    def _enter(self, fn: Callable[..., Any], shape: str, value: object) -> Future[Any]:
        if self._broken:
            raise InitializerBroke(str(self._broken), hint="make a new executor")
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[Any] = Future()
        try:
            template = self._template(fn, shape)
            pickled = self._client.outbox.pack(template, value)
        except StokerError as why:
            future.set_running_or_notify_cancel()
            future.set_exception(caused(why))
            return future
        with self._lock:
            self._waiting.append((future, template, pickled))
        self._feed()
        return future

    def _template(self, fn: Callable[..., Any], shape: str) -> Template:
        if self._initializer is None:
            return self._submitter.template(fn, shape, job=Task, on_settled=self._settle)
        packed = self._submitter._packer.pack(fn)  # noqa: SLF001 - the same family
        template = self._initialized.get((packed.function, shape))
        if template is None:
            prepared = Initialized(self._key, self._initializer, managers_key() if self.is_local else None, fn)
            template = self._submitter.template(prepared, shape, job=Task, on_settled=self._settle)
            self._initialized[packed.function, shape] = template
        return template

    def _feed(self) -> None:
        """Hand over what the window has room for."""
        with self._lock:
            while self._waiting and len(self._running) < self._window.now:
                future, template, pickled = self._waiting.popleft()
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    task = cast("Task", self._client.outbox.submit(template, pickled))
                    task.future = future
                    self._running[future] = task
                except StokerError as why:
                    future.set_exception(translated(why))
                except BaseException as why:  # a Ctrl-C, for instance
                    if future not in self._running:
                        future.set_exception(why)
                    raise

    def _settle(self, jobs: Sequence[Job]) -> None:
        """In the pump's thread: these have ended. May be told twice."""
        with self._lock:  # whoever hands calls over has it until they are entered
            tasks = [task for task in cast("Sequence[Task]", jobs) if task.future in self._running]
            for task in tasks:
                del self._running[cast("Future[Any]", task.future)]
        if not tasks:
            return
        self._window.learn(time.monotonic() - tasks[0].since, len(tasks))
        if self._echo:
            self._print(tasks)
        self._feed()
        for task in tasks:
            self._hand_on(task)
        with self._lock:
            self._idle.notify_all()
        if self._shut:
            self._leave_if_done()

    def _print(self, tasks: Sequence[Task]) -> None:
        """Write what they have written, each to where it wrote it."""
        for task in tasks:
            with contextlib.suppress(StokerError):  # it never ran, or its record is gone
                for stream, text in zip((sys.stdout, sys.stderr), self._client.logs(task.id), strict=True):
                    if text and stream is not None:
                        stream.write(text.decode(errors="replace"))
                        stream.flush()

    def _hand_on(self, task: Task) -> None:
        future = cast("Future[Any]", task.future)
        value, error = outcome(task)
        # whoever still holds the task must hold neither the Future nor its value
        task.future = None
        task.settled = (Held.VALUE, None)
        if isinstance(error, NotInitialized):
            error = self._break(error)
        try:
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
        except BaseException:  # SystemExit, say, from a callback: it must not end the thread that serves all others
            _log.exception("exception calling a callback of %r", future)

    def _break(self, why: NotInitialized) -> InitializerBroke:
        """The initializer raised: nothing that waits is handed over any more."""
        message = str(why)
        with self._lock:
            self._broken = message
            unwanted, self._waiting = self._waiting, deque()
        for future, _, _ in unwanted:
            if future.set_running_or_notify_cancel():
                future.set_exception(InitializerBroke(message))
        failure = InitializerBroke(message)
        failure.__cause__ = why.__cause__
        return failure

    # --- the end ------------------------------------------------------------------------------------------------------

    def _leave_if_done(self) -> None:
        with self._lock:
            done = self._shut and not self._waiting and not self._running
        if done:
            self._finalizer.detach()
            self._leave()

    def _leave(self) -> None:
        with self._lock:
            pool, self._own_pool = self._own_pool, None
        _part(self._client if self._own_client else None, self._client, pool)


def _check(
    max_workers: int | None, pool: str | None, initializer: Callable[..., object] | None, max_tasks: int | None
) -> None:
    if max_workers is not None and max_workers <= 0:
        raise ValueError("max_workers must be greater than 0")
    if max_tasks is not None and not isinstance(max_tasks, int):
        raise TypeError("max_tasks_per_child must be an integer")
    if max_tasks is not None and max_tasks <= 0:
        raise ValueError("max_tasks_per_child must be >= 1")
    if max_tasks is not None and pool is not None:
        raise ValueError(f"max_tasks_per_child is for a pool of the executor's own, and {pool!r} is others' too")
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    if initializer is not None and pool is not None:
        raise ValueError(f"an initializer is for a pool of the executor's own, and {pool!r} is others' too")


def _part(own: Client | None, client: Client, pool: str | None) -> None:
    """Stop the executor's own pool, close its own client."""
    try:
        if pool is not None:
            client.stop(pool, grace=0)
    except StokerError:
        pass  # the daemon is gone, or the session was: then the pool is, too
    finally:
        if own is not None:
            own.close()


def _abandon(own: Client | None, client: Client, pool: str | None) -> None:
    """An executor was let go without shutdown. In a thread: the collector may run in the midst of the client's work."""
    if own is not None or pool is not None:
        threading.Thread(target=_part, args=(own, client, pool), name="stoker-executor-end", daemon=True).start()


alive: weakref.WeakSet[Executor] = weakref.WeakSet()
"""Every executor of this process."""


def _finish_all() -> None:
    """At exit: what was submitted is done, as with the standard library's executors."""
    for executor in list(alive):
        executor.shutdown(wait=True)


atexit.register(_finish_all)
