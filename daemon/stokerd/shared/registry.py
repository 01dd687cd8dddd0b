"""All shared objects by id: made, found, used, dropped, and freed of those who have ended.

A named object has its name as its id, and lives until it is dropped. An anonymous one is dropped when the last session
that has used it ends or releases it. Everything runs in the thread that owns the daemon's state.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from stoker.errors import Busy, InvalidParams, NameTaken, NoSuchObject, ObjectDropped
from stoker.protocol.events import ObjectChanged
from stoker.protocol.models import ObjectInfo
from stoker.protocol.objects import Kind, ObjectOptions
from stokerd.bus import Bus
from stokerd.clock import Clock
from stokerd.promise import Promise
from stokerd.shared.base import Outcome, Room, SharedObject
from stokerd.shared.budget import Budget
from stokerd.shared.kinds import build, check_options, fill, must_match, own_lock_id
from stokerd.shared.lending import Lender
from stokerd.shared.locks import SharedRLock
from stokerd.shared.tokens import Tokens
from stokerd.shared.users import Users
from stokerd.shared.waiters import Actor, Gone, known

Kept = TypeVar("Kept", bound=SharedObject)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLimits:
    """How much there may be.

    Args:
        objects: shared objects.
        object_bytes: bytes in one of them.
        total_bytes: bytes in all of them together.
    """

    objects: int = 100_000
    object_bytes: int = 256 * 1024 * 1024
    total_bytes: int = 1024 * 1024 * 1024


class Shared:
    """The registry.

    Args:
        clock: time.
        bus: where to tell what changed.
        limits: how much there may be.
    """

    def __init__(self, clock: Clock, bus: Bus, limits: SharedLimits | None = None) -> None:
        self.limits = limits or SharedLimits()
        self._bus = bus
        self._objects: dict[str, SharedObject] = {}
        self._users = Users()
        self._room = Room(
            clock=clock,
            budget=Budget(self.limits.total_bytes),
            object_bytes=self.limits.object_bytes,
            tokens=Tokens(clock.time()),
            lender=Lender(clock),
            borrowed=self._users.borrow,
            tell=self._tell,
        )

    def __len__(self) -> int:
        return len(self._objects)

    @property
    def lender(self) -> Lender:
        """Lends locks."""
        return self._room.lender

    def open(
        self,
        actor: Actor,
        kind: Kind,
        name: str | None = None,
        options: ObjectOptions | None = None,
        initial: bytes | None = None,
    ) -> tuple[SharedObject, bool]:
        """Find the object that has this name, or make one; returns it and whether it was made.

        Args:
            actor: who asks.
            kind: what it is.
            name: its name; None: make an anonymous one.
            options: what it is like.
            initial: the bytes of a value or array that is made; None: zeros.

        Raises:
            NameTaken: the name belongs to something else.
            InvalidParams: options that make no sense; an anonymous object for a caller without a session.
            NoSuchObject: the lock for a condition is not there.
            Busy: there are as many objects as may be.
        """
        options = options or ObjectOptions()
        self._users.settle(actor)
        check_options(kind, options)
        found = self._objects.get(name) if name is not None else None
        if found is not None:
            must_match(found, kind, options)
            self._users.attach(found, actor.session)
            return found, False
        if name is None and not actor.session:
            raise InvalidParams(
                f"nobody would ever drop this {kind}: it has no name, and the caller has no session",
                hint="give it a name, or send hello first",
            )
        return self._make(actor, kind, name, options, initial), True

    def use(self, wanted: type[Kept], object_id: str, actor: Actor) -> Kept:
        """The object with this id, for ``actor``; what it had on loan is settled by that.

        Raises:
            NoSuchObject: there is none.
            NameTaken: it is of another kind.
        """
        self._users.settle(actor)
        found = self._find(object_id)
        if not isinstance(found, wanted):
            raise NameTaken(f"{object_id!r} is a {found.kind}, not a {wanted.kind}", data={"kind": found.kind})
        self._users.attach(found, actor.session)
        return found

    def drop(self, object_id: str) -> bool:
        """Remove an object, and its own lock; False where there is none. Whoever waits on it gets ObjectDropped."""
        found = self._objects.pop(object_id, None)
        if found is None:
            return False
        for session in list(found.sessions):
            self._users.detach(found, session)
        found.dropped(ObjectDropped(f"{found.kind} {found.id!r} was dropped", hint="open it again to make a new one"))
        self._tell(found, "dropped")
        if found.lock_id == f"{found.id}~lock":
            self.drop(found.lock_id)
        return True

    def release(self, session: str, ids: Iterable[str]) -> None:
        """A session has no more use for these; anonymous ones that nobody else uses are dropped."""
        for object_id in ids:
            found = self._objects.get(object_id)
            if found is not None and session in found.sessions:
                self._detach(found, session)

    def withdraw(self, actor: Actor, object_id: str, ticket: int) -> Promise[Outcome]:
        """Call back a waiting request of this session; what it was granted unseen is given back."""
        found = self._objects.get(object_id)
        return known("none") if found is None else found.withdraw(actor, ticket)

    def session_closed(self, session: str) -> None:
        """A session has ended: free all that it had."""
        self._end(Gone(session))
        for found in self._users.used_by(session):
            self._detach(found, session)
        self._room.lender.leave(session)

    def holder_closed(self, session: str, holder: str) -> None:
        """A process of a session has ended, and its threads (``holder:…``): free what they had."""
        self._end(Gone(session, holder))

    def info(self) -> tuple[ObjectInfo, ...]:
        """Every object, for ``status``."""
        return tuple(
            ObjectInfo(id=found.id, kind=found.kind, name=found.name, detail=found.detail())
            for found in self._objects.values()
        )

    def close(self) -> None:
        """The daemon ends: whoever waits is told."""
        for object_id in list(self._objects):
            self.drop(object_id)
        self._room.lender.close()

    def _make(
        self, actor: Actor, kind: Kind, name: str | None, options: ObjectOptions, initial: bytes | None
    ) -> SharedObject:
        if len(self._objects) >= self.limits.objects:
            raise Busy(
                f"there are {len(self._objects)} shared objects, and no more are allowed",
                hint="drop those that nobody needs",
                data={"limit": self.limits.objects},
            )
        object_id = name or f"~{secrets.token_hex(8)}"
        lock_id = own_lock_id(kind, object_id, options)
        lock = SharedRLock(self._room, lock_id, None) if lock_id else None
        given = self._find(options.lock) if options.lock else lock
        made = build(self._room, kind, object_id, name, options, given)
        if initial is not None:
            fill(made, initial)
        for each in (made, lock):
            if each is not None:
                self._objects[each.id] = each
                self._users.attach(each, actor.session)
        self._tell(made, "created")
        return made

    def _find(self, object_id: str) -> SharedObject:
        try:
            return self._objects[object_id]
        except KeyError:
            raise NoSuchObject(
                f"there is no shared object {object_id!r:.160}",
                hint="open it first; an anonymous one is dropped when the last session that used it ends",
            ) from None

    def _detach(self, found: SharedObject, session: str) -> None:
        self._users.detach(found, session)
        if found.name is None and not found.sessions and not found.id.endswith("~lock"):
            self.drop(found.id)

    def _end(self, gone: Gone) -> None:
        """First nobody who has ended waits any more, then what they had is freed for the others."""
        self._users.end(gone)
        used = self._users.used_by(gone.session)
        for found in used:
            found.leave(gone)
        for found in used:
            found.free(gone)

    def _tell(self, found: SharedObject, change: str) -> None:
        """Tell of named objects, and of whatever lost its holder; anonymous ones come and go in great numbers."""
        if found.name is not None or change not in {"created", "dropped"}:
            self._bus.emit(ObjectChanged(id=found.id, kind=found.kind, change=change, name=found.name or ""))
