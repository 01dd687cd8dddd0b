"""``map`` for a loop: chunks whose size adapts and a bounded look-ahead, as :mod:`stoker.mapping` has them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from stoker.aio.job import Task
from stoker.functions import pack_value
from stoker.mapping import AHEAD, CHUNK_SECONDS, MAX_CHUNK

if TYPE_CHECKING:
    from stoker.aio.client import Client
    from stoker.batch import Outbox, Template


class Mapped:
    """A map under way.

    Args:
        client: whose it is.
        outbox: where the chunks leave.
        template: of shape ``chunk``, whose jobs are :class:`~stoker.aio.job.Task`.
        chunksize: items per job; None: adapt.
    """

    def __init__(self, client: Client, outbox: Outbox, template: Template, chunksize: int | None) -> None:
        self._client, self._outbox, self._template = client, outbox, template
        self._fixed = chunksize is not None
        self._size = chunksize or 1
        self._pending: deque[tuple[Task, int]] = deque()
        self._last = asyncio.get_running_loop().time()

    async def values(self, iterable: Any, *, ordered: bool) -> AsyncIterator[Any]:
        """The values, as they come or in order."""
        take = _taker(iterable)
        try:
            await self._refill(take)
            while self._pending:
                task, count = await self._next(ordered=ordered)
                values = task.result()
                self._learn(count)
                await self._refill(take)
                for value in values:
                    yield value
        finally:
            self._client.cancel_soon([task for task, _ in self._pending if task.settled is None])

    async def _refill(self, take: Callable[[int], Awaitable[list[Any]]]) -> None:
        while len(self._pending) < AHEAD and (chunk := await take(self._size)):
            task = cast("Task", self._outbox.submit(self._template, pack_value(chunk)))
            self._pending.append((task, len(chunk)))

    async def _next(self, *, ordered: bool) -> tuple[Task, int]:
        self._client.flush_soon()
        while True:
            for place, (task, _) in enumerate(self._pending):
                if task.settled is not None:
                    entry = self._pending[place]
                    del self._pending[place]
                    return entry
                if ordered:
                    break
            waited = [self._pending[0][0].ended] if ordered else [task.ended for task, _ in self._pending]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)

    def _learn(self, items: int) -> None:
        now = asyncio.get_running_loop().time()
        elapsed, self._last = now - self._last, now
        if not self._fixed:
            fitting = items * CHUNK_SECONDS / max(elapsed, 1e-6)
            # one arrival says little: no more than double, no less than halve
            self._size = int(min(max(fitting, self._size / 2, 1), self._size * 2, MAX_CHUNK))


def _taker(iterable: Any) -> Callable[[int], Awaitable[list[Any]]]:
    """Takes the next few items of an iterable of either kind."""
    if isinstance(iterable, AsyncIterable):
        stream = aiter(iterable)

        async def take(count: int) -> list[Any]:
            chunk: list[Any] = []
            while len(chunk) < count:
                try:
                    chunk.append(await anext(stream))
                except StopAsyncIteration:
                    break
            return chunk

        return take
    items = iter(iterable)

    async def take_now(count: int) -> list[Any]:
        return list(islice(items, count))

    return take_now
