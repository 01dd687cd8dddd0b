"""``Queue``, ``JoinableQueue`` and ``SimpleQueue`` as :mod:`multiprocessing` has them: without a name.

They live in the daemon. What was put is in the queue when ``put`` returns, so there is no feeder thread, and nothing to
be joined at the end.
"""

from __future__ import annotations

import traceback
from queue import Empty, Full

from stoker import shared
from stoker.errors import CannotPack

__all__ = ["Empty", "Full", "JoinableQueue", "Queue", "SimpleQueue"]


class Queue(shared.Queue):
    """A queue; see :class:`multiprocessing.Queue` and :class:`stoker.shared.Queue`.

    Args:
        maxsize: most items in it; 0: no bound.
        ctx: not used; here for the sake of programs that give one.
    """

    _used = False

    def __init__(self, maxsize: int = 0, *, ctx: object = None) -> None:  # noqa: ARG002 - the standard library's
        super().__init__(None, maxsize)

    def put(self, obj: object, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002 - as multiprocessing's
        """Add one item at the end; see :meth:`stoker.shared.Queue.put`.

        One that can't be pickled is not added: as with the standard library, the traceback is printed and this returns.
        """
        self._used = True
        try:
            super().put(obj, block, timeout)
        except CannotPack as why:
            self._on_queue_feeder_error(why.__cause__ or why, obj)

    def empty(self) -> bool:
        """Whether none waits.

        Raises:
            OSError: closed, after something was put; as with the standard library.
        """
        if self._closed and self._used:
            raise OSError(f"{self!r} is closed")
        return super().empty()

    @staticmethod
    def _on_queue_feeder_error(error: BaseException, obj: object) -> None:  # noqa: ARG004 - a hook of the standard library's
        """What becomes of an item that can't be pickled; subclasses may replace it."""
        traceback.print_exception(error)


class JoinableQueue(shared.JoinableQueue, Queue):
    """A queue that can be waited for until all of its items are done; see :class:`multiprocessing.JoinableQueue`."""


class SimpleQueue(shared.SimpleQueue):
    """A queue that is put to and taken from; see :class:`multiprocessing.SimpleQueue`.

    Args:
        ctx: not used; here for the sake of programs that give one.
    """

    def __init__(self, *, ctx: object = None) -> None:  # noqa: ARG002 - the standard library's
        super().__init__()

    def empty(self) -> bool:
        """Whether none waits.

        Raises:
            OSError: closed.
        """
        self._check()
        return super().empty()

    def _check(self) -> None:
        if self._closed:
            raise OSError(f"{self!r} is closed")
