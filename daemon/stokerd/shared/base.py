"""What every shared object is, and what it gets from the registry that keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

from stoker.errors import ObjectTooLarge, StokerError, Unavailable
from stoker.protocol.objects import Encoding, ObjectOptions
from stokerd.clock import Clock
from stokerd.promise import Promise
from stokerd.shared.budget import Budget
from stokerd.shared.lending import Lender
from stokerd.shared.tokens import Tokens
from stokerd.shared.waiters import Actor, Gone, known

Outcome: TypeAlias = Literal["waiting", "granted", "none"]


class Item(NamedTuple):
    """One opaque value."""

    encoding: Encoding
    data: bytes


@dataclass(slots=True, eq=False, kw_only=True)
class Room:
    """What objects get from their registry.

    Args:
        clock: time.
        budget: bytes that all objects together may hold.
        object_bytes: bytes that one object may hold.
        tokens: the fencing tokens.
        lender: lends locks.
        borrowed: called with an actor and a way to settle what it has on loan; it is settled when the actor asks
            for anything else.
        tell: called with an object and what happened to it.
    """

    clock: Clock
    budget: Budget
    object_bytes: int
    tokens: Tokens
    lender: Lender
    borrowed: Callable[[Actor, Callable[[], None]], None]
    tell: Callable[[SharedObject, str], None]


class SharedObject:
    """One object: a kind, an id, and the sessions that use it."""

    kind: ClassVar[str]

    def __init__(self, room: Room, object_id: str, name: str | None) -> None:
        self.room = room
        self.id = object_id
        self.name = name
        self.sessions: set[str] = set()
        self.lock_id: str | None = None
        """The lock that goes with it, where there is one."""

    @property
    def options(self) -> ObjectOptions:
        """What it is like: all that could have been given when it was made."""
        return ObjectOptions()

    def detail(self) -> dict[str, Any]:
        """What ``status`` shows of it."""
        return {}

    def leave(self, gone: Gone) -> None:
        """Somebody has ended: it waits no more. Nothing is freed yet."""

    def free(self, gone: Gone) -> None:
        """Somebody has ended: free what it had, for those who wait."""

    def withdraw(self, actor: Actor, ticket: int) -> Promise[Outcome]:  # noqa: ARG002 - for those who can wait
        """Call back a waiting request, or undo what it was granted."""
        return known("none")

    def dropped(self, error: StokerError) -> None:
        """The object is no more: tell whoever waits, and give the memory back."""


class Holdings:
    """The bytes that one object holds, within its own bound and everybody's.

    Args:
        room: where the bounds are.
        what: what to call the object in errors.
    """

    def __init__(self, room: Room, what: str) -> None:
        self._room = room
        self._what = what
        self.bytes = 0

    def change(self, less: int, more: int) -> None:
        """Replace ``less`` bytes with ``more``.

        Raises:
            ObjectTooLarge: over the object's own bound.
            Unavailable: over the bound of all objects together.
        """
        limit = self._room.object_bytes
        if more > less and self.bytes - less + more > limit:
            raise ObjectTooLarge(
                f"{self._what} would hold {self.bytes - less + more} bytes, and {limit} are allowed",
                hint="keep large data in files or split it over several objects",
                data={"limit": limit},
            )
        if more > less and not self._room.budget.take(more - less):
            raise Unavailable(
                f"no room for {more - less} more bytes: shared objects may hold {self._room.budget.total} together",
                hint="drop objects that nobody needs, or raise the limit in the daemon's configuration",
            )
        self.bytes += more - less
        if more < less:
            self._room.budget.give(less - more)

    def clear(self) -> None:
        """Give everything back."""
        self.change(self.bytes, 0)


def weight(items: Iterable[Item]) -> int:
    """Bytes that items are counted with: their own and what keeping them costs."""
    return sum(len(item.data) + ITEM_COST for item in items)


ITEM_COST = 128
"""Bytes that the bookkeeping of one item takes, about: so that empty items are bounded too."""
