"""Shared objects: open, drop, release, withdraw; and the handlers of every kind in one table."""

from __future__ import annotations

from typing import Any

from stoker.protocol.objects import (
    Done,
    DropObject,
    DropReply,
    OpenObject,
    OpenReply,
    ReleaseObjects,
    Withdraw,
    WithdrawReply,
)
from stokerd.control.caller import Caller
from stokerd.control.handlers import object_locks, object_pipes, object_queues, object_values
from stokerd.control.handlers.object_answers import actor_of, frame_of, owner_of, then
from stokerd.promise import Promise
from stokerd.shared.pipes import SharedPipe
from stokerd.supervisor import Supervisor


def open_object(parts: Supervisor, caller: Caller, request: OpenObject) -> OpenReply:
    """Make or find an object."""
    actor = actor_of(caller, request)
    if request.release:
        parts.shared.release(actor.session, request.release)
    initial = frame_of(caller) if caller.payload else None
    found, created = parts.shared.open(actor, request.kind, request.name, request.options, initial)
    if created and isinstance(found, SharedPipe):
        for end in ("a", "b"):
            found.hold(actor.session, end, claim=None, ticket=None)
    return OpenReply(
        id=found.id,
        kind=found.kind,
        name=found.name,
        created=created,
        lock=found.lock_id,
        options=found.options,
    )


def drop(parts: Supervisor, _caller: Caller, request: DropObject) -> DropReply:
    """Remove an object for everybody."""
    return DropReply(dropped=parts.shared.drop(request.id))


def release(parts: Supervisor, caller: Caller, request: ReleaseObjects) -> Done:
    """A session has no more use for some objects."""
    parts.shared.release(owner_of(caller, request).session, request.ids)
    return Done()


def withdraw(parts: Supervisor, caller: Caller, request: Withdraw) -> WithdrawReply | Promise[WithdrawReply]:
    """Call back a waiting request."""
    actor = owner_of(caller, request)
    outcome = parts.shared.withdraw(actor, request.id, request.ticket)
    return then(outcome, lambda outcome: WithdrawReply(outcome=outcome))


HANDLERS: dict[type, Any] = {
    OpenObject: open_object,
    DropObject: drop,
    ReleaseObjects: release,
    Withdraw: withdraw,
    **object_queues.HANDLERS,
    **object_locks.HANDLERS,
    **object_values.HANDLERS,
    **object_pipes.HANDLERS,
}
