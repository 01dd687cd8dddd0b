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
from stoker.shared.putting import MOST_BYTES, postings
from stoker.shared.taking import Basket, at_hand, basket, forget
from stoker.shared.values import decode, encode

if TYPE_CHECKING:
    from stoker.client import Client


class _Pipe(Face):
    """Putting and getting, with the errors of the daemon."""

    _kind = "queue"
    _closed = False

    def _post(self, value: object) -> None:
        """Put without waiting."""
        self._check()
        encoding, data = encode(value)
        if len(data) >= MOST_BYTES:
            self._put_encoded([(encoding, [data])], None)
        else:
            postings(self._connection).put(self._id, encoding, data)

    def _put(self, values: Iterable[object], timeout: float | None) -> None:
        self._check()
        self._put_encoded(_alike(values), timeout)

    def _put_encoded(self, batches: Iterable[tuple[str, list[bytes]]], timeout: float | None) -> None:
        for encoding, batch in batches:
            self._wait(
                "queue.put",
                timeout,
                {"encoding": encoding, "lengths": [len(data) for data in batch]},
                (b"".join(batch),),
            )

    def _get(self, most: int, timeout: float | None, ack: str = "auto") -> tuple[list[Any], int]:
        self._check()
        self._give_back()
        reply, payload = self._wait("queue.get", timeout, {"max": most, "ack": ack})
        if ack == "auto":
            settling.owe(self._connection, holder(), self._id, reply["delivery"])
        return list(_values(reply, payload)), reply["delivery"]

    def _get_one(self, timeout: float | None) -> Any:
        """One item, and others ahead where this is called often."""
        self._check()
        connection = self._connection
        with connection.lock:
            mine = basket(connection, self._id)
            item = mine.pop()
            if item is None:
                most, finished = mine.want(), mine.finished()
        if item is None:
            if most == 1 and not finished:
                return self._get(1, timeout)[0][0]
            item = self._fetch(mine, most, finished, timeout)
        return decode(*item)

    def _fetch(self, mine: Basket, most: int, finished: list[int], timeout: float | None) -> tuple[str, Frame]:
        params = {"max": most, "ack": "manual", "acknowledge": finished}
        reply: dict[str, Any] | None = None
        try:
            reply, payload = self._wait("queue.get", timeout, params)
            with self._connection.lock:
                mine.settled(finished)
                mine.fill(reply, payload)
                reply = None
                item = mine.pop()
        except QueueEmpty:
            mine.settled(finished)
            raise
        finally:
            if reply is not None:  # interrupted: nobody else knows of what has come
                self._tell("queue.ack", {"deliveries": [reply["delivery"]], "give_back": True})
        assert item is not None  # noqa: S101 - a delivery has one at least
        return item

    def _give_back(self) -> None:
        """Have nothing at hand: what is asked for next has to be in order."""
        connection = self._connection
        with connection.lock:
            if connection.baskets:
                basket(connection, self._id).acknowledge(give_back=True)

    def _at_hand(self) -> int:
        with self._connection.lock:
            return at_hand(self._connection, self._id)

    def _check(self) -> None:
        if self._closed:
            raise ValueError(f"{self!r} is closed")
        postings(self._connection).raise_regret(self._id)

    def close(self) -> None:
        """This program uses it no more. The queue stays, for others."""
        self._closed = True

    def drop(self) -> None:
        """See :meth:`Face.drop`."""
        super().drop()
        with self._connection.lock:
            forget(self._connection, self._id)

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
        """Add one item at the end.

        An item for a queue without a bound is on its way when this returns, and comes before whatever this program asks
        of the daemon afterwards. Should it fail to be put, the next operation with this queue says so; see also
        :meth:`join_thread`. With a bound, or a ``timeout``, the item is in the queue when this returns.

        Args:
            obj: what can be pickled.
            block: whether to wait for room.
            timeout: seconds; None: for ever.

        Raises:
            queue.Full: no room in time.
            ValueError: closed.
        """
        if block and timeout is None and not self._maxsize:
            self._post(obj)
        else:
            self.put_many((obj,), block=block, timeout=timeout)

    def put_many(self, values: Iterable[object], *, block: bool = True, timeout: float | None = None) -> None:
        """Add items at the end in one message; when this returns, they are in. On ``queue.Full`` the first of them may
        be.
        """
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
        try:
            return self._get_one(timeout if block else 0.0)
        except QueueEmpty as why:
            raise queue.Empty from why

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
        return int(self._ask("queue.size")["size"]) + self._at_hand()

    def empty(self) -> bool:
        """Whether none waits."""
        return self.qsize() == 0

    def full(self) -> bool:
        """Whether a put would have to wait."""
        return 0 < self._maxsize <= self.qsize()

    def join_thread(self) -> None:
        """Wait until all that this program has put is in the queue.

        Raises:
            StokerError: what a put failed of.
        """
        postings(self._connection).settle(self._id)

    def cancel_join_thread(self) -> None:
        """Nothing to do. Here for the sake of programs written for multiprocessing."""

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
        """Add one item at the end; see :meth:`Queue.put`."""
        self._post(obj)

    def get(self) -> Any:
        """Take one item from the front, waiting for it."""
        return self._get_one(None)

    def empty(self) -> bool:
        """Whether none waits."""
        return not self._at_hand() and int(self._ask("queue.size")["size"]) == 0


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
