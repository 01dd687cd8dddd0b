"""Jobs as snapshots."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from stoker.protocol import codec
from stoker.protocol.models import ErrorInfo, JobInfo, ProgressInfo
from stoker.protocol.states import ENDED_JOB_STATES, JobState
from stokerd.pool import messages
from stokerd.pool.batch import Batch
from stokerd.pool.results import read_error

FORMS = {
    messages.CALL: "pickle",
    messages.ITEM: "pickle",
    messages.CHUNK: "pickle",
    messages.NAMED: "call",
    messages.COMMAND: "command",
}


def describe(
    batch: Batch,
    index: int,
    worker: tuple[int, int | None] | None,
    so_far: tuple[float, float | None] | None = None,
) -> JobInfo:
    """One job, without its value. ``worker`` is the id and pid of whoever runs it now; ``so_far`` how much it has
    done, and of how much, where that is known better than by what it has told.

    A job that was handed to a worker ahead of time and has not been started there is told as queued.
    """
    state = batch.state(index)
    settling = not batch.is_ended(index) and state in ENDED_JOB_STATES
    if settling:
        state = JobState.RUNNING  # it has ended, and the disk is about to know
    elif state is JobState.RUNNING and worker is None:
        state = JobState.QUEUED
    options = batch.options
    progress = batch.progress.get(index)
    if so_far is not None:
        progress = ProgressInfo(done=so_far[0], total=so_far[1], note=progress.note if progress is not None else "")
    ran_on = worker or batch.workers.get(index)
    started = batch.started[index] if state is not JobState.QUEUED else 0.0
    error = error_of(batch, index)
    return JobInfo(
        id=batch.first_id + index,
        state=state,
        name=batch.name,
        pool=batch.pool,
        form=FORMS[batch.form],
        attempt=batch.attempts.get(index, 1) if started else batch.attempts.get(index, 1) - 1,
        priority=batch.priority,
        pid=worker[1] if worker is not None else None,
        worker=ran_on[0] if ran_on is not None else None,
        session=batch.session,
        submitted=batch.submitted,
        started=started or None,
        ended=batch.ended[index] or None if batch.is_ended(index) else None,
        exit_code=_exit_code(batch, state, error),
        error=error,
        cpu_seconds=round(batch.cpu[index], 6),
        peak_rss=batch.rss[index] * 1024,
        attempts=tuple(batch.history.get(index, ())),
        retries=options.retries,
        timeout=batch.timeout,
        on_crash="requeue" if options.requeue else "fail",
        due=batch.due.get(index, batch.due.get(0)) if state is JobState.DELAYED else None,
        after=tuple(sorted(batch.after)),
        slots=options.slots,
        tags=options.tags,
        key=options.key,
        durable=options.durable,
        progress=progress,
    )


def describe_batch(batch: Batch) -> JobInfo:
    """All jobs of a batch as one entry."""
    counts = batch.counts()
    state = max(counts, key=lambda name: counts[name])
    return JobInfo(
        id=batch.first_id,
        state=JobState(state),
        name=batch.name,
        pool=batch.pool,
        form=FORMS[batch.form],
        count=batch.count,
        counts=counts,
        priority=batch.priority,
        session=batch.session,
        submitted=batch.submitted,
        tags=batch.options.tags,
        key=batch.options.key,
        durable=batch.options.durable,
    )


def error_of(batch: Batch, index: int) -> ErrorInfo | None:
    """Why a job ended without a value; None where it did not, or where that is no longer kept."""
    told = batch.errors.get(index)
    if told is None and batch.state(index) is JobState.FAILED and (packed := batch.values.get(index)) is not None:
        told = batch.errors[index] = read_error(packed)
    return told


def value_of(batch: Batch, index: int) -> tuple[Any | UnsetType, bytes | None]:
    """The job's value: MessagePack ones as themselves, pickled ones as bytes; UNSET and None where there is none.

    Of a pickled job that failed, the bytes are the packed error with its pickled exception.
    """
    packed = batch.values.get(index)
    if packed is None:
        return UNSET, None
    if batch.form < messages.NAMED:
        return UNSET, packed
    if batch.state(index) is not JobState.DONE:
        return UNSET, None
    return codec.unpack(packed, limit=len(packed)), None


def _exit_code(batch: Batch, state: JobState, error: ErrorInfo | None) -> int | None:
    if batch.form != messages.COMMAND:
        return None
    if state is JobState.DONE:
        return 0
    code = error.data.get("exit_code") if error is not None else None
    return code if isinstance(code, int) else None
