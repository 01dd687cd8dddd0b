"""Jobs: hand in, list, wait, result, cancel, retry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from stoker.errors import DeadlineExceeded, NoSuchJob, ResultNotPackable, StokerError
from stoker.protocol.models import ErrorInfo, JobInfo
from stoker.protocol.requests import (
    Cancel,
    CancelReply,
    Drain,
    DrainReply,
    Jobs,
    JobsReply,
    Lend,
    LendReply,
    Limit,
    LimitReply,
    Progress,
    ProgressReply,
    Result,
    ResultReply,
    Retry,
    RetryReply,
    Room,
    RoomReply,
    Share,
    ShareReply,
    Submit,
    SubmitReply,
    Upload,
    UploadReply,
    Wait,
)
from stokerd.control.caller import Answer, Caller, Stream
from stokerd.control.handlers import shown
from stokerd.control.jobspec import check_upload, orders_of
from stokerd.control.streams import ResultStream
from stokerd.deadline import with_deadline
from stokerd.depot import Lot
from stokerd.pool.batch import Batch
from stokerd.pool.describe import value_of
from stokerd.pool.pools import Filter, Order
from stokerd.promise import Promise, gather
from stokerd.supervisor import Supervisor

T = TypeVar("T")


def upload(parts: Supervisor, caller: Caller, request: Upload) -> UploadReply:
    """Remember a function."""
    code = check_upload(caller, request)
    parts.functions.add(caller.session.id, request.function, code, request.name)
    return UploadReply(function=request.function)


def share(parts: Supervisor, caller: Caller, _request: Share) -> ShareReply:
    """Begin to share memory with a session."""
    session = caller.session
    if session.pass_descriptors is None or session.anonymous or not parts.depot.limit:
        return ShareReply(bytes=0)
    session.pass_descriptors()
    session.shares = True
    return ShareReply(bytes=parts.depot.limit)


def submit(parts: Supervisor, caller: Caller, request: Submit) -> SubmitReply | Stream | Promise[Any]:
    """Queue jobs, and answer as the request wishes."""
    orders = orders_of(parts, caller, request)
    if request.stream:
        return _streamed(parts, caller, request, orders)
    batches, accepted = parts.pools.submit(orders)
    if request.wait is None:
        return _once(accepted, lambda: SubmitReply(jobs=tuple(map(parts.pools.describe_batch, batches))))
    return _chained(
        accepted,
        lambda: with_deadline(
            parts.clock,
            gather([_when_over(batch) for batch in batches]),
            request.wait,
            lambda _late: _with_values(parts, batches),
        ),
    )


def _streamed(parts: Supervisor, caller: Caller, request: Submit, orders: Sequence[Order]) -> Stream | Promise[Any]:
    """Results come in parts, as they come; of a job whose key is known, those that it has had first."""
    stream = ResultStream(parts.late, tell_ids=request.wait is not None, session=caller.session, depot=parts.depot)
    for order in orders:
        stream.listen(order.batch)
        if order.batch.lot is not None:
            _lend_segment(parts, order.batch, order.batch.lot)
    try:
        batches, accepted = parts.pools.submit(orders)
    except StokerError:
        for order in orders:
            if order.batch.lot is not None:
                order.batch.lot.wanted = False  # it stays its maker's
        raise
    stream.begin([order.batch for order in orders], batches)
    return _once(accepted, lambda: Stream(stream.start))


def _lend_segment(parts: Supervisor, batch: Batch, lot: Lot) -> None:
    """What a job is called with lies in shared memory: until it has ended, and no longer."""

    def over(_batch: Batch) -> None:
        batch.drop_payload()
        parts.depot.ended(lot, batch.turn)

    batch.turn = lot.lend()
    batch.on_end.append(over)


def _once(accepted: Promise[None] | None, make: Callable[[], T]) -> T | Promise[T]:
    """The answer, when what was accepted is on disk; at once where there is nothing to wait for."""
    if accepted is None:
        return make()
    answer: Promise[T] = Promise()

    def settle(done: Promise[None]) -> None:
        if done.error is not None:
            answer.reject(done.error)
        else:
            answer.settle_with(make)

    accepted.when_settled(settle)
    return answer


def _chained(accepted: Promise[None] | None, then: Callable[[], Promise[T]]) -> Promise[T]:
    """What ``then`` promises, once what was accepted is on disk."""
    if accepted is None:
        return then()
    second: list[Promise[T]] = []

    def abandon() -> None:
        for promise in second:
            promise.abandon()

    answer: Promise[T] = Promise(on_abandon=abandon)

    def settle(done: Promise[None]) -> None:
        if done.error is not None:
            answer.reject(done.error)
        elif not answer.settled:
            second.append(then())
            second[0].when_settled(lambda last: answer.settle_with(last.value))

    accepted.when_settled(settle)
    return answer


def _when_over(batch: Batch) -> Promise[None]:
    over: Promise[None] = Promise()
    if batch.over:
        over.resolve(None)
    else:
        batch.on_end.append(lambda _: over.resolve(None))
    return over


def _with_values(parts: Supervisor, batches: list[Batch]) -> Answer:
    payload: list[bytes] = []
    infos = [_valued(parts, batch, index, payload) for batch in batches for index in range(batch.count)]
    return Answer(SubmitReply(jobs=tuple(infos)), payload)


def _valued(parts: Supervisor, batch: Batch, index: int, payload: list[bytes]) -> JobInfo:
    """The job's snapshot with its value; a pickled one is added to ``payload``."""
    info = parts.pools.describe(batch, index)
    if not batch.is_ended(index):
        return info
    try:
        value, pickled = value_of(batch, index)
    except StokerError as why:  # MessagePack that the protocol has no place for: an extension type
        return msgspec.structs.replace(info, error=ErrorInfo(code=ResultNotPackable.code, message=why.message))
    if pickled is not None:
        payload.append(pickled)
        return msgspec.structs.replace(info, payload=len(payload) - 1)
    return msgspec.structs.replace(info, value=value)


def jobs(parts: Supervisor, caller: Caller, request: Jobs) -> JobsReply:
    """Snapshots."""
    return JobsReply(jobs=tuple(shown.job(caller, info) for info in _found(parts, request)))


def _found(parts: Supervisor, request: Jobs) -> Iterable[JobInfo]:
    if request.ids:
        found = [parts.pools.find(job) for job in request.ids]
        return [parts.pools.describe(batch, index) for batch, index in found]
    if request.keys:
        return [_of_key(parts, key) for key in request.keys]
    if request.pool is not None:
        parts.pools.get(request.pool)
    now = parts.clock.time()
    which = Filter(
        states=frozenset(request.states),
        pool=request.pool,
        tags=frozenset(request.tags),
        since=None if request.newer is None else now - request.newer,
        until=None if request.older is None else now - request.older,
    )
    return parts.pools.jobs(which, request.limit)


def _of_key(parts: Supervisor, key: str) -> JobInfo:
    batch = parts.pools.with_key(key)
    if batch is None:
        raise NoSuchJob(f"there is no job with the key {key!r:.100}", hint="`stoker jobs` shows the keys")
    return parts.pools.describe_batch(batch)


def progress(parts: Supervisor, _caller: Caller, request: Progress) -> ProgressReply:
    """A command says how far it has come."""
    parts.pools.progress(request.id, request.done, request.total, request.note)
    return ProgressReply()


def lend(parts: Supervisor, caller: Caller, request: Lend) -> LendReply:
    """A job waits for jobs, or no longer."""
    session = caller.session
    if session.pid is None or request.lent == (session.id in parts.lenders):
        return LendReply(lent=session.id in parts.lenders)
    lent = parts.pools.lend(session.pid, lent=request.lent)
    if request.lent and lent:
        parts.lenders.add(session.id)
    else:
        parts.lenders.discard(session.id)
    return LendReply(lent=lent and request.lent)


def limit(parts: Supervisor, _caller: Caller, request: Limit) -> LimitReply:
    """How many jobs with a tag may run at a time."""
    if request.tag is not None:
        parts.pools.tags.set(request.tag, request.most)
    return LimitReply(limits=parts.pools.tags.limits())


def room(parts: Supervisor, caller: Caller, request: Room) -> Promise[RoomReply]:
    """Wait for room in a pool."""
    answer: Promise[RoomReply]
    found = parts.pools.get(request.pool).room_for(caller.session.id, request.jobs, request.bytes)
    answer = Promise(on_abandon=found.abandon)

    def settle(done: Promise[None]) -> None:
        if done.error is not None:
            answer.reject(done.error)
        else:
            answer.resolve(RoomReply())

    found.when_settled(settle)
    return answer


def drain(parts: Supervisor, _caller: Caller, request: Drain) -> Promise[DrainReply]:
    """Let a pool run empty."""
    pool = parts.pools.get(request.name)
    return with_deadline(
        parts.clock,
        pool.drain(),
        request.timeout,
        lambda _late: DrainReply(name=request.name, left=pool.unfinished()),
    )


def wait(parts: Supervisor, caller: Caller, request: Wait) -> Promise[JobsReply]:
    """Snapshots, when all have ended or the time is over."""
    found = [parts.pools.find(job) for job in request.ids]

    def finish(_late: bool) -> JobsReply:  # noqa: FBT001 - what with_deadline calls
        return JobsReply(jobs=tuple(shown.job(caller, parts.pools.describe(batch, index)) for batch, index in found))

    return with_deadline(parts.clock, parts.pools.when_ended(request.ids), request.timeout, finish)


def result(parts: Supervisor, _caller: Caller, request: Result) -> Promise[Answer]:
    """The value of one job."""
    batch, index = parts.pools.find(request.id)

    def finish(late: bool) -> Answer:  # noqa: FBT001 - what with_deadline calls
        if late:
            raise DeadlineExceeded(
                f"job {request.id} is still {parts.pools.describe(batch, index).state} after {request.timeout:g} s",
                hint="wait longer, or look at it with `stoker jobs`",
                data={"id": request.id},
            )
        payload: list[bytes] = []
        return Answer(ResultReply(job=_valued(parts, batch, index, payload)), payload)

    return with_deadline(parts.clock, parts.pools.when_ended((request.id,)), request.timeout, finish)


def cancel(parts: Supervisor, _caller: Caller, request: Cancel) -> Promise[CancelReply]:
    """End jobs."""
    answer: Promise[CancelReply] = Promise()
    outcome = parts.pools.cancel(request.ids, request.grace)
    outcome.when_settled(
        lambda done: answer.settle_with(
            lambda: CancelReply(cancelled=done.value().cancelled, already_ended=done.value().already_ended)
        )
    )
    return answer


def retry(parts: Supervisor, _caller: Caller, request: Retry) -> RetryReply:
    """Queue jobs again."""
    return RetryReply(jobs=tuple(parts.pools.retry(request.ids)))


HANDLERS: dict[type, Any] = {
    Share: share,
    Upload: upload,
    Submit: submit,
    Jobs: jobs,
    Wait: wait,
    Progress: progress,
    Lend: lend,
    Limit: limit,
    Drain: drain,
    Room: room,
    Result: result,
    Cancel: cancel,
    Retry: retry,
}
