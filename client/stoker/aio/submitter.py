"""Handing in work from a loop: one call, many calls, a command."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from stoker.aio.awaiting import patiently
from stoker.aio.job import Job, KeptJob, Task, settle
from stoker.aio.mapping import Mapped
from stoker.job import KeptJob as PlainKeptJob

if TYPE_CHECKING:
    from stoker.aio.client import Client
    from stoker.submitter import Submitter as PlainSubmitter


class Submitter:
    """Submits with one set of options; made by :meth:`Client.options`.

    Args:
        client: whose it is; None: the client itself.
        plain: the same for threads.
        detach: the daemon keeps the results; jobs are known by their ids.
    """

    def __init__(self, client: Client, plain: PlainSubmitter | None, *, detach: bool = False) -> None:
        self._client = client
        self._plain = plain
        self._detach = detach

    def options(self, *, detach: bool | None = None, **options: Any) -> Submitter:
        """The same, with other options: those of :meth:`stoker.Client.options`."""
        plain = self._plainly().options(detach=detach, **options)
        return Submitter(self._client, plain, detach=self._detach if detach is None else detach)

    async def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job | KeptJob:
        """Have ``fn(*args, **kwargs)`` called by a worker.

        Returns:
            A job: a :class:`KeptJob` with ``detach``. Await it for its value.

        Raises:
            CannotPack: the function or an argument cannot be pickled.
            MessageTooLarge: the arguments are larger than the daemon takes.
            QueueFull: with ``detach``; else it is what the job ends with, because the loop cannot wait here for room.
            ConnectionFailed: the daemon cannot be reached.
        """
        if self._detach:
            return await self._hand_in(lambda plain: plain.submit(fn, *args, **kwargs))
        # through the plain one, whose checks and limits are the same; its template makes the job one of ours
        self._client.check()
        plain = self._plainly()
        plain.template(fn, "call", job=Task, on_settled=settle)
        task = await patiently(self._client.connection, lambda: plain.submit(fn, *args, **kwargs))
        return Job(self._client, cast("Task", task))

    async def call(self, function: str, /, *args: Any, **kwargs: Any) -> KeptJob:
        """Have a function called that is only named; see :meth:`stoker.Client.call`."""
        return await self._hand_in(lambda plain: plain.call(function, *args, **kwargs))

    async def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
    ) -> KeptJob:
        """Have a command run; see :meth:`stoker.Client.run`."""
        return await self._hand_in(lambda plain: plain.run(argv, cwd=cwd, env=env, stdin=stdin))

    async def map(
        self,
        fn: Callable[[Any], Any],
        iterable: Iterable[Any] | AsyncIterable[Any],
        *,
        chunksize: int | None = None,
        ordered: bool = True,
    ) -> AsyncIterator[Any]:
        """Call ``fn`` with every item; iterate over the values with ``async for``.

        The iterable is read in the loop, and never much farther than the values have been taken. Leaving the iteration
        early cancels what is under way.

        Args:
            fn: takes one argument.
            iterable: the arguments; an asynchronous one, too.
            chunksize: items per job; None: as many as take about ten milliseconds, found while it runs.
            ordered: False: the values in the order in which they come.

        Raises:
            ValueError: ``chunksize`` is not positive.
            Exception: what the first failing call raised; also those of :meth:`submit`.
        """
        if chunksize is not None and chunksize < 1:
            raise ValueError(f"chunksize is {chunksize}: give a positive number, or none at all")
        self._client.check()
        plain = self._plainly()
        template = plain.template(fn, "chunk", job=Task, on_settled=settle)
        mapping = Mapped(self._client, plain.outbox, template, chunksize)
        async for value in mapping.values(iterable, ordered=ordered):
            yield value

    def _plainly(self) -> PlainSubmitter:
        if self._plain is None:
            # waiting for room in a full queue would hold up the loop: here it is an error, QueueFull
            self._plain = self._client.plain.options(block=False)
        return self._plain

    async def _hand_in(self, method: Callable[[PlainSubmitter], Any]) -> KeptJob:
        plain = self._plainly()

        def handed_in(stage: Any) -> PlainKeptJob:
            there = type(plain)(stage, plain._packer, plain._options, detach=self._detach, block=False)  # noqa: SLF001 - the same family
            return cast("PlainKeptJob", method(there))

        job = await self._client.perform(handed_in)
        return KeptJob(self._client, job.id, job.name)
