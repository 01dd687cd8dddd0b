"""Jobs: hand in, list, wait, result, cancel, retry."""

from __future__ import annotations

from typing import Any

import msgspec

from stoker.errors import DeadlineExceeded, ResultNotPackable, StokerError
from stoker.protocol.models import ErrorInfo, JobInfo
from stoker.protocol.requests import (
    Cancel,
    CancelReply,
    Jobs,
    JobsReply,
    Result,
    ResultReply,
    Retry,
    RetryReply,
    Submit,
    SubmitReply,
    Upload,
    UploadReply,
    Wait,
)
from stokerd.control.caller import Answer, Caller, Stream
from stokerd.control.jobspec import batch_of, check_count, check_upload
from stokerd.control.streams import ResultStream
from stokerd.deadline import with_deadline
from stokerd.pool.batch import Batch
from stokerd.pool.describe import value_of
from stokerd.promise import Promise, gather
from stokerd.supervisor import Supervisor


def upload(parts: Supervisor, caller: Caller, request: Upload) -> UploadReply:
    """Remember a function."""
    code = check_upload(caller, request)
    parts.functions.add(caller.session.id, request.function, code, request.name)
    return UploadReply(function=request.function)


def submit(parts: Supervisor, caller: Caller, request: Submit) -> SubmitReply | Stream | Promise[Any]:
    """Queue jobs, and answer as the request wishes."""
    batches = [batch_of(parts, caller, request, spec) for spec in request.jobs]
    check_count(batches, parts.config.limits.jobs_per_request)
    if request.stream:
        stream = ResultStream(parts.clock, batches, tell_ids=request.wait is not None)
        parts.pools.submit(batches)
        return Stream(stream.start)
    parts.pools.submit(batches)
    if request.wait is None:
        return SubmitReply(jobs=tuple(parts.pools.describe_batch(batch) for batch in batches))
    ended = gather([_when_over(batch) for batch in batches])
    return with_deadline(parts.clock, ended, request.wait, lambda _late: _with_values(parts, batches))


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


def jobs(parts: Supervisor, _caller: Caller, request: Jobs) -> JobsReply:
    """Snapshots."""
    if request.ids:
        found = [parts.pools.find(job) for job in request.ids]
        return JobsReply(jobs=tuple(parts.pools.describe(batch, index) for batch, index in found))
    if request.pool is not None:
        parts.pools.get(request.pool)
    return JobsReply(jobs=tuple(parts.pools.jobs(frozenset(request.states), request.pool, request.limit)))


def wait(parts: Supervisor, _caller: Caller, request: Wait) -> Promise[JobsReply]:
    """Snapshots, when all have ended or the time is over."""
    found = [parts.pools.find(job) for job in request.ids]

    def finish(_late: bool) -> JobsReply:  # noqa: FBT001 - what with_deadline calls
        return JobsReply(jobs=tuple(parts.pools.describe(batch, index) for batch, index in found))

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
    Upload: upload,
    Submit: submit,
    Jobs: jobs,
    Wait: wait,
    Result: result,
    Cancel: cancel,
    Retry: retry,
}
