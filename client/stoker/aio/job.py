"""A job as a coroutine sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from stoker.aio.awaiting import tell
from stoker.job import Job as PlainJob
from stoker.job import KeptJob as PlainKeptJob

if TYPE_CHECKING:
    from stoker.aio.client import Client
    from stoker.batch import Batch
    from stoker.protocol.models import JobInfo

R = TypeVar("R")


class Task(PlainJob):
    """A job that wakes whoever awaits it."""

    __slots__ = ("ended",)

    def __init__(self, batch: Batch, row: int) -> None:
        super().__init__(batch, row)
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()


def settle(jobs: Sequence[PlainJob]) -> None:
    """In the pump's thread: these have ended. May be told twice."""
    tasks = cast("Sequence[Task]", jobs)
    if tasks:
        tell(tasks[0].ended.get_loop(), _wake, tasks)


def _wake(tasks: Sequence[Task]) -> None:
    for task in tasks:
        if not task.ended.done():
            task.ended.set_result(None)


class Job:
    """A submitted call: await it, or :meth:`result`. Made by :meth:`Client.submit`.

    Args:
        client: whose it is.
        task: the same job as the connection knows it.
    """

    __slots__ = ("__weakref__", "_client", "_task")

    def __init__(self, client: Client, task: Task) -> None:
        self._client = client
        self._task = task

    def __await__(self) -> Generator[Any, None, Any]:
        return self.result().__await__()

    async def result(self) -> Any:
        """The value that the function returned. Cancelled while it waits, it cancels the job.

        Raises:
            as :meth:`stoker.job.Job.result`.
        """
        await self._wait()
        if self._task.outlives:
            return await self._kept().result()
        return self._task.result()

    async def exception(self) -> BaseException | None:
        """The exception that :meth:`result` would raise; None where there is a value. Cancels as :meth:`result`."""
        await self._wait()
        if self._task.outlives:
            return await self._kept().exception()
        return self._task.exception()

    def _kept(self) -> KeptJob:
        """The same job, as the next daemon knows it."""
        return KeptJob(self._client, self._task.id)

    async def _wait(self) -> None:
        if self._task.settled is None:
            self._client.flush_soon()
        while self._task.settled is None:
            try:
                await asyncio.wait((self._task.ended,))
            except asyncio.CancelledError:
                self._client.cancel_soon((self._task,))
                raise

    def done(self) -> bool:
        """True once it has ended, in whichever way."""
        return self._task.settled is not None

    async def id(self) -> int:
        """The job's number in the daemon.

        Raises:
            StokerError: the daemon did not accept the job.
        """
        return await self._client.number(self._task)

    async def cancel(self) -> bool:
        """Cancel it, even while it runs; returns when it has ended. False if it had ended before."""
        if self._task.settled is not None:
            return False
        number = await self.id()
        reply = await self._client.cancel(number)
        return number in reply.cancelled

    async def status(self) -> JobInfo:
        """What the daemon knows about it now.

        Raises:
            NoSuchJob: its record is not kept any more.
        """
        return (await self._client.jobs(await self.id()))[0]

    def __repr__(self) -> str:
        return repr(self._task)


class KeptJob:
    """A job known by its id: await it, or :meth:`result`. Made by :meth:`Client.job`, ``run``, ``call`` and
    ``options(detach=True)``. It is nobody's in particular, so a cancelled wait leaves it alone.

    Args:
        client: to the daemon that has it.
        id: its number.
        name: for people.
    """

    __slots__ = ("__weakref__", "_client", "_plain", "id", "name")

    def __init__(self, client: Client, id: int, name: str = "") -> None:  # noqa: A002 - the word of the wire
        self._client = client
        self._plain = PlainKeptJob(client.connection, id, name)
        self.id = id
        self.name = name

    def __await__(self) -> Generator[Any, None, Any]:
        return self.result().__await__()

    async def result(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - the daemon keeps the time
        """The job's value; for a command its exit code, 0.

        Args:
            timeout: seconds; None: for ever.

        Raises:
            as :meth:`stoker.job.KeptJob.result`.
        """
        return await self._perform(lambda plain: plain.result(timeout))

    async def exception(self, timeout: float | None = None) -> BaseException | None:  # noqa: ASYNC109 - likewise
        """The exception that :meth:`result` would raise; None where there is a value."""
        return cast("BaseException | None", await self._perform(lambda plain: plain.exception(timeout)))

    async def done(self) -> bool:
        """True once it has ended, in whichever way."""
        return bool(await self._perform(lambda plain: plain.done()))

    async def cancel(self) -> bool:
        """Cancel it, even while it runs; returns when it has ended. False if it had ended before."""
        return bool(await self._perform(lambda plain: plain.cancel()))

    async def status(self) -> JobInfo:
        """What the daemon knows about it now."""
        return (await self._client.jobs(self.id))[0]

    async def _perform(self, method: Callable[[PlainKeptJob], R]) -> R:
        return await self._client.perform(lambda stage: method(PlainKeptJob(stage, self.id, self.name)))

    def __repr__(self) -> str:
        return f"<KeptJob {self.id} {self.name}>"
