"""Taking ahead: a consumer that is quick gets several items in one message, and has the rest at hand.

How many is measured: as many as it consumes in :data:`AHEAD`, and one where it is slower than that. All of them are on
loan like any item. Those that were handed out are acknowledged within :data:`stoker.shared.settling.PATIENCE`, or with
the next message; when the consumer comes for no more in that time, the rest returns to the front of the queue. So an
item that lies here is kept from the other consumers no longer than that, and none is lost with this process.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stoker.protocol.codec import Frame
from stoker.shared import settling
from stoker.shared.holder import holder

if TYPE_CHECKING:
    from stoker.connection import Connection

AHEAD = 0.003
"""Seconds of work that are taken ahead."""
MANY = 64
"""Baskets from which on those are forgotten that nobody has used for long."""
MOST = 256
"""Items taken ahead: past this, the cost of a message is no longer seen in the cost of an item."""


class Basket:
    """What one thread has at hand of one queue. All methods are called with the connection's lock held.

    Each thread has its own, so that what it gets is in order, as if it had taken one item at a time.

    Args:
        connection: to the daemon.
        queue: the id of the queue.
    """

    def __init__(self, connection: Connection, queue: str) -> None:
        self._connection, self._queue = connection, queue
        self._holder = holder()
        self._generation = connection.generation
        self._items: deque[tuple[int, str, Frame]] = deque()
        self._taken: dict[int, int] = {}
        """By delivery, how many of its items were handed out and are not acknowledged."""
        self._left: dict[int, int] = {}
        """By delivery, how many of its items lie here."""
        self._since = 0.0
        """When the first item was handed out that is not acknowledged."""
        self._last = 0.0
        self._pace = AHEAD
        """Seconds from one item to the next, averaged; a pause counts as one as long as is taken ahead."""

    def __len__(self) -> int:
        return len(self._items)

    def pop(self) -> tuple[str, Frame] | None:
        """The next item, its encoding first; None where there is none at hand."""
        now = time.monotonic()
        self._pace += (min(now - self._last, AHEAD) - self._pace) / 8
        self._last = now
        if self._generation != self._connection.generation:
            self.forget()  # the daemon has taken them back when the connection ended
        if not self._items:
            return None
        delivery, encoding, item = self._items.popleft()
        if not self._taken:
            self._since = now
        self._taken[delivery] = self._taken.get(delivery, 0) + 1
        self._left[delivery] -= 1
        if now - self._since > settling.PATIENCE:
            self.acknowledge()
        return encoding, item

    def want(self) -> int:
        """How many items to ask for."""
        return max(min(int(AHEAD / max(self._pace, 1e-6)), MOST), 1)

    def finished(self) -> list[int]:
        """Deliveries all of whose items were handed out: the next message acknowledges them."""
        return [delivery for delivery in self._taken if not self._left[delivery]]

    def settled(self, deliveries: Sequence[int]) -> None:
        """They are acknowledged."""
        for delivery in deliveries:
            self._taken.pop(delivery, None)
            self._left.pop(delivery, None)

    def fill(self, reply: dict[str, Any], payload: Sequence[Frame]) -> None:
        """What was asked for has come."""
        self._generation = self._connection.generation
        whole, start = memoryview(payload[0]), 0
        number, encoding = reply["delivery"], reply["encoding"]
        self._left[number] = len(reply["lengths"])
        for length in reply["lengths"]:
            self._items.append((number, encoding, whole[start : start + length]))
            start += length
        self._last = time.monotonic()  # the time that it took to come is not the consumer's
        settling.keep(self)

    def acknowledge(self, *, give_back: bool = False) -> None:
        """Say what was handed out; with ``give_back``, the rest returns to the queue."""
        for delivery in {*self._taken, *(self._left if give_back else ())}:
            params = {
                "id": self._queue,
                "holder": self._holder,
                "deliveries": (delivery,),
                "taken": self._taken.get(delivery, 0),
                "give_back": give_back,
            }
            # if this fails the daemon has taken the items back already, or the queue is no more
            self._connection.tell("queue.ack", params, lambda _: None)
        if give_back:
            self.forget()
        self.settled(self.finished())
        self._taken.clear()

    def settle(self, older_than: float) -> bool:
        """Give back what nobody has come for in so many seconds; True if nothing is owed any more."""
        if self._generation != self._connection.generation:
            self.forget()
        if time.monotonic() - self._last >= older_than:
            with self._connection.lock:
                self.acknowledge(give_back=True)
        return not self._items and not self._taken

    @property
    def stale(self) -> bool:
        """True if there is nothing in it, and has not been for long: its thread may be no more."""
        return not self._items and not self._taken and time.monotonic() - self._last > 1.0

    @property
    def connection(self) -> Connection:
        """To the daemon."""
        return self._connection

    def forget(self) -> None:
        """They are the parent process's, or have been taken back."""
        self._items.clear()
        self._taken.clear()
        self._left.clear()


def basket(connection: Connection, queue: str) -> Basket:
    """What this thread has at hand of a queue."""
    baskets, key = connection.baskets, (queue, holder())
    found = baskets.get(key)
    if found is None:
        if len(baskets) >= MANY:
            for old in [old for old, kept in baskets.items() if kept.stale]:
                del baskets[old]
        found = baskets[key] = Basket(connection, queue)
    return found


def at_hand(connection: Connection, queue: str) -> int:
    """How many items of a queue all threads together have at hand."""
    return sum(len(kept) for (whose, _), kept in connection.baskets.items() if whose == queue)


def forget(connection: Connection, queue: str) -> None:
    """The queue is no more."""
    for key in [key for key in connection.baskets if key[0] == queue]:
        connection.baskets.pop(key).forget()
