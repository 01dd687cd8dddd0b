"""Locks, semaphores, events, conditions, barriers."""

from __future__ import annotations

from typing import Any

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
from stokerd.control.caller import Caller
from stokerd.control.handlers.object_answers import actor_of, owner_of, then
from stokerd.promise import Promise
from stokerd.shared.barriers import BarrierState, SharedBarrier
from stokerd.shared.conditions import SharedCondition
from stokerd.shared.happenings import SharedEvent
from stokerd.shared.locks import SharedLock
from stokerd.shared.semaphores import SharedSemaphore
from stokerd.supervisor import Supervisor


def acquire_lock(parts: Supervisor, caller: Caller, request: LockAcquire) -> AcquireReply | Promise[AcquireReply]:
    """Acquire a lock."""
    actor = owner_of(caller, request)
    token = parts.shared.use(SharedLock, request.id, actor).acquire(actor, request.timeout, request.ticket)
    return then(token, lambda token: AcquireReply(acquired=token != 0, token=token))


def release_lock(parts: Supervisor, caller: Caller, request: LockRelease) -> Done:
    """Release a lock."""
    actor = actor_of(caller, request)
    parts.shared.use(SharedLock, request.id, actor).release(actor, request.token)
    return Done()


def show_lock(parts: Supervisor, caller: Caller, request: LockShow) -> LockReply:
    """Who holds it."""
    lock = parts.shared.use(SharedLock, request.id, actor_of(caller, request))
    session, holder = lock.owner or (None, None)
    return LockReply(session=session, holder=holder, token=lock.token, depth=lock.depth, waiting=lock.waiting)


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


def notify_condition(parts: Supervisor, caller: Caller, request: ConditionNotify) -> NotifyReply:
    """Notify those who wait."""
    actor = actor_of(caller, request)
    condition = parts.shared.use(SharedCondition, request.id, actor)
    return NotifyReply(notified=condition.notify(actor, request.count))


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
