"""Queue, JoinableQueue, SimpleQueue."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stoker.errors import IllegalMove, QueueEmpty, QueueFull
from stoker.protocol.codec import Frame
from stoker.shared import settling
from stoker.shared.face import Face
from stoker.shared.holder import holder
from stoker.shared.values import decode, encode

if TYPE_CHECKING:
    from stoker.client import Client


class _Pipe(Face):
    """Putting and getting, with the errors of the daemon."""

    _kind = "queue"
    _closed = False

    def _put(self, values: Iterable[object], timeout: float | None) -> None:
        self._check()
        for encoding, batch in _alike(values):
            self._wait(
                "queue.put",
                timeout,
                {"encoding": encoding, "lengths": [len(data) for data in batch]},
                (b"".join(batch),),
            )

    def _get(self, most: int, timeout: float | None, ack: str = "auto") -> tuple[list[Any], int]:
        self._check()
        reply, payload = self._wait("queue.get", timeout, {"max": most, "ack": ack})
        if ack == "auto":
            settling.owe(self._connection, holder(), self._id, reply["delivery"])
        return list(_values(reply, payload)), reply["delivery"]

    def _check(self) -> None:
        if self._closed:
            raise ValueError(f"{self!r} is closed")

    def close(self) -> None:
        """This program uses it no more. The queue stays, for others."""
        self._closed = True

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._closed = False


class Queue(_Pipe):
    """A queue of Python values: numbers, strings and bytes can be read by any language.

    An item that was sent to a process that died before it had it is not lost: it returns to the front.

    Args:
        name: its name; None: an anonymous one.
        maxsize: most items in it, 0: no bound; None: 0, or as it was made.
        client: whose daemon it lives in; None: the default one's.

    Raises:
        NameTaken: the name belongs to something else.
    """

    def __init__(self, name: str | None = None, maxsize: int | None = None, *, client: Client | None = None) -> None:
        bound = None if maxsize is None else max(maxsize, 0)
        self._maxsize = int(self._open(name, client, {"maxsize": bound})["options"].get("maxsize") or 0)

    def put(self, obj: object, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002 - as multiprocessing's
        """Add one item at the end; when this returns, it is in the queue.

        Args:
            obj: what can be pickled.
            block: whether to wait for room.
            timeout: seconds; None: for ever.

        Raises:
            queue.Full: no room in time.
            ValueError: closed.
        """
        self.put_many((obj,), block=block, timeout=timeout)

    def put_many(self, values: Iterable[object], *, block: bool = True, timeout: float | None = None) -> None:
        """Add items at the end in one message; see :meth:`put`. On ``queue.Full`` the first of them may be in."""
        try:
            self._put(values, timeout if block else 0.0)
        except QueueFull as why:
            raise queue.Full from why

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002 - as multiprocessing's
        """Take one item from the front.

        Args:
            block: whether to wait for one.
            timeout: seconds; None: for ever.

        Raises:
            queue.Empty: none in time.
            ValueError: closed.
        """
        return self.get_many(1, block=block, timeout=timeout)[0]

    def get_many(self, most: int, *, block: bool = True, timeout: float | None = None) -> list[Any]:
        """Take up to ``most`` items in one message, as many as there are, waiting for the first; see :meth:`get`."""
        try:
            return self._get(most, timeout if block else 0.0)[0]
        except QueueEmpty as why:
            raise queue.Empty from why

    @contextmanager
    def take(self, timeout: float | None = None) -> Iterator[Any]:
        """Work on one item: ``with queue.take() as item:``.

        It is gone when the block ends, and returns to the front if the block raises or this process dies in it.

        Raises:
            queue.Empty: none in ``timeout`` seconds.
        """
        try:
            (item,), number = self._get(1, timeout, "manual")
        except QueueEmpty as why:
            raise queue.Empty from why
        try:
            yield item
        except BaseException:
            self._ask("queue.ack", deliveries=[number], give_back=True)
            raise
        self._taken(number)

    def _taken(self, number: int) -> None:
        self._ask("queue.ack", deliveries=[number])

    def put_nowait(self, obj: object) -> None:
        """``put(obj, block=False)``."""
        self.put(obj, block=False)

    def get_nowait(self) -> Any:
        """``get(block=False)``."""
        return self.get(block=False)

    def qsize(self) -> int:
        """How many items wait."""
        return int(self._ask("queue.size")["size"])

    def empty(self) -> bool:
        """Whether none waits."""
        return self.qsize() == 0

    def full(self) -> bool:
        """Whether a put would have to wait."""
        return 0 < self._maxsize <= self.qsize()

    def join_thread(self) -> None:
        """Nothing to do: what was put is in the queue. Here for the sake of programs written for multiprocessing."""

    def cancel_join_thread(self) -> None:
        """Likewise."""

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "maxsize": self._maxsize}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._maxsize = state["maxsize"]


class JoinableQueue(Queue):
    """A queue that can be waited for until all of its items are done."""

    def task_done(self) -> None:
        """Report one item as done.

        Raises:
            ValueError: more than were put.
        """
        try:
            self._ask("queue.task_done")
        except IllegalMove as why:
            raise ValueError(why.message) from why

    def join(self) -> None:
        """Wait until every item that was put has been reported as done."""
        self._wait("queue.join", None)

    def _taken(self, number: int) -> None:
        super()._taken(number)
        self.task_done()


class SimpleQueue(_Pipe):
    """A queue that is put to and taken from, and no more.

    Args:
        name: its name; None: an anonymous one.
        client: whose daemon it lives in; None: the default one's.
    """

    def __init__(self, name: str | None = None, *, client: Client | None = None) -> None:
        self._open(name, client, {})

    def put(self, obj: object) -> None:
        """Add one item at the end."""
        self._put((obj,), None)

    def get(self) -> Any:
        """Take one item from the front, waiting for it."""
        return self._get(1, None)[0][0]

    def empty(self) -> bool:
        """Whether none waits."""
        return int(self._ask("queue.size")["size"]) == 0


def _alike(values: Iterable[object]) -> Iterator[tuple[str, list[bytes]]]:
    """Encoded values in batches of the same encoding. All are encoded before the first is given out."""
    batches: list[tuple[str, list[bytes]]] = []
    for encoding, data in map(encode, values):
        if not batches or batches[-1][0] != encoding:
            batches.append((encoding, []))
        batches[-1][1].append(data)
    return iter(batches)


def _values(reply: dict[str, Any], payload: Sequence[Frame]) -> Iterator[Any]:
    whole, start = memoryview(payload[0]), 0
    for length in reply["lengths"]:
        yield decode(reply["encoding"], whole[start : start + length])
        start += length
