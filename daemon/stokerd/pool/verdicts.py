"""How jobs end: what workers report, what is cancelled, what is tried again, and when the world is told."""

from __future__ import annotations

import signal
from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple

from stoker.errors import JobQuarantined, StokerError, WorkerDied
from stoker.protocol.events import JobsEnded, JobsRetried
from stoker.protocol.models import AttemptInfo, ErrorInfo
from stoker.protocol.states import JobEvent, JobState
from stokerd.bus import Bus
from stokerd.child import Exit
from stokerd.clock import Clock
from stokerd.depot import Lot
from stokerd.pool import endings, messages
from stokerd.pool.batch import AFTER, ENDED_CODES, RUNNING, STATES, Batch, Piece
from stokerd.pool.crew import Crew
from stokerd.pool.describe import error_of
from stokerd.pool.dispatcher import STUCK
from stokerd.pool.jobs import JobTable
from stokerd.pool.ledger import Ledger
from stokerd.pool.results import classes_of, keep_error, read_error, runs
from stokerd.pool.scheduler import Scheduler
from stokerd.pool.settings import PoolSettings
from stokerd.pool.tags import TagLimits
from stokerd.pool.waiting import WaitingRoom
from stokerd.pool.worker import Ran, Span, Worker
from stokerd.promise import Promise

MAX_TOLD = 4096
"""Batches with more jobs keep the verdict of each only where they keep values too."""
KEPT_WORKERS = 1000
"""Batches with more jobs do not remember which worker ran each."""


class End(NamedTuple):
    """How a run of jobs ended.

    Args:
        event: of their lifecycle.
        ran: what they took; None: they did not run.
        error: the daemon's verdict; None where the workers' own answer says all.
        lengths, blob: the workers' answers.
        lot: where the one value lies that the answer is the parcel of.
    """

    event: JobEvent
    ran: Ran | None = None
    error: StokerError | None = None
    lengths: array[int] | None = None
    blob: bytes = b""
    lot: Lot | None = None


class Verdicts:
    """See the module."""

    def __init__(  # noqa: PLR0913 - whom it has to tell, by name
        self,
        pool: str,
        settings: PoolSettings,
        *,
        jobs: JobTable,
        queue: Scheduler,
        crew: Crew,
        tags: TagLimits,
        ledger: Ledger,
        waiting: WaitingRoom,
        clock: Clock,
        bus: Bus,
    ) -> None:
        self._pool, self._settings = pool, settings
        self._jobs, self._queue, self._crew, self._tags = jobs, queue, crew, tags
        self._ledger, self._waiting, self._clock, self._bus = ledger, waiting, clock, bus
        self._unwritten: list[Callable[[], None]] = []
        """What is still to be told, once the disk knows."""

    # --- what workers report

    def adopt(self, settings: PoolSettings) -> None:
        """Go by these settings from now on."""
        self._settings = settings

    def ended(
        self, worker: Worker, span: Span, lengths: array[int], blob: bytes, ran: Ran, lot: Lot | None = None
    ) -> None:
        """The first jobs of a span have ended; see :class:`~stokerd.pool.worker.Owner`."""
        batch = span.batch
        if batch.trace is not None:
            heard = self._clock.monotonic()
            begun = worker.begun_at(span.seq, heard)
            batch.trace.marks += (begun, begun + ran.seconds, heard)
        if batch.lot is not None:
            batch.lot.answer(batch.turn)
        batch.estimate.learn(ran.seconds)
        self._queue.correct(batch, (ran.seconds - span.cost) * len(lengths))
        for first, part, data, failed in runs(lengths, blob):
            index, count = span.index + first, len(part)
            if batch.count <= KEPT_WORKERS:
                who = worker.id, worker.pid
                for at in range(index, index + count):
                    batch.workers[at] = who
            ending = worker.ending.pop(span.seq + first, None) if failed and worker.ending else None
            if ending is not None:
                end = End(endings.event(ending), ran, endings.error(ending, batch))
            elif failed:
                keep_error(batch, index, data)
                end = End(JobEvent.FAIL, ran, None, part, data)
            else:
                if batch.keep:
                    _keep_values(batch, index, part, data)
                end = End(JobEvent.SUCCEED, ran, None, part, data, lot)
            self._end_attempt(batch, index, count, end)
        self.finish(batch)

    def returned(self, worker: Worker, span: Span) -> None:
        """Jobs that were handed over come back."""
        batch = span.batch
        batch.move(span.index, span.count, JobEvent.RETURN)
        if batch.tags:
            self._tags.give(batch.tags, span.count)
        self._ledger.returned(batch, span.index, span.count)
        self._queue.put_back(batch, span.count)
        self._queue.correct(batch, -span.cost * span.count)
        for offset in range(span.count) if worker.ending else ():
            if worker.ending.pop(span.seq + offset, None) is not None:
                self.cancel_unstarted(batch, span.index + offset)

    def died(self, worker: Worker, how: Exit, victim: Span, oom: dict[str, int | bool]) -> None:
        """A worker died while it ran a job."""
        batch, index = victim.batch, victim.index
        batch.workers[index] = (worker.id, worker.pid)
        ending = worker.ending.get(victim.seq)
        if ending == endings.SUSPENDED and batch.options.durable and batch.options.requeue:
            batch.move(index, 1, JobEvent.RETURN)
            self._ledger.returned(batch, index, 1)
            return
        if ending is not None:
            end = End(endings.event(ending), None, endings.error(ending, batch))
        else:
            deaths = batch.deaths[index] = batch.deaths.get(index, 0) + 1
            died = _died(worker, how, batch, index, oom)
            end = End(JobEvent.WORKER_DIE, None, died)
            if batch.options.retries and deaths >= self._settings.quarantine:
                end = End(JobEvent.QUARANTINE, None, _quarantined(died, batch, index, deaths))
        self._end_attempt(batch, index, 1, end)
        self.finish(batch)

    def lost(self, batch: Batch, index: int, error: StokerError) -> None:
        """After a start of the daemon: the job was lost with the last one."""
        deaths = batch.deaths[index] = batch.deaths.get(index, 0) + 1
        if batch.options.requeue and deaths < self._settings.quarantine:
            self._again(batch, index, JobState.LOST_WITH_DAEMON, batch.verdict(error), 0.0)
            return
        end = End(JobEvent.DAEMON_LOST, None, error)
        if batch.options.requeue:
            end = End(JobEvent.QUARANTINE, None, _quarantined(error, batch, index, deaths))
        self._end_attempt(batch, index, 1, end)
        self.finish(batch)

    # --- cancelling

    def cancel(self, batch: Batch, index: int, grace: float) -> Promise[None]:
        """End one job; settles when it has ended."""
        ended = _when_ended(batch, index)
        if batch.states[index] == RUNNING:
            self._cancel_running(batch, index, grace)
        elif batch.states[index] not in ENDED_CODES:  # else its end is being written
            self.cancel_unstarted(batch, index)
        return ended

    def cancel_all(self, batch: Batch, grace: float) -> None:
        """End all of a batch's jobs that have not ended."""
        self.end_unstarted(batch, JobEvent.CANCEL, endings.error(endings.CANCELLED, batch))
        index = batch.states.find(RUNNING)
        while index >= 0:
            self._cancel_running(batch, index, grace)
            index = batch.states.find(RUNNING, index + 1)

    def cancel_unstarted(self, batch: Batch, index: int) -> None:
        """End one job that is queued, delayed or waiting."""
        self._leave(batch, index, 1, JobEvent.CANCEL, endings.error(endings.CANCELLED, batch))
        self.finish(batch)

    def end_unstarted(self, batch: Batch, event: JobEvent, error: StokerError) -> None:
        """End all jobs of a batch that are queued, delayed or waiting."""
        ended = False
        index = 0
        while index < batch.count:
            code = batch.states[index]
            until = index + 1
            while until < batch.count and batch.states[until] == code:
                until += 1
            if STATES[code] in (JobState.QUEUED, JobState.DELAYED, JobState.WAITING):
                self._leave(batch, index, until - index, event, error)
                ended = True
            index = until
        if ended:
            self.finish(batch)

    def end_queued(self, batches: Sequence[Batch], event: JobEvent, error: StokerError) -> None:
        """End all jobs of these batches that are queued."""
        for batch in batches:
            while True:
                index, count = batch.take(batch.count)
                if not count:
                    break
                self._leave(batch, index, count, event, error)
            self.finish(batch)

    def _leave(self, batch: Batch, index: int, count: int, event: JobEvent, error: StokerError) -> None:
        queued = batch.state(index) is JobState.QUEUED
        self._end(batch, index, count, End(event, None, error))
        if queued and batch.in_queue:
            self._queue.taken(batch, count, 0.0)

    def _cancel_running(self, batch: Batch, index: int, grace: float) -> None:
        for worker in self._crew.members.values():
            seq = worker.running_seq(batch, index)
            if seq is None:
                continue
            running = worker.current()
            if running is not None and running[0] == seq:
                endings.Ladder(self._clock, worker, seq, endings.CANCELLED, grace)
            else:
                # Handed over and not started: it comes back, and is cancelled then; or is started, and is ended then.
                worker.ending[seq] = endings.CANCELLED
                worker.take_back()
                self._clock.later(STUCK, self._cancel_if_running, worker, seq, batch, index, grace)
            return

    def _cancel_if_running(self, worker: Worker, seq: int, batch: Batch, index: int, grace: float) -> None:
        if batch.state(index) is JobState.RUNNING and worker.running_seq(batch, index) == seq:
            running = worker.current()
            if running is not None and running[0] == seq:
                endings.Ladder(self._clock, worker, seq, endings.CANCELLED, grace)
            else:
                self._clock.later(STUCK, self._cancel_if_running, worker, seq, batch, index, grace)

    # --- another attempt

    def retry(self, batch: Batch, index: int) -> None:
        """Queue a job again that ended without a value. Its payload must still be there."""
        attempt = self._attempt(batch, index, batch.state(index), error_of(batch, index))
        batch.move(index, 1, JobEvent.RETRY)
        batch.remember_attempt(index, attempt)
        self._ledger.retried(batch, index, attempt)
        self._prepare_again(batch, index)
        self._queue.put_back(batch, 1)

    def _end_attempt(self, batch: Batch, index: int, count: int, end: End) -> None:
        """An attempt of running jobs is over: the jobs end, or are tried again."""
        state = STATES[AFTER[RUNNING, end.event]]
        options = batch.options
        if options.retries and state is not JobState.DONE:
            # one job: each failed one is a run of its own
            told = batch.verdict(end.error) if end.error is not None else read_error(end.blob)
            classes = classes_of(end.blob) if end.error is None else ()
            attempt = batch.attempt(index)
            if options.tries_again(attempt, state, classes):
                if batch.tags:
                    self._tags.give(batch.tags, count)
                self._measure(batch, index, count, end.ran)
                self._again(batch, index, state, told, options.pause_after(attempt))
                return
        self._end(batch, index, count, end)

    def _again(self, batch: Batch, index: int, state: JobState, told: ErrorInfo, pause: float) -> None:
        """Try it once more; ``told``: what went wrong."""
        attempt = self._attempt(batch, index, state, told)
        self._ledger.again(batch, index, attempt, self._clock.time() + pause)
        batch.remember_attempt(index, attempt)
        batch.move(index, 1, JobEvent.RETURN)
        self._prepare_again(batch, index)
        job = batch.first_id + index
        why = (told.type or told.message)[:1000]
        # what an exception says may be somebody's secret: an event, which is logged, names its class
        self._bus.emit(
            JobsRetried(id=job, pool=self._pool, attempt=attempt.attempt, state=state, delay=pause, message=why)
        )
        if pause > 0:
            self._waiting.postpone(batch, index, pause)
        else:
            self._queue.put_back(batch, 1)

    @staticmethod
    def _prepare_again(batch: Batch, index: int) -> None:
        batch.errors.pop(index, None)
        batch.values.pop(index, None)
        batch.progress.pop(index, None)
        batch.forget_output(index)
        batch.attempts[index] = batch.attempt(index) + 1

    def _attempt(self, batch: Batch, index: int, state: JobState, told: ErrorInfo | None) -> AttemptInfo:
        worker, pid = batch.workers.get(index, (None, None))
        return AttemptInfo(
            attempt=batch.attempt(index),
            state=state,
            started=batch.started[index] or None,
            ended=batch.ended[index] if batch.is_ended(index) else self._clock.time(),
            worker=worker,
            pid=pid,
            cpu_seconds=round(batch.cpu[index], 6),
            peak_rss=batch.rss[index] * 1024,
            message=told.message[:1000] if told is not None else "",
            type=told.type if told is not None else "",
        )

    # --- ends

    def _end(self, batch: Batch, index: int, count: int, end: End) -> None:
        if batch.tags and batch.states[index] == RUNNING:
            self._tags.give(batch.tags, count)
        state = batch.move(index, count, end.event)
        now = self._clock.time()
        if count == 1:
            batch.ended[index] = now
        else:
            batch.ended[index : index + count] = array("d", [now]) * count
        self._measure(batch, index, count, end.ran)
        told = batch.verdict(end.error) if end.error is not None else None
        if told is not None and (batch.keep or batch.count <= MAX_TOLD):
            for at in range(index, index + count):
                batch.errors[at] = told
        lengths = end.lengths.tobytes() if end.lengths is not None else b""
        piece = Piece(index, count, lengths, end.blob, state, told, end.lot)
        if batch.options.durable:
            written = self._ledger.ended(
                batch, index, count, event=end.event, error=told, lengths=lengths, blob=end.blob
            )
            if written is not None and not written.settled:
                self._tell_when(written, batch, piece)
                return
        self._tell(batch, piece)

    @staticmethod
    def _measure(batch: Batch, index: int, count: int, ran: Ran | None) -> None:
        if ran is None:
            return
        if count == 1:
            batch.started[index] = (batch.ended[index] or batch.started[index] + ran.seconds) - ran.seconds
            batch.cpu[index], batch.rss[index] = ran.cpu, ran.resident
        else:
            batch.cpu[index : index + count] = array("f", [ran.cpu]) * count
            batch.rss[index : index + count] = array("I", [ran.resident]) * count

    def _tell_when(self, written: Promise[None], batch: Batch, piece: Piece) -> None:
        """To the world these jobs end when the disk knows it, or when it is known that it can't be told."""
        run = (piece.first, piece.count)
        batch.settling.append(run)
        done = False

        def tell() -> None:
            nonlocal done
            if done:
                return
            done = True
            self._unwritten.remove(tell)
            batch.settling.remove(run)
            self._tell(batch, piece)
            self.finish(batch)

        self._unwritten.append(tell)
        written.when_settled(lambda _: tell())

    def tell_unwritten(self) -> None:
        """The disk takes nothing: what has ended is told without it."""
        for tell in tuple(self._unwritten):
            tell()

    def _tell(self, batch: Batch, piece: Piece) -> None:
        self._regret(batch.tell(piece))
        self._bus.emit(
            JobsEnded(
                id=batch.first_id + piece.first,
                count=piece.count,
                pool=self._pool,
                state=piece.state,
                message=piece.error.message if piece.error is not None else "",
            )
        )

    def finish(self, batch: Batch) -> None:
        """Where all of its jobs have ended: say so, and begin to forget."""
        if batch.over and not batch.finished:
            batch.finished = True
            self._regret(batch.tell_end())  # before its record may be pruned
            if batch.all_done:
                batch.drop_payload()
            self._jobs.ended(batch, self._clock.monotonic())

    def _regret(self, failures: list[Exception]) -> None:
        """Have the loop complain of what listeners raised, when the jobs' own story has been brought to its end."""
        for why in failures:
            self._clock.soon(_raise, why)


def _raise(why: Exception) -> None:
    raise why


def _when_ended(batch: Batch, index: int) -> Promise[None]:
    ended: Promise[None] = Promise()

    def look(_batch: Batch, _piece: Piece) -> None:
        if batch.is_ended(index):
            batch.on_piece.remove(look)
            ended.resolve(None)

    batch.on_piece.append(look)
    return ended


def _keep_values(batch: Batch, index: int, lengths: array[int], data: bytes) -> None:
    at = 0
    for offset, length in enumerate(lengths):
        size = length & messages.LENGTH
        batch.values[index + offset] = data[at : at + size]
        at += size


def _died(worker: Worker, how: Exit, batch: Batch, index: int, oom: dict[str, int | bool]) -> WorkerDied:
    signum = -how.code if how.code is not None and how.code < 0 else None
    job = batch.first_id + index
    who = f"worker {worker.id} (pid {worker.pid})"
    if "memory_bytes" in oom:
        message = (
            f"{who} was killed while it ran job {job}: it used {oom['memory_bytes']} bytes of memory, and"
            f" {oom['limit']} are allowed"
        )
        hint = "raise memory_bytes of the pool, or have the job use less"
    elif oom:
        message = f"{who} was killed by the kernel while it ran job {job}, because memory ran out"
        hint = "run fewer workers, give the machine more memory, or have the job use less"
    else:
        message = f"{who} died of {how} while it ran job {job}"
        hint = "see `stoker logs` for what the job wrote; other jobs are not affected"
    return WorkerDied(
        message,
        hint=hint,
        data={
            "pid": worker.pid,
            "worker": worker.id,
            "job": job,
            "signal": signum,
            "signal_name": _name(signum),
            "exit_code": how.code if signum is None else None,
            "attempt": batch.attempt(index),
            "oom": bool(oom),
            **oom,
        },
    )


def _name(signum: int | None) -> str:
    try:
        return "" if signum is None else signal.Signals(signum).name
    except ValueError:
        return ""


def _quarantined(why: StokerError, batch: Batch, index: int, deaths: int) -> JobQuarantined:
    job = batch.first_id + index
    return JobQuarantined(
        f"job {job} has killed {deaths} workers and is not tried again; the last time: {why.message}",
        hint=f"see `stoker logs {job}`; `stoker retry {job}` tries once more",
        data={**why.data, "deaths": deaths},
    )
