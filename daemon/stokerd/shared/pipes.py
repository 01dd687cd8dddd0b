"""Pipe: messages between two ends, in both directions, and the end of the stream when nobody has the other end.

An end is had by the sessions that hold it, and by those under way: a *ticket* stands for an end that was pickled for
somebody who has not claimed it yet. What was sent before an end was given up can still be received.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from stoker.errors import StokerError
from stoker.protocol.objects import PipeEnd
from stokerd.promise import Promise
from stokerd.shared.base import ITEM_COST, Holdings, Outcome, Room, SharedObject
from stokerd.shared.waiters import Actor, Gone, Line, known

MOST = 1024
"""Messages under way in one direction; whoever sends more waits, as with a pipe of the system that is full."""


class Received(NamedTuple):
    """What came of waiting for a message: one; or the time was over; or there will be no more."""

    message: bytes | None = None
    ready: bool = False
    ended: bool = False


class _Way:
    """One direction.

    Args:
        room: time.
        held: accounts for what is under way.
    """

    def __init__(self, room: Room, held: Holdings) -> None:
        self.messages: deque[bytes] = deque()
        self.receivers: Line[Received, bool] = Line(
            room.clock, timed_out=lambda waiter: waiter.promise.resolve(Received())
        )
        self.senders: Line[bool, bytes] = Line(
            room.clock, timed_out=lambda waiter: waiter.promise.resolve(False), left=lambda _: None
        )
        self.unseen: dict[Actor, tuple[int, bytes]] = {}
        """What each receiver was given last: it may not have arrived, see :meth:`SharedPipe.withdraw`."""
        self._held = held

    def add(self, message: bytes) -> None:
        """Under way, until :meth:`take`."""
        self._held.change(0, len(message) + ITEM_COST)
        self.messages.append(message)

    def take(self, actor: Actor, ticket: int) -> Received:
        """Hand the next message out."""
        message = self.messages.popleft()
        self._held.change(len(message) + ITEM_COST, 0)
        self.unseen[actor] = ticket, message
        return Received(message, ready=True)

    def move(self) -> None:
        """Serve whoever waits, as far as there are messages, and then room."""
        while self.messages and (waiter := self.receivers.take()) is not None:
            peeks = waiter.want
            waiter.promise.resolve(Received(ready=True) if peeks else self.take(waiter.actor, waiter.ticket))
        while len(self.messages) < MOST and (sender := self.senders.take()) is not None:
            try:
                self.add(sender.want)
            except StokerError as why:
                sender.promise.reject(why)
            else:
                sender.promise.resolve(True)
                self.move()


class SharedPipe(SharedObject):
    """A pipe; its maker holds both ends."""

    kind = "pipe"

    def __init__(self, room: Room, object_id: str, name: str | None) -> None:
        super().__init__(room, object_id, name)
        self._held = Holdings(room, f"pipe {object_id!r}")
        self._to: dict[PipeEnd, _Way] = {"a": _Way(room, self._held), "b": _Way(room, self._held)}
        self._holders: dict[PipeEnd, set[str]] = {"a": set(), "b": set()}
        self._tickets: dict[PipeEnd, dict[str, str]] = {"a": {}, "b": {}}

    def detail(self) -> dict[str, Any]:
        """See :class:`SharedObject`."""
        return {
            "a": len(self._holders["a"]) + len(self._tickets["a"]),
            "b": len(self._holders["b"]) + len(self._tickets["b"]),
            "waiting": sum(len(way.messages) for way in self._to.values()),
            "bytes": self._held.bytes,
        }

    def hold(self, session: str, end: PipeEnd, *, claim: str | None, ticket: str | None) -> None:
        """Have an end.

        Args:
            session: who.
            end: which.
            claim: the ticket under which it came.
            ticket: not the session itself, but whoever claims this one. It is void when the session ends.
        """
        if ticket is not None:
            self._tickets[end][ticket] = session
            return
        self._holders[end].add(session)
        if claim is not None:
            self._tickets[end].pop(claim, None)

    def give_up(self, session: str, end: PipeEnd, *, ticket: str | None) -> None:
        """Have it no more; or a ticket is void, as nobody will claim it."""
        if ticket is not None:
            self._tickets[end].pop(ticket, None)
        else:
            self._holders[end].discard(session)
        self._look()

    def send(self, actor: Actor, end: PipeEnd, message: bytes, timeout: float | None, ticket: int) -> Promise[bool]:
        """Send from an end; settles with False where nobody has the other one, or the time was over.

        Raises:
            ObjectTooLarge, Unavailable: there is no room for it at all.
        """
        other = _other(end)
        way = self._to[other]
        if not self._is_held(other):
            return known(False)
        if len(way.messages) >= MOST or len(way.senders):
            return way.senders.park(actor, ticket, message, timeout)
        way.add(message)
        way.move()
        return known(True)

    def receive(
        self, actor: Actor, end: PipeEnd, timeout: float | None, ticket: int, *, peek: bool
    ) -> Promise[Received]:
        """The next message for an end; with ``peek`` only whether there is one."""
        way = self._to[end]
        way.unseen.pop(actor, None)
        if way.messages:
            received = Received(ready=True) if peek else way.take(actor, ticket)
            way.move()
            return known(received)
        if not self._is_held(_other(end)):
            return known(Received(ready=True, ended=True))
        if timeout == 0:
            return known(Received())
        return way.receivers.park(actor, ticket, peek, timeout)

    def withdraw(self, actor: Actor, ticket: int) -> Promise[Outcome]:
        """See :class:`SharedObject`."""
        for way in self._to.values():
            for line in (way.receivers, way.senders):
                waiter = line.by_ticket(actor.session, ticket)
                if waiter is not None:
                    line.time_over(waiter)  # type: ignore[arg-type]  # of the line that it was found in
                    return known("waiting")
            number, message = way.unseen.pop(actor, (0, b""))
            if number == ticket and ticket:
                self._held.change(0, len(message) + ITEM_COST)
                way.messages.appendleft(message)
                way.move()
                return known("granted")
        return known("none")

    def leave(self, gone: Gone) -> None:
        """See :class:`SharedObject`."""
        for way in self._to.values():
            way.receivers.leave(gone)
            way.senders.leave(gone)
            for actor in [actor for actor in way.unseen if gone.took(actor)]:
                del way.unseen[actor]

    def free(self, gone: Gone) -> None:
        """See :class:`SharedObject`."""
        if gone.holder is not None:
            return
        for end in self._holders:
            self._holders[end].discard(gone.session)
            tickets = self._tickets[end]
            for ticket in [ticket for ticket, session in tickets.items() if session == gone.session]:
                del tickets[ticket]
        self._look()

    def dropped(self, error: StokerError) -> None:
        """See :class:`SharedObject`."""
        for way in self._to.values():
            way.messages.clear()
            way.receivers.reject_all(error)
            way.senders.reject_all(error)
        self._held.clear()

    def _is_held(self, end: PipeEnd) -> bool:
        return bool(self._holders[end] or self._tickets[end])

    def _look(self) -> None:
        """Tell those at one end that nobody has the other one."""
        for end, way in self._to.items():
            if not self._is_held(_other(end)) and not way.messages:
                while (waiter := way.receivers.take()) is not None:
                    waiter.promise.resolve(Received(ready=True, ended=True))
            if not self._is_held(end):
                while (sender := way.senders.take()) is not None:
                    sender.promise.resolve(False)


def _other(end: PipeEnd) -> PipeEnd:
    return "b" if end == "a" else "a"
