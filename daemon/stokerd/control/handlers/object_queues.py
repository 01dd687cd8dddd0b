"""Shared queues: put, get, acknowledge, join."""

from __future__ import annotations

from typing import Any

from stoker.protocol.objects import (
    AckReply,
    Done,
    GetReply,
    PutReply,
    QueueAck,
    QueueGet,
    QueueJoin,
    QueuePut,
    QueueSize,
    QueueTaskDone,
    SizeReply,
    WaitReply,
)
from stokerd.control.caller import Answer, Caller
from stokerd.control.handlers.object_answers import (
    actor_of,
    items_of,
    lengths_of,
    owner_of,
    payload_of,
    then,
)
from stokerd.promise import Promise
from stokerd.shared.queues import Delivery, SharedQueue
from stokerd.supervisor import Supervisor


def put(parts: Supervisor, caller: Caller, request: QueuePut) -> PutReply | Promise[PutReply]:
    """Add items."""
    actor = actor_of(caller, request)
    items = items_of(caller, request.lengths, (request.encoding,))
    queue = parts.shared.use(SharedQueue, request.id, actor)
    return then(queue.put(actor, items, request.timeout, request.ticket), lambda accepted: PutReply(accepted=accepted))


def get(parts: Supervisor, caller: Caller, request: QueueGet) -> Answer | Promise[Answer]:
    """Take items."""
    actor = owner_of(caller, request) if request.ack == "manual" else actor_of(caller, request)
    queue = parts.shared.use(SharedQueue, request.id, actor)
    if request.acknowledge:
        queue.settle(actor.session, request.acknowledge)
    ack = request.ack if actor.session else "now"
    return then(queue.get(actor, request.max, ack, request.timeout, request.ticket), _delivered)


def _delivered(delivery: Delivery) -> Answer:
    return Answer(
        GetReply(encoding=delivery.items[0].encoding, lengths=lengths_of(delivery.items), delivery=delivery.number),
        payload_of(delivery.items),
    )


def ack(parts: Supervisor, caller: Caller, request: QueueAck) -> AckReply:
    """Acknowledge deliveries, or give them back."""
    actor = owner_of(caller, request)
    queue = parts.shared.use(SharedQueue, request.id, actor)
    settled = queue.settle(actor.session, request.deliveries, give_back=request.give_back, taken=request.taken)
    return AckReply(settled=settled)


def size(parts: Supervisor, caller: Caller, request: QueueSize) -> SizeReply:
    """How it stands."""
    queue = parts.shared.use(SharedQueue, request.id, actor_of(caller, request))
    return SizeReply(
        size=len(queue.items), maxsize=queue.maxsize, on_loan=len(queue.loans), unfinished=queue.tally.unfinished
    )


def task_done(parts: Supervisor, caller: Caller, request: QueueTaskDone) -> Done:
    """So many are done."""
    parts.shared.use(SharedQueue, request.id, actor_of(caller, request)).tally.task_done(request.count)
    return Done()


def join(parts: Supervisor, caller: Caller, request: QueueJoin) -> WaitReply | Promise[WaitReply]:
    """Wait until all is done."""
    actor = actor_of(caller, request)
    tally = parts.shared.use(SharedQueue, request.id, actor).tally
    return then(tally.join(actor, request.timeout, request.ticket), lambda ok: WaitReply(ok=ok))


HANDLERS: dict[type, Any] = {
    QueuePut: put,
    QueueGet: get,
    QueueAck: ack,
    QueueSize: size,
    QueueTaskDone: task_done,
    QueueJoin: join,
}
