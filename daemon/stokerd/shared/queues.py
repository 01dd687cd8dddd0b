"""Queue: items from those who put to those who get, none lost and none twice.

An item is in one of these places: parked with a putter for which there is no room yet; waiting in the queue; on loan to
a taker that has not acknowledged it; gone. A taker that ends gives its loans back to the front, in their old order.
While items wait nobody waits to get; while a putter waits there is no room for its next item.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from stoker.errors import ObjectTooLarge, QueueEmpty, QueueFull, StokerError
from stoker.protocol.objects import ObjectOptions
from stokerd.promise import Promise
from stokerd.shared.base import Holdings, Item, Outcome, Room, SharedObject, weight
from stokerd.shared.loans import Loans
from stokerd.shared.tally import Tally
from stokerd.shared.waiters import Actor, Gone, Line, known, refused

Ack: TypeAlias = Literal["auto", "manual", "now"]


class Delivery(NamedTuple):
    """Items for a taker, all encoded alike; ``number`` names the loan, 0: there is none."""

    number: int
    items: Sequence[Item]


@dataclass(slots=True, eq=False)
class _Batch:
    """What a putter brings: ``left`` has no room yet."""

    left: deque[Item]
    accepted: int = 0


class _Order(NamedTuple):
    """What a taker wants."""

    most: int
    ack: Ack


class SharedQueue(SharedObject):
    """A queue of opaque items.

    Args:
        maxsize: most items that wait; 0: as many as there is memory for.
    """

    kind = "queue"

    def __init__(self, room: Room, object_id: str, name: str | None, *, maxsize: int = 0) -> None:
        super().__init__(room, object_id, name)
        self.maxsize = maxsize
        self.tally = Tally(room.clock)
        self.items: deque[Item] = deque()
        self._held = Holdings(room, f"queue {object_id!r}")
        self.loans = Loans(
            paid=lambda items: self._held.change(weight(items), 0),
            returned=lambda items: self.items.extendleft(reversed(items)),
        )
        self._putters: Line[int, _Batch] = Line(
            room.clock,
            timed_out=lambda waiter: waiter.promise.reject(self._full(waiter.want)),
            left=lambda _: self._move(),
        )
        self._takers: Line[Delivery, _Order] = Line(
            room.clock, timed_out=lambda waiter: waiter.promise.reject(self._empty())
        )

    @property
    def options(self) -> ObjectOptions:
        """See :class:`SharedObject`."""
        return ObjectOptions(maxsize=self.maxsize)

    def detail(self) -> dict[str, Any]:
        """See :class:`SharedObject`."""
        return {
            "size": len(self.items),
            "maxsize": self.maxsize,
            "on_loan": len(self.loans),
            "unfinished": self.tally.unfinished,
            "bytes": self._held.bytes,
            "putters": len(self._putters),
            "takers": len(self._takers),
        }

    def put(self, actor: Actor, items: Iterable[Item], timeout: float | None = None, ticket: int = 0) -> Promise[int]:
        """Add items at the end, as room comes; answers with their number when all are in.

        Rejected with QueueFull where the time is over first; ``data["accepted"]`` are in all the same.

        Raises:
            ObjectTooLarge: an item that there will never be room for; nothing was added.
        """
        batch = _Batch(deque(items))
        for item in batch.left:
            if weight((item,)) > min(self.room.object_bytes, self.room.budget.total):
                raise ObjectTooLarge(
                    f"an item of {len(item.data)} bytes: queue {self.id!r} may hold {self.room.object_bytes} at most",
                    hint="put a file name in the queue in place of the data",
                    data={"limit": self.room.object_bytes},
                )
        if not self._putters:
            self._push(batch)
        if not batch.left:
            return known(batch.accepted)
        if timeout == 0:
            return refused(self._full(batch))
        return self._putters.park(actor, ticket, batch, timeout)

    def get(
        self, actor: Actor, most: int = 1, ack: Ack = "auto", timeout: float | None = None, ticket: int = 0
    ) -> Promise[Delivery]:
        """Take up to ``most`` items from the front, waiting for the first; rejected with QueueEmpty."""
        order = _Order(most, ack)
        if self.items:
            delivery = self._deliver(actor, ticket, order)
            self._move()
            return known(delivery)
        if timeout == 0:
            return refused(self._empty())
        return self._takers.park(actor, ticket, order, timeout)

    def settle(
        self, session: str, deliveries: Sequence[int] = (), *, give_back: bool = False, taken: int | None = None
    ) -> int:
        """Acknowledge loans of this session, or give their items back; empty: all. Returns how many were open.

        Args:
            session: whose.
            deliveries: the loans.
            give_back: their items return to the front.
            taken: of each, the first so many are acknowledged in any case; without ``give_back`` the others stay on
                loan.
        """
        loans = self.loans.of(session, deliveries)
        if taken is None:
            settled = self.loans.close(loans, give_back=give_back)
        else:
            newest_first = sorted(set(loans), reverse=True)
            settled = sum(self.loans.divide(number, taken, give_back=give_back) for number in newest_first)
        self._move()
        return settled

    def leave(self, gone: Gone) -> None:
        """See :class:`SharedObject`."""
        self._takers.leave(gone)
        self._putters.leave(gone)
        self.tally.leave(gone)

    def free(self, gone: Gone) -> None:
        """See :class:`SharedObject`."""
        if self.loans.close(self.loans.of_gone(gone), give_back=True):
            self.room.tell(self, "items returned: their taker ended")
            self._move()

    def withdraw(self, actor: Actor, ticket: int) -> Promise[Outcome]:
        """See :class:`SharedObject`."""
        for line in (self._takers, self._putters):
            if _call_back(line, actor.session, ticket):
                return known("waiting")
        if ticket and self.loans.close(self.loans.of_ticket(actor.session, ticket), give_back=True):
            self._move()
            return known("granted")
        return self.tally.withdraw(actor, ticket)

    def dropped(self, error: StokerError) -> None:
        """See :class:`SharedObject`."""
        self._takers.reject_all(error)
        self._putters.reject_all(error)
        self.tally.reject_all(error)
        self.items.clear()
        self.loans.forget()
        self._held.clear()

    def _move(self) -> None:
        """Serve takers and admit putters for as long as one makes room for the other."""
        self._serve()
        while (putter := self._putters.first()) is not None:
            self._push(putter.want)
            if putter.want.left:
                return
            if self._putters.remove(putter):
                putter.promise.resolve(putter.want.accepted)

    def _serve(self) -> None:
        while self.items and (taker := self._takers.take()) is not None:
            taker.promise.resolve(self._deliver(taker.actor, taker.ticket, taker.want))

    def _push(self, batch: _Batch) -> None:
        """Let in as many of a batch as there is room for; takers who wait make more room."""
        accepted = -1
        while batch.left and batch.accepted != accepted:
            accepted = batch.accepted
            while batch.left and self._make_room(batch.left[0]):
                self.items.append(batch.left.popleft())
                batch.accepted += 1
                self.tally.unfinished += 1
            self._serve()

    def _make_room(self, item: Item) -> bool:
        if self.maxsize and len(self.items) >= self.maxsize:
            return False
        size = weight((item,))
        if self._held.bytes + size > self.room.object_bytes:
            return False
        if self.room.budget.used + size > self.room.budget.total:
            self.room.budget.when_freed(self._move)
            return False
        self._held.change(0, size)
        return True

    def _deliver(self, actor: Actor, ticket: int, order: _Order) -> Delivery:
        """Take items for a taker: as many as it wants and as are encoded alike."""
        items = [self.items.popleft()]
        while len(items) < order.most and self.items and self.items[0].encoding == items[0].encoding:
            items.append(self.items.popleft())
        if order.ack == "now":
            self._held.change(weight(items), 0)
            return Delivery(0, items)
        number = self.loans.lend(actor, ticket, items)
        if order.ack == "auto":
            self.room.borrowed(actor, lambda: self._settled(number))
        return Delivery(number, items)

    def _settled(self, number: int) -> None:
        if self.loans.close((number,), give_back=False):
            self._move()

    def _full(self, batch: _Batch) -> QueueFull:
        return QueueFull(
            f"queue {self.id!r} is full: {len(self.items)} items, {self._held.bytes} bytes",
            hint="wait longer, or take items from it",
            data={"accepted": batch.accepted, "maxsize": self.maxsize},
        )

    def _empty(self) -> QueueEmpty:
        return QueueEmpty(f"queue {self.id!r} is empty", hint="wait longer, or put items in it")


def _call_back(line: Line[Any, Any], session: str, ticket: int) -> bool:
    waiter = line.by_ticket(session, ticket)
    if waiter is not None:
        line.time_over(waiter)
    return waiter is not None
