"""The face for asyncio: ``stoker.aio.Client``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from stoker import client as threads
from stoker.aio.awaiting import Rehearsal, exchange
from stoker.aio.job import KeptJob
from stoker.aio.submitter import Submitter
from stoker.control import DaemonCalls, JobCalls, LoadCalls
from stoker.errors import ConnectionClosed, DeadlineExceeded, StokerError
from stoker.job import Job as PlainJob

if TYPE_CHECKING:
    from stoker.batch import Outbox
    from stoker.connection import Connection
    from stoker.events import Happening, Listener

P = ParamSpec("P")
R = TypeVar("R")


def _awaitable(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Client, P], Coroutine[Any, Any, R]]:
    """The same method for a loop; it must make one call, and be a function of its arguments and of the reply."""

    async def performed(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await client.perform(lambda stage: method(stage, *args, **kwargs))

    performed.__name__ = method.__name__
    performed.__qualname__ = f"Client.{method.__name__}"
    performed.__doc__ = method.__doc__
    return performed


class Client(Submitter):
    """A connection to a daemon, for one event loop. An asynchronous context manager.

    Args:
        endpoint: as of :class:`stoker.Client`.
        timeout: seconds that a request may take; None: for ever. Awaiting a job has no limit but ``asyncio.timeout``.
        autostart: as of :class:`stoker.Client`.
        reconnect: as of :class:`stoker.Client`.
        key: as of :class:`stoker.Client`.
        server_key: as of :class:`stoker.Client`.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        timeout: float | None = None,
        autostart: bool | None = None,
        reconnect: float | None = None,
        key: str | None = None,
        server_key: str | None = None,
    ) -> None:
        super().__init__(self, None)
        self._key, self._server_key = key, server_key
        self._endpoint, self._timeout, self._autostart, self._reconnect = endpoint, timeout, autostart, reconnect
        self._threads: threads.Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._background: set[asyncio.Future[Any]] = set()

    ping = _awaitable(DaemonCalls.ping)
    status = _awaitable(DaemonCalls.status)
    recent_events = _awaitable(DaemonCalls.events)
    config = _awaitable(DaemonCalls.config)
    config_diff = _awaitable(DaemonCalls.config_diff)
    reload = _awaitable(DaemonCalls.reload)
    shutdown = _awaitable(DaemonCalls.shutdown)
    start_burner = _awaitable(LoadCalls.start_burner)  # type: ignore[arg-type] # its **parameters might hold a "self"
    start_process = _awaitable(LoadCalls.start_process)
    start = _awaitable(LoadCalls.start)
    restart = _awaitable(LoadCalls.restart)
    start_pool = _awaitable(LoadCalls.start_pool)
    set = _awaitable(LoadCalls.set)
    stop = _awaitable(LoadCalls.stop)
    figures = _awaitable(LoadCalls.figures)
    drain = _awaitable(JobCalls.drain)
    limit = _awaitable(JobCalls.limit)
    jobs = _awaitable(JobCalls.jobs)
    wait = _awaitable(JobCalls.wait)
    cancel = _awaitable(JobCalls.cancel)
    retry = _awaitable(JobCalls.retry)
    logs = _awaitable(JobCalls.logs)

    # --- the connection -----------------------------------------------------------------------------------------------

    async def open(self) -> Self:
        """Connect, in a thread; ``async with`` does it.

        Raises:
            NobodyListening, PermissionRefused, BadEndpoint: why the daemon cannot be reached.
            StartFailed: a private daemon did not come up.
        """
        if self._threads is None:
            self._loop = asyncio.get_running_loop()
            self._threads = await asyncio.to_thread(self._connect)
        return self

    def _connect(self) -> threads.Client:
        client = threads.Client(
            self._endpoint,
            timeout=self._timeout,
            autostart=self._autostart,
            reconnect=self._reconnect,
            key=self._key,
            server_key=self._server_key,
        )
        try:
            _ = client.connection.greeting  # so that it is there, and nobody has to wait for it in the loop
        except BaseException:
            client.close()
            raise
        return client

    async def close(self) -> None:
        """Let the daemon know and hang up; jobs without an answer fail with ConnectionClosed, and go on there."""
        await asyncio.sleep(0)  # tasks that were cancelled a moment ago have their jobs cancelled
        while self._background:
            await asyncio.wait(self._background)
        client, self._threads = self._threads, None
        self._plain = None
        if client is not None:
            await asyncio.to_thread(client.close)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def endpoint(self) -> str:
        """Where the daemon listens."""
        return self.plain.endpoint

    @property
    def plain(self) -> threads.Client:
        """The client for threads that this one shares its connection with.

        Raises:
            ConnectionClosed: this client is not open.
        """
        if self._threads is None:
            raise ConnectionClosed("this client is not open", hint="use `async with`, or await client.open()")
        return self._threads

    @property
    def connection(self) -> Connection:
        """The connection that is shared."""
        return self.plain.connection

    def check(self) -> None:
        """See that this is the loop that the client was opened in.

        Raises:
            RuntimeError: it is another one.
            ConnectionClosed: the client is not open.
        """
        _ = self.plain
        if self._loop is not asyncio.get_running_loop():
            raise RuntimeError("this client was opened in another event loop: open one in this loop")

    # --- one request --------------------------------------------------------------------------------------------------

    async def perform(self, method: Callable[[Any], R]) -> R:
        """The value of a method of the plain client that makes one call; see :class:`~stoker.awaiting.Rehearsal`."""
        self.check()
        outbox: Outbox = self.plain.outbox
        return await Rehearsal(self.connection, outbox.upload).perform(method)

    def job(self, id: int) -> KeptJob:  # noqa: A002 - the wire's word
        """A handle on a job that the daemon has."""
        return KeptJob(self, id)

    async def result(self, id: int, timeout: float | None = None) -> Any:  # noqa: A002, ASYNC109 - the wire's word, and the daemon keeps the time
        """The value of a job; see :meth:`stoker.job.KeptJob.result`."""
        return await self.job(id).result(timeout)

    # --- events -------------------------------------------------------------------------------------------------------

    async def events(self, *topics: str) -> AsyncIterator[Happening]:
        """Events as they happen, from the first ``anext`` on: iterate with ``async for``.

        Each has ``missed``, the number of events before it that did not arrive because this program was too slow;
        known only to who listens to all topics.

        Args:
            topics: only topics that begin so, for instance ``"job."``; none: all of them.

        Raises:
            DaemonLost: the daemon went away.
        """
        self.check()
        listener = await asyncio.to_thread(self.plain.listen, topics)
        with contextlib.closing(listener), _Watch(listener) as watch:
            while True:
                try:
                    happening = listener.get(0)
                except DeadlineExceeded:
                    await watch.wait()
                else:
                    yield happening

    # --- for the jobs -------------------------------------------------------------------------------------------------

    def flush_soon(self) -> None:
        """Somebody waits: send what is gathered, once all that are ready to submit now have done so."""
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    _flushing = False

    def _flush(self) -> None:
        self._flushing = False
        if self._threads is not None:
            with self.connection.lock, contextlib.suppress(StokerError):
                self.connection.gathered.flush()

    async def number(self, task: PlainJob) -> int:
        """A job's id; waits for it where it is not known yet."""
        self.check()
        if task._batch.first_id is None:  # noqa: SLF001 - the same family
            # the daemon tells ids with the first result, or after some milliseconds: rare enough for a thread
            return await asyncio.to_thread(lambda: task.id)
        return task.id

    def cancel_soon(self, tasks: Sequence[PlainJob]) -> None:
        """Cancel jobs that nobody waits for any more; the answer is not waited for, but by :meth:`close`."""
        if self._threads is not None:
            doing = asyncio.ensure_future(self._cancel(tasks))
            self._background.add(doing)
            doing.add_done_callback(self._background.discard)

    async def _cancel(self, tasks: Sequence[PlainJob]) -> None:
        with contextlib.suppress(StokerError):
            numbers = [await self.number(task) for task in tasks if task.settled is None]
            if numbers:
                await exchange(self.connection, "cancel", {"ids": numbers}, (), None)

    def __repr__(self) -> str:
        return f"<aio.Client of {self._threads.endpoint if self._threads else 'nobody: it is not open'}>"


def _complete() -> None:
    """Calls of the client for threads that are younger than the list above."""
    for calls in (DaemonCalls, LoadCalls, JobCalls):
        for name, method in vars(calls).items():
            if callable(method) and not name.startswith("_") and not hasattr(Client, name):
                setattr(Client, name, _awaitable(method))


_complete()


class _Watch:
    """Wakes when a listener's descriptors can be read. They tell of a change: drain before each wait."""

    def __init__(self, listener: Listener) -> None:
        link: Any = listener._link  # noqa: SLF001 - the same family
        self._descriptors: tuple[int, ...] = (link.fd, link.monitor_fd)
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()

    def __enter__(self) -> Self:
        for descriptor in self._descriptors:
            self._loop.add_reader(descriptor, self._ready.set)
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._descriptors:
            self._loop.remove_reader(descriptor)

    async def wait(self) -> None:
        """Until there may be something."""
        await self._ready.wait()
        self._ready.clear()
