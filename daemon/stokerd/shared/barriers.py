"""Barrier: parties that wait for each other."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from stoker.errors import BrokenBarrier, StokerError
from stoker.protocol.objects import ObjectOptions
from stoker.protocol.states import step
from stokerd.promise import Promise
from stokerd.shared.base import Outcome, Room, SharedObject
from stokerd.shared.waiters import Actor, Gone, Line, Waiter, known, refused


class BarrierState(StrEnum):
    """Where a barrier stands."""

    FILLING = "filling"
    ACTING = "acting"
    BROKEN = "broken"


class BarrierEvent(StrEnum):
    """What can happen to a barrier."""

    FILL = "fill"
    ACT = "act"
    GO_ON = "go-on"
    BREAK = "break"
    RESET = "reset"


BARRIER_MOVES: Mapping[tuple[BarrierState, BarrierEvent], BarrierState] = {
    (BarrierState.FILLING, BarrierEvent.FILL): BarrierState.FILLING,
    (BarrierState.FILLING, BarrierEvent.ACT): BarrierState.ACTING,
    (BarrierState.ACTING, BarrierEvent.GO_ON): BarrierState.FILLING,
    **{(state, BarrierEvent.BREAK): BarrierState.BROKEN for state in BarrierState},
    **{(state, BarrierEvent.RESET): BarrierState.FILLING for state in BarrierState},
}


class Arrival(NamedTuple):
    """Which one of the parties this is; ``act``: it is the one that does the action."""

    place: int
    act: bool = False


class SharedBarrier(SharedObject):
    """A barrier. Its index for the last to arrive is ``parties - 1``, as in threading.

    Args:
        parties: how many must arrive.
        action: the last to arrive does something before the others go on.
    """

    kind = "barrier"

    def __init__(self, room: Room, object_id: str, name: str | None, *, parties: int, action: bool = False) -> None:
        super().__init__(room, object_id, name)
        self.parties = parties
        self.action = action
        self.state = BarrierState.FILLING
        self._actor: Actor | None = None
        """Who does the action."""
        self._members: list[Waiter[Arrival, None]] = []
        """Who goes on when the action is done. Their time limits no longer count: all have arrived."""
        self._line: Line[Arrival, None] = Line(room.clock, timed_out=self._timed_out, left=self._left)
        """Who has arrived; while the action is being done: who came for the next round."""

    @property
    def options(self) -> ObjectOptions:
        """See :class:`SharedObject`."""
        return ObjectOptions(parties=self.parties, action=self.action)

    @property
    def waiting(self) -> int:
        """How many have arrived and wait."""
        return self.parties if self.state is BarrierState.ACTING else len(self._line)

    def detail(self) -> dict[str, Any]:
        """See :class:`SharedObject`."""
        return {"parties": self.parties, "waiting": self.waiting, "state": str(self.state)}

    def wait(self, actor: Actor, timeout: float | None = None, ticket: int = 0) -> Promise[Arrival]:
        """Answers when all have arrived; rejected with BrokenBarrier if the barrier breaks first."""
        if self.state is BarrierState.BROKEN:
            return refused(self._broken())
        arrival = self._line.park(actor, ticket, None, timeout)
        self._advance()
        return arrival

    def pass_on(self, actor: Actor) -> None:
        """The action is done.

        Raises:
            BrokenBarrier: the barrier was broken or reset meanwhile, or the action was not the caller's.
        """
        if self.state is not BarrierState.ACTING or actor != self._actor:
            raise self._broken()
        self.state = step(BARRIER_MOVES, self.state, BarrierEvent.GO_ON)
        self._let_go()
        self._advance()

    def abort(self) -> None:
        """Break it until it is reset."""
        self.state = step(BARRIER_MOVES, self.state, BarrierEvent.BREAK)
        self._turn_away(self._broken())

    def reset(self) -> None:
        """Make it as new; whoever waits is told that it broke."""
        self.state = step(BARRIER_MOVES, self.state, BarrierEvent.RESET)
        self._turn_away(self._broken())

    def leave(self, gone: Gone) -> None:
        """See :class:`SharedObject`."""
        self._line.leave(gone)
        if self.state is BarrierState.ACTING and self._actor is not None and gone.took(self._actor):
            self.abort()

    def withdraw(self, actor: Actor, ticket: int) -> Promise[Outcome]:
        """See :class:`SharedObject`."""
        waiter = self._line.by_ticket(actor.session, ticket)
        if waiter is None or not self._line.remove(waiter):
            return known("none")
        waiter.promise.reject(self._broken())
        return known("waiting")

    def dropped(self, error: StokerError) -> None:
        """See :class:`SharedObject`."""
        self._turn_away(error)

    def _advance(self) -> None:
        """Let full rounds go on, until one has its action to do."""
        while self.state is BarrierState.FILLING and len(self._line) >= self.parties:
            arrived = [waiter for _ in range(self.parties) if (waiter := self._line.take()) is not None]
            if not self.action:
                self.state = step(BARRIER_MOVES, self.state, BarrierEvent.FILL)
                self._members = arrived
                self._let_go()
                continue
            self.state = step(BARRIER_MOVES, self.state, BarrierEvent.ACT)
            *self._members, last = arrived
            self._actor = last.actor
            last.promise.resolve(Arrival(self.parties - 1, act=True))

    def _let_go(self) -> None:
        members, self._members, self._actor = self._members, [], None
        for index, waiter in enumerate(members):
            waiter.promise.resolve(Arrival(index))

    def _turn_away(self, error: StokerError) -> None:
        members, self._members, self._actor = self._members, [], None
        for waiter in members:
            waiter.promise.reject(error)
        self._line.reject_all(error)

    def _timed_out(self, waiter: Waiter[Arrival, None]) -> None:
        waiter.promise.reject(self._broken())

    def _left(self, _: Waiter[Arrival, None]) -> None:
        """One of the parties will not come: tell the others, unless their round is complete already."""
        if self.state is BarrierState.FILLING:
            self.abort()

    def _broken(self) -> BrokenBarrier:
        return BrokenBarrier(f"barrier {self.id!r} is broken", hint="reset it to use it again")
