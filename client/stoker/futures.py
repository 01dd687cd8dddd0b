"""What an executor's calls are made of: the job behind a Future, how many are under way at once, values in order."""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from stoker.broken import translated
from stoker.errors import ResultNotPackable, StokerError
from stoker.initialized import NotInitialized
from stoker.job import Job

if TYPE_CHECKING:
    from stoker.batch import Batch

E = TypeVar("E")

SLOW = 0.05
"""Seconds between handing over and the result above which the window narrows."""

MAX_WINDOW = 8192
"""Calls handed over at a time, at most."""


class Task(Job):
    """A job that settles a Future."""

    __slots__ = ("future", "since")

    def __init__(self, batch: Batch, row: int) -> None:
        super().__init__(batch, row)
        self.future: Future[Any] | None = None
        self.since = time.monotonic()


class Window:
    """How many calls may be with the daemon at once.

    Args:
        workers: the pool's size: the least that keeps it busy is one more each.
        limit: never more than these; None: any number.
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


def outcome(task: Task) -> tuple[Any, BaseException | None]:
    """The task's value, or its exception as a Future's."""
    try:
        error = task.exception()
    except BaseException as why:  # SystemExit, say, from what unpickling called
        error = ResultNotPackable(f"the value arrived and cannot be unpickled here: {type(why).__name__}: {why}")
        error.__cause__ = why
    if error is None:
        return task.result(), None
    return None, error if isinstance(error, NotInitialized) else translated(error)


def caused(why: StokerError) -> BaseException:
    """The exception of a call that could not be packed; pickle's own complaint is its cause."""
    error = translated(why)
    error.__cause__ = why.__cause__
    return error


def in_order(
    futures: deque[Future[Any]],
    items: Iterator[Any],
    enter: Callable[[E, Any], Future[Any]],
    executor: weakref.ref[E],
    deadline: float | None,
) -> Iterator[Any]:
    """The values of Futures, in order; what is left when the iteration ends is cancelled, if it still can be.

    Args:
        futures: in order; taken from and added to.
        items: for each value that is taken, one of these is entered.
        enter: how.
        executor: where; while it lives.
        deadline: of all values, by ``time.monotonic()``; None: none.
    """
    nothing = object()
    try:
        while futures:
            if (owner := executor()) is not None and (item := next(items, nothing)) is not nothing:
                futures.append(enter(owner, item))
            del owner  # whoever iterates must not keep it
            # nor a value once it was taken
            yield futures.popleft().result(None if deadline is None else deadline - time.monotonic())
    finally:
        for future in futures:
            future.cancel()
