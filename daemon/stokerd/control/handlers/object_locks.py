"""Locks, semaphores, events, conditions, barriers."""

from __future__ import annotations

from typing import Any

from stoker.protocol.framing import Descriptor
from stoker.protocol.objects import (
    AcquireReply,
    BarrierAbort,
    BarrierPass,
    BarrierReply,
    BarrierReset,
    BarrierShow,
    BarrierShowReply,
    BarrierWait,
    ConditionNotify,
    ConditionReply,
    ConditionWait,
    Done,
    EventClear,
    EventSet,
    EventWait,
    LockAcquire,
    LockRelease,
    LockReply,
    LockShow,
    NotifyReply,
    SemaphoreAcquire,
    SemaphoreRelease,
    SemaphoreReply,
    SemaphoreShow,
    WaitReply,
)
from stokerd.control.caller import Answer, Caller
from stokerd.control.handlers.object_answers import actor_of, owner_of, then
from stokerd.promise import Promise
from stokerd.shared.barriers import BarrierState, SharedBarrier
from stokerd.shared.conditions import SharedCondition
from stokerd.shared.happenings import SharedEvent
from stokerd.shared.lending import Lender
from stokerd.shared.locks import SharedLock
from stokerd.shared.semaphores import SharedSemaphore
from stokerd.shared.waiters import Actor, known
from stokerd.supervisor import Supervisor


def acquire_lock(
    parts: Supervisor, caller: Caller, request: LockAcquire
) -> AcquireReply | Answer | Promise[AcquireReply | Answer]:
    """Acquire a lock; where the caller knows what that is, it may be lent."""
    actor = owner_of(caller, request)
    lender = parts.shared.lender
    returned = [lender.give_back(actor.session, number) for number in request.returned]
    lock = parts.shared.use(SharedLock, request.id, actor)
    declined = returned[0] if returned and request.declined else None
    if declined is not None and lock.claim(actor, declined, request.declined, request.ticket):
        return AcquireReply(acquired=True, token=request.declined)
    token = lock.acquire(actor, request.timeout, request.ticket)
    if request.lend is None or caller.session.pass_descriptors is None:
        return then(token, lambda token: AcquireReply(acquired=token != 0, token=token))
    first = request.lend == "first"
    return then(token, lambda token: _acquired(lender, lock, actor, token, first=first))


def _acquired(lender: Lender, lock: SharedLock, actor: Actor, token: int, *, first: bool) -> AcquireReply | Answer:
    lent = lock.lend(actor, first=first) if token else None
    if lent is None:
        return AcquireReply(acquired=token != 0, token=token)
    reply = AcquireReply(acquired=True, token=token, loan=lent.number, slot=lent.slot)
    return Answer(reply, tuple(map(Descriptor, lender.descriptors(actor.session)))) if first else reply


def release_lock(parts: Supervisor, caller: Caller, request: LockRelease) -> Done | Promise[Done]:
    """Release a lock."""
    actor = actor_of(caller, request)
    lent = parts.shared.lender.give_back(actor.session, request.loan) if request.loan else None
    lock = parts.shared.use(SharedLock, request.id, actor)
    if lent is not None and lent.adopted != request.token:
        return Done()  # it had been released when the loan ended
    return then(lock.release(actor, request.token), lambda _: Done())


def show_lock(parts: Supervisor, caller: Caller, request: LockShow) -> LockReply:
    """Who holds it."""
    lock = parts.shared.use(SharedLock, request.id, actor_of(caller, request))
    owner, token = lock.look()
    session, holder = owner or (None, None)
    depth = int(owner is not None) if lock.lent else lock.depth
    return LockReply(session=session, holder=holder, token=token, depth=depth, waiting=lock.waiting, lent=lock.lent)


def acquire_semaphore(parts: Supervisor, caller: Caller, request: SemaphoreAcquire) -> WaitReply | Promise[WaitReply]:
    """Take a permit."""
    actor = actor_of(caller, request)
    semaphore = parts.shared.use(SharedSemaphore, request.id, actor)
    return then(semaphore.acquire(actor, request.timeout, request.ticket), lambda ok: WaitReply(ok=ok))


def release_semaphore(parts: Supervisor, caller: Caller, request: SemaphoreRelease) -> Done:
    """Give permits."""
    actor = actor_of(caller, request)
    parts.shared.use(SharedSemaphore, request.id, actor).release(actor, request.count)
    return Done()


def show_semaphore(parts: Supervisor, caller: Caller, request: SemaphoreShow) -> SemaphoreReply:
    """How many permits are free."""
    semaphore = parts.shared.use(SharedSemaphore, request.id, actor_of(caller, request))
    return SemaphoreReply(value=semaphore.value, waiting=semaphore.waiting)


def set_event(parts: Supervisor, caller: Caller, request: EventSet) -> Done:
    """Set it."""
    parts.shared.use(SharedEvent, request.id, actor_of(caller, request)).set()
    return Done()


def clear_event(parts: Supervisor, caller: Caller, request: EventClear) -> Done:
    """Clear it."""
    parts.shared.use(SharedEvent, request.id, actor_of(caller, request)).clear()
    return Done()


def wait_event(parts: Supervisor, caller: Caller, request: EventWait) -> WaitReply | Promise[WaitReply]:
    """Wait for it."""
    actor = actor_of(caller, request)
    event = parts.shared.use(SharedEvent, request.id, actor)
    return then(event.wait(actor, request.timeout, request.ticket), lambda ok: WaitReply(ok=ok))


def wait_condition(
    parts: Supervisor, caller: Caller, request: ConditionWait
) -> ConditionReply | Promise[ConditionReply]:
    """Wait to be notified."""
    actor = owner_of(caller, request)
    condition = parts.shared.use(SharedCondition, request.id, actor)
    return then(
        condition.wait(actor, request.timeout, request.ticket),
        lambda woken: ConditionReply(notified=woken.notified, token=woken.token),
    )


def notify_condition(parts: Supervisor, caller: Caller, request: ConditionNotify) -> NotifyReply | Promise[NotifyReply]:
    """Notify those who wait."""
    actor = actor_of(caller, request)
    condition = parts.shared.use(SharedCondition, request.id, actor)
    notified = condition.lock.when_here(actor, lambda: known(condition.notify(actor, request.count)))
    return then(notified, lambda notified: NotifyReply(notified=notified))


def wait_barrier(parts: Supervisor, caller: Caller, request: BarrierWait) -> BarrierReply | Promise[BarrierReply]:
    """Wait for the others."""
    actor = actor_of(caller, request)
    barrier = parts.shared.use(SharedBarrier, request.id, actor)
    return then(
        barrier.wait(actor, request.timeout, request.ticket),
        lambda arrival: BarrierReply(index=arrival.place, act=arrival.act),
    )


def pass_barrier(parts: Supervisor, caller: Caller, request: BarrierPass) -> Done:
    """The action is done."""
    actor = actor_of(caller, request)
    parts.shared.use(SharedBarrier, request.id, actor).pass_on(actor)
    return Done()


def reset_barrier(parts: Supervisor, caller: Caller, request: BarrierReset) -> Done:
    """Make it as new."""
    parts.shared.use(SharedBarrier, request.id, actor_of(caller, request)).reset()
    return Done()


def abort_barrier(parts: Supervisor, caller: Caller, request: BarrierAbort) -> Done:
    """Break it."""
    parts.shared.use(SharedBarrier, request.id, actor_of(caller, request)).abort()
    return Done()


def show_barrier(parts: Supervisor, caller: Caller, request: BarrierShow) -> BarrierShowReply:
    """How it stands."""
    barrier = parts.shared.use(SharedBarrier, request.id, actor_of(caller, request))
    return BarrierShowReply(
        parties=barrier.parties, waiting=barrier.waiting, broken=barrier.state is BarrierState.BROKEN
    )


HANDLERS: dict[type, Any] = {
    LockAcquire: acquire_lock,
    LockRelease: release_lock,
    LockShow: show_lock,
    SemaphoreAcquire: acquire_semaphore,
    SemaphoreRelease: release_semaphore,
    SemaphoreShow: show_semaphore,
    EventSet: set_event,
    EventClear: clear_event,
    EventWait: wait_event,
    ConditionWait: wait_condition,
    ConditionNotify: notify_condition,
    BarrierWait: wait_barrier,
    BarrierPass: pass_barrier,
    BarrierReset: reset_barrier,
    BarrierAbort: abort_barrier,
    BarrierShow: show_barrier,
}
