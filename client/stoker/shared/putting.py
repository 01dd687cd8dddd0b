"""Putting without waiting: items for unbounded queues leave at once or in company, and what is under way is bounded.

A put on an idle connection leaves immediately. While the answer to it is due, further puts to the same queue are
gathered; they leave when there are enough of them, before any other request of the connection (so the order in which a
program does things is the order in which they happen), and after a millisecond.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stoker.errors import StokerError
from stoker.protocol.codec import Frame
from stoker.shared import settling
from stoker.shared.holder import holder

if TYPE_CHECKING:
    from stoker.connection import Connection

MOST_ITEMS = 256
"""Items in one message: past this, the cost of a message is no longer seen in the cost of an item."""
MOST_BYTES = 64 * 1024
"""Bytes in one message. An item that is larger alone is put as if nobody was in a hurry."""
WINDOW = 8
"""Messages to one queue that may be unanswered; whoever puts more waits."""


class _Stream:
    """What this process puts in one queue."""

    def __init__(self) -> None:
        self.due = 0
        """Messages without an answer."""
        self.regret: StokerError | None = None
        """What one of them failed of; raised by the next operation."""

    @property
    def settled(self) -> object:
        """True when another message may be sent."""
        return self.due < WINDOW


class _Empty:
    """Settled when every message of a stream has its answer."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    @property
    def settled(self) -> object:
        """True when none is due."""
        return not self._stream.due


class _Batch:
    """Items of one message, all encoded alike; the completion of its request."""

    def __init__(self, stream: _Stream, queue: str, encoding: str) -> None:
        self.stream, self.queue, self.encoding = stream, queue, encoding
        self.holder = holder()
        self.items: list[bytes] = []
        self.size = 0
        self.begun = time.monotonic()
        self.sent: list[None] = []
        self.answered = False

    def takes(self, queue: str, encoding: str) -> bool:
        """Whether an item belongs to it."""
        return not self.sent and (self.queue, self.encoding, self.holder) == (queue, encoding, holder())

    def part(self, result: dict[str, Any], payload: Sequence[Frame]) -> None:
        """See :class:`stoker.session.Completion`."""

    def finish(self, _result: dict[str, Any], _payload: Sequence[Frame]) -> None:
        """See :class:`stoker.session.Completion`."""
        if not self.answered:
            self.answered = True
            self.stream.due -= 1

    def fail(self, error: StokerError) -> None:
        """See :class:`stoker.session.Completion`."""
        self.stream.regret = error
        self.finish({}, ())


class Postings:
    """One connection's puts. ``flush`` and ``drop`` are called with the connection's lock held.

    Args:
        connection: they leave by it.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._open: _Batch | None = None
        self._flushing = False
        self._streams: dict[str, _Stream] = {}

    @property
    def opened(self) -> float | None:
        """See :class:`stoker.connection.Gathered`."""
        return None if self._open is None or self._flushing else self._open.begun

    def put(self, queue: str, encoding: str, item: bytes) -> None:
        """Add one item to a queue, in good time.

        Raises:
            StokerError: what an earlier put to this queue failed of.
        """
        connection = self._connection
        stream = self._streams.get(queue) or self._streams.setdefault(queue, _Stream())
        while True:
            with connection.lock:
                self._raise(stream)
                if self._add(stream, queue, encoding, item):
                    return
            connection.wait(stream)

    def _add(self, stream: _Stream, queue: str, encoding: str, item: bytes) -> bool:
        batch = self._open
        if batch is not None and not batch.takes(queue, encoding):
            self.flush()
            batch = None
        if batch is None:
            self._connection.connect()
            if stream.due:
                self._connection.take_in()
            if stream.due >= WINDOW:
                return False
            batch = self._open = _Batch(stream, queue, encoding)
        batch.items.append(item)
        batch.size += len(item)
        if not stream.due or len(batch.items) >= MOST_ITEMS or batch.size >= MOST_BYTES:
            self.flush()
        elif len(batch.items) == 1:
            self._connection.pump.flush_soon()
        return True

    def flush(self) -> None:
        """Send what is gathered."""
        batch = self._open
        if batch is None:
            return
        if not batch.sent:
            self._flushing = True
            try:
                self._post(batch)
            except StokerError as why:
                batch.stream.regret = why
            finally:
                self._flushing = False
        # not in a finally: a Ctrl-C leaves it open, and ``sent`` tells whether it left
        self._open = None

    def _post(self, batch: _Batch) -> None:
        settling.paid(self._connection, batch.holder)
        params = {
            "id": batch.queue,
            "holder": batch.holder,
            "encoding": batch.encoding,
            "lengths": [len(item) for item in batch.items],
        }
        batch.stream.due += 1
        try:
            self._connection.send("queue.put", params, (b"".join(batch.items),), batch, batch.sent)
        finally:
            if not batch.sent:
                batch.stream.due -= 1

    def drop(self) -> None:
        """In a forked child: what was gathered is the parent's to send, and what was sent its to hear of."""
        self._open = None
        self._streams.clear()

    def settle(self, queue: str) -> None:
        """Wait until all that was put in a queue is in it.

        Raises:
            StokerError: what a put failed of.
        """
        with self._connection.lock:
            self.flush()
            stream = self._streams.get(queue)
        if stream is not None:
            self._connection.wait(_Empty(stream))
            self._raise(stream)

    def raise_regret(self, queue: str) -> None:
        """Raise what an earlier put to a queue failed of, if one did."""
        stream = self._streams.get(queue)
        if stream is not None and stream.regret is not None:
            self._raise(stream)

    def _raise(self, stream: _Stream) -> None:
        regret, stream.regret = stream.regret, None
        if regret is not None:
            raise regret


def postings(connection: Connection) -> Postings:
    """The puts of a connection."""
    found = connection.posted
    if not isinstance(found, Postings):
        found = connection.posted = Postings(connection)
        settling.before_the_end_of_a_child()
    return found
