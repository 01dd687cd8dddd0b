"""``map``: chunks whose size adapts, a bounded look-ahead, the values in order."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from stoker.batch import Outbox, Template
from stoker.errors import InvalidParams, StokerError
from stoker.job import Job
from stoker.session import Exchange

CHUNK_SECONDS = 0.01
"""What a chunk should take: long beside the cost of a message, short beside a person's patience."""

MAX_CHUNK = 16_384
"""Items of one adaptive chunk."""

AHEAD = 16
"""Chunks under way at once: enough for a few workers each to have one more waiting."""


class _ChunkSize:
    """How many items the next chunk gets.

    Args:
        fixed: what the caller asked for; None: adapt.
    """

    def __init__(self, fixed: int | None) -> None:
        self.now = 1 if fixed is None else fixed
        self._fixed = fixed is not None
        self._last = time.monotonic()

    def learn(self, items: int) -> None:
        """A chunk of so many items has arrived. Between arrivals lies what one takes, all workers together."""
        now = time.monotonic()
        elapsed, self._last = now - self._last, now
        if not self._fixed:
            fitting = items * CHUNK_SECONDS / max(elapsed, 1e-6)
            # one arrival says little: no more than double, no less than halve
            self.now = int(min(max(fitting, self.now / 2, 1), self.now * 2, MAX_CHUNK))


def mapped(outbox: Outbox, template: Template, iterable: Iterable[Any], chunksize: int | None) -> Iterator[Any]:
    """The values of ``template``'s function over ``iterable``, in order; the first chunks leave at once.

    Args:
        outbox: where the chunks leave.
        template: of shape ``chunk``.
        iterable: read in this thread.
        chunksize: items per job; None: adapt.

    Raises:
        InvalidParams: ``chunksize`` is not a positive number.
    """
    if chunksize is not None and chunksize < 1:
        raise InvalidParams(f"chunksize is {chunksize}", hint="give a positive number, or none at all")
    size = _ChunkSize(chunksize)
    items = iter(iterable)
    pending: deque[tuple[Job, int]] = deque()
    try:
        _refill(outbox, template, items, pending, size)
    except BaseException:
        _give_up(outbox, pending)
        raise
    values = _values(outbox, template, items, pending, size)
    next(values)
    return values


def _values(
    outbox: Outbox, template: Template, items: Iterator[Any], pending: deque[tuple[Job, int]], size: _ChunkSize
) -> Iterator[Any]:
    try:
        yield None  # it has begun: from here on, closing it cancels what is under way
        while pending:
            job, count = pending[0]
            values = job.result()
            pending.popleft()
            size.learn(count)
            _refill(outbox, template, items, pending, size)
            yield from values
    finally:
        _give_up(outbox, pending)


def _refill(
    outbox: Outbox, template: Template, items: Iterator[Any], pending: deque[tuple[Job, int]], size: _ChunkSize
) -> None:
    while len(pending) < AHEAD:
        chunk = list(islice(items, size.now))
        if not chunk:
            return
        pending.append((outbox.submit(template, outbox.pack(template, chunk)), len(chunk)))


def _give_up(outbox: Outbox, pending: deque[tuple[Job, int]]) -> None:
    """Nobody takes the rest: cancel what the daemon has of it, without waiting."""
    unwanted = [job for job, _ in pending if job.settled is None]
    pending.clear()
    with contextlib.suppress(StokerError):
        if ids := [job.id for job in unwanted]:
            outbox.connection.send("cancel", {"ids": ids}, (), Exchange())
