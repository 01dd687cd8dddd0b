"""What the loop thread hands to the writer thread, and how it is told what became of it."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeAlias

from stoker.errors import StokerError
from stokerd.promise import Promise
from stokerd.store.database import BatchRow, Found, MoveRow
from stokerd.store.records import Accepted, Move


@dataclass(slots=True, eq=False)
class Accepts:
    """Batches to be added: all of them or none. ``rows`` is made once, when their files are written."""

    items: Sequence[Accepted]
    promise: Promise[None]
    rows: list[BatchRow] | None = None
    files: list[int] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Moves:
    """Moves to be added, sooner or later."""

    items: Sequence[Move]
    promise: Promise[None]
    rows: list[MoveRow] | None = None
    files: list[int] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Drop:
    """Batches to be removed, by and by."""

    first_ids: Sequence[int]


@dataclass(slots=True, eq=False)
class Read:
    """Rows that are wanted by a thread that waits for them: what was handed over before is in them."""

    above: int
    most: int
    answer: SimpleQueue[Found | StokerError]


@dataclass(slots=True, eq=False)
class Stop:
    """The end."""

    promise: Promise[None]


Work: TypeAlias = Accepts | Moves
Order: TypeAlias = Accepts | Moves | Drop | Read | Stop


class Outcomes:
    """Calls that the writer thread wants made in the loop thread, in order.

    The writer adds and rings; the loop watches :attr:`fd` and makes the calls. A deque is safe between two threads by
    itself, and the eventfd keeps its count until it is read, so that no ring is lost.
    """

    def __init__(self) -> None:
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._silent = False
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def add(self, call: Callable[..., object], *args: Any) -> None:
        """In the writer thread: have a call made after the next :meth:`ring`."""
        self._calls.append((call, args))
        self._silent = True

    def ring(self) -> None:
        """In the writer thread: wake the loop, if anything was added since it was woken last."""
        if self._silent:
            self._silent = False
            os.eventfd_write(self.fd, 1)

    def deliver(self) -> None:
        """In the loop thread: make the calls."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fd)
        try:
            while self._calls:
                call, args = self._calls.popleft()
                call(*args)
        finally:
            if self._calls:  # one of them raised: the others are called in the next turn
                os.eventfd_write(self.fd, 1)

    def close(self) -> None:
        """Close the descriptor; nothing is delivered any more."""
        os.close(self.fd)


class Channel:
    """Between the loop thread and the writer's: orders one way, outcomes the other."""

    def __init__(self) -> None:
        self.orders: SimpleQueue[Order] = SimpleQueue()
        self.outcomes = Outcomes()
        self.aborted = False
        """Set by the loop thread: write nothing any more, and look for the :class:`Stop` that comes next."""
