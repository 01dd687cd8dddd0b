"""Shared pipes: hold an end, send, receive, give it up."""

from __future__ import annotations

from typing import Any

from stoker.protocol.objects import Done, PipeGiveUp, PipeHold, PipeReceive, PipeReceived, PipeSend, PipeSent
from stokerd.control.caller import Answer, Caller
from stokerd.control.handlers.object_answers import actor_of, frame_of, owner_of, then
from stokerd.promise import Promise
from stokerd.shared.pipes import Received, SharedPipe
from stokerd.supervisor import Supervisor


def hold(parts: Supervisor, caller: Caller, request: PipeHold) -> Done:
    """Have an end."""
    actor = owner_of(caller, request)
    pipe = parts.shared.use(SharedPipe, request.id, actor)
    pipe.hold(actor.session, request.end, claim=request.claim, ticket=request.for_ticket)
    return Done()


def give_up(parts: Supervisor, caller: Caller, request: PipeGiveUp) -> Done:
    """Have it no more."""
    actor = owner_of(caller, request)
    parts.shared.use(SharedPipe, request.id, actor).give_up(actor.session, request.end, ticket=request.for_ticket)
    return Done()


def send(parts: Supervisor, caller: Caller, request: PipeSend) -> PipeSent | Promise[PipeSent]:
    """Send one message."""
    actor = actor_of(caller, request)
    pipe = parts.shared.use(SharedPipe, request.id, actor)
    sent = pipe.send(actor, request.end, frame_of(caller), request.timeout, request.ticket)
    return then(sent, lambda sent: PipeSent(sent=sent))


def receive(parts: Supervisor, caller: Caller, request: PipeReceive) -> Answer | Promise[Answer]:
    """Receive one message, or hear whether there is one."""
    actor = actor_of(caller, request)
    pipe = parts.shared.use(SharedPipe, request.id, actor)
    return then(pipe.receive(actor, request.end, request.timeout, request.ticket, peek=request.peek), _received)


def _received(received: Received) -> Answer:
    payload = () if received.message is None else (received.message,)
    return Answer(PipeReceived(ready=received.ready, ended=received.ended), payload)


HANDLERS: dict[type, Any] = {PipeHold: hold, PipeGiveUp: give_up, PipeSend: send, PipeReceive: receive}
