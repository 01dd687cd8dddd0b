"""One worker as the daemon sees it: its channel, its shared page, and the jobs it was handed.

It knows nothing of queues. It hands over spans of jobs, splits what comes back by span, and reports to its owner.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
from array import array
from collections import deque
from typing import NamedTuple, Protocol

from stoker.protocol.models import Environment, WorkerInfo
from stoker.protocol.states import WORKER_MOVES, WorkerEvent, WorkerState, step
from stokerd.capture import Capture
from stokerd.child import Child, Exit
from stokerd.clock import Clock, Timer
from stokerd.depot import Depot, Lot
from stokerd.output import Output
from stokerd.pool import messages, page
from stokerd.pool.batch import Batch, Function
from stokerd.pool.sharing import Sharing
from stokerd.pool.wire import Wire
from stokerd.promise import Promise

MAX_FUNCTIONS = 256
"""Uploaded functions a worker is told before it is made to start afresh: see :mod:`stokerd.pool.calls`."""
PATIENCE = 0.1
"""Seconds within which a worker should begin with a job."""
_ABOUT_MEMORY = frozenset({messages.SHARE, messages.LAID, messages.DROPPED})
STOP_GRACE = 5.0
"""Seconds that a worker without jobs gets to end before it is killed."""


class Span:
    """Consecutive jobs of one batch, handed to a worker under consecutive seqs."""

    __slots__ = ("batch", "cost", "count", "index", "seq")

    def __init__(self, seq: int, batch: Batch, index: int, count: int, cost: float) -> None:
        self.seq, self.batch, self.index, self.count = seq, batch, index, count
        self.cost = cost
        """Estimated run time of one job, seconds: what the scheduler was charged."""


class Ran(NamedTuple):
    """What jobs took: each of those that were answered together, as their mean.

    Args:
        seconds: run time.
        cpu: CPU time, seconds.
        resident: the most resident memory, KiB; 0 where nobody knows.
    """

    seconds: float
    cpu: float = 0.0
    resident: int = 0


class Owner(Protocol):
    """Whom a worker reports to."""

    def worker_ready(self, worker: Worker) -> None:
        """It can be handed jobs."""

    def jobs_ended(
        self, worker: Worker, span: Span, lengths: array[int], blob: bytes, ran: Ran, lot: Lot | None
    ) -> None:
        """The first ``len(lengths)`` jobs of the span have ended; the value of a single one lies in ``lot``."""

    def jobs_returned(self, worker: Worker, span: Span) -> None:
        """These jobs were not started, and never will be by this worker."""

    def worker_has_room(self, worker: Worker) -> None:
        """Something it had is off its hands."""

    def worker_progressed(self, batch: Batch, index: int, done: float, total: float | None, note: str) -> None:
        """A job that it runs says how far it has come."""

    def worker_stale(self, worker: Worker) -> None:
        """It has imported source that has changed since, and will run nothing more."""

    def worker_refused(self, worker: Worker, packed: bytes) -> None:
        """What it was to begin with failed; the packed error says how. It ends."""

    def worker_gone(self, worker: Worker, how: Exit, victim: Span | None) -> None:
        """It is dead and reaped; ``victim`` is the one job that it was running. All else has been reported."""


class Worker:
    """See the module."""

    def __init__(
        self,
        number: int,
        environment: Environment,
        clock: Clock,
        owner: Owner,
        output_bytes: int,
        depot: Depot | None = None,
    ) -> None:
        self.id = number
        self._depot = depot
        self._sharing: Sharing | None = None
        self.environment, self.environment_key = environment, environment.key
        self.state = WorkerState.STARTING
        self.started = clock.time()
        self.jobs_done = 0
        self.outstanding = 0
        self.ahead = 0.0
        """Estimated run time of what it was handed and has not answered, seconds."""
        self.ending: dict[int, str] = {}
        """Why a running job is being ended, by seq."""
        self.spans: deque[Span] = deque()
        self.functions: set[bytes] = set()
        self.watchdog: Timer | None = None
        self.look_at = 0.0
        """When the watchdog will look, monotonic."""
        self.ready_at = 0.0
        """When it came up, monotonic."""
        self.taking_back = False
        self.lent = 0
        """How many waits of its job lend its slot to others."""
        self.places: list[Worker] = []
        """Workers that stay idle while its job runs, because it takes their places."""
        self.place_of: Worker | None = None
        """The worker whose job takes its place."""
        self.handed = 0
        """Jobs that it was ever handed and that were not returned."""
        self.doubted = False
        """It did not begin with what it was handed, stopped perhaps: it gets nothing more until it is heard from."""
        self._patience = PATIENCE
        self._handed_at = 0.0
        self._clock = clock
        self._owner = owner
        self._output_bytes = output_bytes
        self.next_seq = 1
        """What the next job that it is handed will be known by between the two."""
        self._child: Child | None = None
        self._pid: int | None = None
        self._page: memoryview | None = None
        self._wire: Wire | None = None
        self.capture: Capture | None = None

    # --- life

    def attach(self, child: Child) -> None:
        """Its process has been ordered: listen to it."""
        self._child = child
        assert child.output is not None  # noqa: S101 - the pool asks for both
        assert child.page is not None  # noqa: S101
        self._page = page.words(child.page)
        self.capture = Capture(child.output, keep=self._output_bytes)
        self._wire = Wire(self.channel, self._clock, self._take, self.kill)

    @property
    def wire(self) -> Wire:
        """What it is told by and heard from."""
        assert self._wire is not None  # noqa: S101 - attached before anything can be said
        return self._wire

    @property
    def channel(self) -> socket.socket:
        """The daemon's end of its socketpair."""
        assert self._child is not None  # noqa: S101
        assert self._child.channel is not None  # noqa: S101
        return self._child.channel

    @property
    def pid(self) -> int | None:
        """Its process id, once it is known: from the forkserver, or from itself where that came first."""
        if self._pid is None and self._child is not None:
            self._pid = self._child.pid
        return self._pid

    def move(self, event: WorkerEvent) -> None:
        """One step of its lifecycle."""
        self.state = step(WORKER_MOVES, self.state, event)

    def stop(self) -> None:
        """Take no more jobs; end when those it has are done."""
        self.move(WorkerEvent.STOP)
        if not self.outstanding:
            self._hang_up()

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """Signal its process group."""
        if self._child is not None:
            self._child.signal(signum)

    def gone(self, how: Exit) -> None:
        """Its process is reaped: read what it still sent, recover what it had not, and report."""
        self._clock.unwatch(self.channel.fileno())
        self.wire.read()
        self.wire.close()
        self._recover_outbox()
        victim = self._split_victim()
        while self.spans:
            self._return(self.spans.pop())
        self.move(WorkerEvent.EXIT)
        if self.watchdog is not None:
            self.watchdog.cancel()
        self._owner.worker_gone(self, how, victim)
        if self._sharing is not None:
            self._sharing.close()
        self._release()

    def _release(self) -> None:
        self.channel.close()
        if self.capture is not None:
            self.capture.close()
        if self._page is not None:
            self._page.release()
            self._page = None
        if self._child is not None and self._child.page is not None:
            self._child.page.close()

    def info(self, job: int | None) -> WorkerInfo:
        """Its snapshot."""
        return WorkerInfo(
            id=self.id,
            pid=self.pid,
            state=self.state,
            job=job,
            environment=self.environment_key,
            jobs_done=self.jobs_done,
            started=self.started,
        )

    # --- handing over

    @property
    def is_free(self) -> bool:
        """Whether it is idle, and a job may come in its place."""
        return (
            self.state is WorkerState.IDLE
            and not (self.outstanding or self.taking_back or self.doubted or self.lent or self.places)
            and self.place_of is None
        )

    def has_room(self, prefetch: float, stuck: float) -> bool:
        """Whether it can be handed more, so that up to ``prefetch`` seconds of work are ahead of it.

        Not while jobs are taken back from it, and not where they would wait behind a job that has run for ``stuck``
        seconds, whatever was estimated.
        """
        if self.taking_back or self.doubted or self.lent or self.state not in (WorkerState.IDLE, WorkerState.BUSY):
            return False
        if self.place_of is not None or self.places:
            return False
        if not self.outstanding:
            return True
        if self.ahead >= prefetch:
            return False
        running = self.current()
        return running is None or running[1] < stuck

    def begin(self, form: int, function: Function, payload: bytes) -> None:
        """Before anything else: have it call this once, and come up only when that has returned."""
        if function.code:
            self._teach(function)
        template = function.reference
        head = messages.pack(
            messages.BEGIN, size=len(template) + len(payload), template=len(template), form=form, count=1
        )
        self.wire.send(head + template, memoryview(payload))

    def hand_over(self, batch: Batch, index: int, count: int, cost: float, after: Promise[None] | None = None) -> None:
        """Give it ``count`` jobs of a batch; ``cost`` is the estimated run time of one, seconds. It is not told before
        ``after`` is settled.
        """
        if batch.function is not None and batch.template not in self.functions:
            self._teach(batch.function)
        lengths = batch.lengths[index : index + count].tobytes()
        payload = batch.payload(index, count)
        form, segment = (batch.form, 0) if not batch.lays and batch.lot is None else self._share(batch)
        head = messages.pack(
            messages.RUN,
            size=len(batch.template) + len(lengths) + payload.nbytes,
            seq=self.next_seq,
            extra=batch.first_id + index,
            usage=batch.options.slots,
            resident=segment,
            count=count,
            template=len(batch.template),
            form=form,
        )
        if not self.outstanding:
            self._handed_at = self._clock.monotonic()
        self.spans.append(Span(self.next_seq, batch, index, count, cost))
        self.next_seq += count
        self.outstanding += count
        self.handed += count
        self.ahead += cost * count
        self.move(WorkerEvent.ASSIGN)
        self.wire.send(head + batch.template + lengths, payload, after)

    def _share(self, batch: Batch) -> tuple[int, int]:
        """Form and segment for a batch whose jobs have large data, or may return some."""
        if self._depot is None:
            return batch.form, 0
        if self._sharing is None:
            self._sharing = Sharing(f"w{self.id}", self._depot, self.wire, self._grant)
        form = batch.form | (messages.LAYS if batch.lays else 0)
        if batch.lot is None:
            return form, 0
        self._sharing.bring(batch.lot)
        return form | messages.PARCEL, batch.lot.number

    def _grant(self, room: int) -> None:
        if self._page is not None:
            self._page[page.ROOM] = room

    def _teach(self, function: Function) -> None:
        if len(self.functions) >= MAX_FUNCTIONS:
            self.functions.clear()  # as the worker does, at the same count
        self.functions.add(function.reference)
        size = len(function.reference) + len(function.code)
        head = messages.pack(messages.FUNCTION, size=size, template=len(function.reference))
        self.wire.send(head + function.reference, memoryview(function.code))

    def _hang_up(self) -> None:
        # A job may have left threads behind that it would wait for, for ever.
        self._clock.later(STOP_GRACE, self._kill_if_there)
        try:
            self.channel.shutdown(socket.SHUT_WR)
        except OSError:
            return  # it is gone already

    def _kill_if_there(self) -> None:
        if self.state is not WorkerState.DEAD:
            self.kill()

    # --- what comes back

    def _take(self, header: messages.Header, buffer: bytearray, start: int, end: int) -> None:
        self.doubted = False
        if header.op == messages.RESULTS:
            lengths = array("I")
            blob_at = start + 4 * header.count
            lengths.frombytes(buffer[start:blob_at])
            with memoryview(buffer) as view:
                blob = bytes(view[blob_at:end])
            ran = Ran(header.extra / 1e9 / header.count, header.usage / 1e9 / header.count, header.resident)
            laid = self._sharing.take_laid() if header.form and self._sharing is not None else None
            self._results(header.seq, lengths, blob, ran, laid)
        elif header.op in _ABOUT_MEMORY:
            if self._sharing is not None:
                self._sharing.hear(header)
        elif header.op == messages.OUTPUT:
            if end - start == messages.OFFSET.size:
                self._output(header.seq, header.extra, messages.OFFSET.unpack_from(buffer, start)[0])
        elif header.op == messages.RETURNED:
            self._returned(header.seq, header.count)
        elif header.op == messages.PROGRESS:
            self._progressed(header.seq, bytes(buffer[start:end]))
        elif header.op == messages.STALE:
            self._owner.worker_stale(self)
        elif header.op == messages.REFUSED:
            self._owner.worker_refused(self, bytes(buffer[start:end]))
        elif header.op == messages.READY and self.state is WorkerState.STARTING:
            self.move(WorkerEvent.READY)
            self.ready_at = self._clock.monotonic()
            self._pid = header.seq
            self._owner.worker_ready(self)

    def _progressed(self, seq: int, body: bytes) -> None:
        span = self._span_of(seq)
        if span is None:
            return
        with contextlib.suppress(ValueError, TypeError):  # what a job may have scribbled is no reason to fall
            done, total, note = json.loads(body)
            self._owner.worker_progressed(
                span.batch, span.index + seq - span.seq, float(done), None if total is None else float(total), str(note)
            )

    def progress_of(self, seq: int) -> tuple[float, float | None] | None:
        """How much of the job ``seq`` is done, and of how much; None where it has not said."""
        words = self._page
        if words is None or words[page.PROGRESS] != seq:
            return None
        done, total = struct.unpack("<dd", struct.pack("<QQ", words[page.PROGRESS_DONE], words[page.PROGRESS_TOTAL]))
        return done, None if total < 0 else total

    def _results(self, seq: int, lengths: array[int], blob: bytes, ran: Ran, lot: Lot | None = None) -> None:
        self._patience = PATIENCE
        while lengths and self.spans:
            span = self.spans[0]
            if seq < span.seq:  # answered before: recovered from the outbox after it had been sent
                late = min(span.seq - seq, len(lengths))
                blob = blob[sum(length & messages.LENGTH for length in lengths[:late]) :]
                seq, lengths = seq + late, lengths[late:]
                continue
            if seq > span.seq:
                self.wire.distrust()  # it answers a job that it was not to run next
                return
            count = min(span.count, len(lengths))
            if count == len(lengths):
                mine, lengths = lengths, array("I")
                part, blob = blob, b""
            else:
                mine, lengths = lengths[:count], lengths[count:]
                size = sum(length & messages.LENGTH for length in mine)
                part, blob = blob[:size], blob[size:]
            done = self._cut(span, count)
            seq += count
            self.jobs_done += count
            self._owner.jobs_ended(self, done, mine, part, ran, lot)
        self._rest()

    def _cut(self, span: Span, count: int) -> Span:
        """Take the first ``count`` jobs off the first span."""
        self.outstanding -= count
        self.ahead -= span.cost * count
        if count == span.count:
            self.spans.popleft()
            return span
        head = Span(span.seq, span.batch, span.index, count, span.cost)
        span.seq += count
        span.index += count
        span.count -= count
        return head

    def _rest(self) -> None:
        if not self.outstanding:
            self.ahead = 0.0
            self.ending.clear()
            if self.state is WorkerState.STOPPING:
                self._hang_up()
            elif self.state is WorkerState.BUSY:
                self.move(WorkerEvent.REST)
        self._owner.worker_has_room(self)

    def _output(self, seq: int, out_end: int, err_end: int) -> None:
        assert self.capture is not None  # noqa: S101 - attached before it could speak
        output = self.capture.cut(out_end, err_end)
        span = self._span_of(seq)
        if span is not None:
            span.batch.keep_output(span.index + seq - span.seq, output)

    def _span_of(self, seq: int) -> Span | None:
        for span in self.spans:
            if span.seq <= seq < span.seq + span.count:
                return span
        return None

    def timeout_of(self, seq: int) -> float | None:
        """The time limit of a job that it has, seconds."""
        span = self._span_of(seq)
        return span.batch.timeout if span is not None else None

    def trim(self) -> bool:
        """Give back what is not kept of the running job's output; True when it has written more than that."""
        assert self.capture is not None  # noqa: S101 - attached before it could work
        # In this order: where another job has begun before its size was taken, the message that says so is read next.
        sizes = self.capture.sizes()
        self.wire.read()
        return self.state is not WorkerState.DEAD and self.capture.trim(sizes)

    def output_of(self, seq: int) -> Output | None:
        """What the job ``seq`` has written so far; None where it is not the one that runs, or has ended."""
        assert self.capture is not None  # noqa: S101 - attached before it could work
        running = self.current()
        if running is None or running[0] != seq:
            return None
        sizes = self.capture.sizes()
        self.wire.read()
        return self.capture.peek(sizes) if self._span_of(seq) is not None else None

    # --- taking back

    def current(self) -> tuple[int, float] | None:
        """The seq of the job that it runs and for how long it has, seconds; None when it runs none."""
        words = self._page
        if words is None:
            return None
        seq: int = words[page.CLAIMED]
        if seq == words[page.DONE]:
            return None
        return seq, self._clock.monotonic() - words[page.STARTED] / 1e9

    def has_started(self, seq: int) -> bool:
        """Whether a job that it was handed is running or has run, though its result may still be on the way."""
        return self._page is not None and seq <= self._page[page.CLAIMED]

    def take_back(self) -> None:
        """Ask for all jobs back that it has not started; they are reported as returned, some moments later.

        Until then it must not be handed more.
        """
        if self.taking_back or not self._unclaimed:
            return
        assert self._page is not None  # noqa: S101 - there is something that it could claim
        self.taking_back = True
        self._page[page.TAKEN] = self.next_seq
        self._clock.later(page.SETTLE, self._settle)

    @property
    def _unclaimed(self) -> bool:
        """Whether it was handed jobs that it has not begun with."""
        return bool(self.outstanding) and self._page is not None and self._page[page.CLAIMED] < self.next_seq - 1

    def begins_late(self) -> bool:
        """Whether it has had jobs for a while and does not begin with them."""
        if self.taking_back or self.wire.waiting or not self._unclaimed or self.current() is not None:
            return False
        return self._clock.monotonic() - max(self._handed_at, self.wire.written_at) > self._patience

    def doubt(self) -> None:
        """Take its jobs back, and hand it no more until it is heard from. The next time, be more patient."""
        self.doubted = True
        self._patience *= 2
        self.take_back()

    def _settle(self) -> None:
        self.taking_back = False
        if self._page is None:
            return
        claimed: int = self._page[page.CLAIMED]
        while self.spans and self.spans[-1].seq > claimed:
            self._return(self.spans.pop())
        if self.spans and (last := self.spans[-1]).seq + last.count > claimed + 1:
            kept = claimed + 1 - last.seq
            back = Span(claimed + 1, last.batch, last.index + kept, last.count - kept, last.cost)
            last.count = kept
            self._return(back)
        self._rest()

    def _returned(self, seq: int, count: int) -> None:
        """The worker itself skipped jobs that it had claimed just as they were taken back."""
        back = self._cut_out(seq, count)
        if back is not None:
            self._return(back)
        self._rest()

    def _cut_out(self, seq: int, count: int) -> Span | None:
        """Take these jobs out of the spans; None where they are not there."""
        span = self._span_of(seq)
        if span is None:
            return None
        at = self.spans.index(span)
        del self.spans[at]
        for piece in reversed(_without(span, seq, count)):
            self.spans.insert(at, piece)
        return Span(seq, span.batch, span.index + seq - span.seq, count, span.cost)

    def _return(self, span: Span) -> None:
        self.outstanding -= span.count
        self.handed -= span.count
        self.ahead -= span.cost * span.count
        self._owner.jobs_returned(self, span)

    # --- the outbox

    def collect(self, stuck: float) -> None:
        """Where its job has run for ``stuck`` seconds: take the results of those before it, which it can't send now."""
        running = self.current()
        if running is None or running[1] < stuck:
            return
        self.wire.read()  # what they wrote was told before, and comes first
        found = self._outbox()
        # It was not touched meanwhile, because the job is still the same and so is what is in it.
        if found is not None and self.current_seq() == running[0] and found == self._outbox():
            self._results(*found)

    def begun_at(self, seq: int, now: float) -> float:
        """When it began with the job that it claimed last, monotonic; ``now`` where that is not this one."""
        words = self._page
        return words[page.STARTED] / 1e9 if words is not None and words[page.CLAIMED] == seq else now

    def current_seq(self) -> int | None:
        """The seq of the job that it runs."""
        running = self.current()
        return running[0] if running is not None else None

    def _outbox(self) -> tuple[int, array[int], bytes, Ran] | None:
        """First seq, lengths, blob and run time of the results that it holds; None where it holds nothing new."""
        memory = self._child.page if self._child is not None else None
        if memory is None or self._page is None or self.wire.distrusted or not self.spans:
            return None
        first, ran, held = self._page[page.OUTBOX_FIRST], self._page[page.OUTBOX_RAN], self._page[page.OUTBOX]
        count, size = held & page.COUNT, held >> 32
        if not count or first + count <= self.spans[0].seq:
            return None
        if count > page.OUTBOX_JOBS or size > page.OUTBOX_BYTES:
            return None  # scribbled over by the job, which had write access to all of its memory
        lengths = array("I")
        lengths.frombytes(memory[page.AT_LENGTHS : page.AT_LENGTHS + 4 * count])
        if sum(length & messages.LENGTH for length in lengths) != size:
            return None
        return first, lengths, memory[page.AT_BLOB : page.AT_BLOB + size], Ran(ran / 1e9 / count)

    # --- the ladder

    def running_seq(self, batch: Batch, index: int) -> int | None:
        """The seq of a job that it was handed; None where it does not have it."""
        for span in self.spans:
            if span.batch is batch and span.index <= index < span.index + span.count:
                return span.seq + index - span.index
        return None

    def signal_job(self, seq: int, signum: int) -> None:
        """Signal the job ``seq``, should it be running: the command's own group, or this worker's."""
        if self._page is None:
            return
        self._page[page.CANCEL] = seq
        command: int = self._page[page.COMMAND]
        if command:
            self._signal_command(command, signum)
        elif signum != signal.SIGKILL:
            self.kill(signum)
        else:
            self._end_with(seq)

    def _end_with(self, seq: int) -> None:
        """The job can be ended only together with this worker. It gets no other any more, so that no other is hit."""
        self.take_back()
        self.stop()
        self._clock.later(2 * page.SETTLE, self._kill_if_running, seq)

    def _kill_if_running(self, seq: int) -> None:
        running = self.current()
        if running is not None and running[0] == seq:
            self.kill()

    def _signal_command(self, command: int, signum: int) -> None:
        """Signal a command's group, in this worker's session: another is none of ours, whatever the page says."""
        try:
            ours = os.getsid(command) == self.pid
        except ProcessLookupError:
            ours = True  # the command has ended; its number can't be given away while others are in its group
        except OverflowError:
            ours = False
        if ours and command > 1:
            with contextlib.suppress(OSError):
                os.killpg(command, signum)

    # --- after its death

    def _recover_outbox(self) -> None:
        found = self._outbox()
        if found is not None:
            self._results(*found)

    def _split_victim(self) -> Span | None:
        """Take the job that was running out of the spans, with what it has written."""
        command = self._page[page.COMMAND] if self._page is not None else 0
        if command:
            self._signal_command(command, signal.SIGKILL)
        seq = self._last_claim()
        victim = self._cut_out(seq, 1) if seq is not None else None
        if victim is None:
            return None
        self.outstanding -= 1
        if self.capture is not None and victim.index not in victim.batch.outputs:
            victim.batch.keep_output(victim.index, self.capture.cut(*self.capture.sizes()))
        return victim

    def _last_claim(self) -> int | None:
        """The seq of the job that it ran when it died; the oldest that it had where its page can't be believed."""
        words = self._page
        if words is not None and not self.wire.distrusted and words[page.DONE] <= words[page.CLAIMED] < self.next_seq:
            running = self.current()
            return running[0] if running is not None else None
        return self.spans[0].seq if self.spans else None


def _without(span: Span, seq: int, count: int) -> list[Span]:
    """What is left of a span when ``count`` jobs from ``seq`` are taken out."""
    before = seq - span.seq
    after = span.count - before - count
    pieces = []
    if before:
        pieces.append(Span(span.seq, span.batch, span.index, before, span.cost))
    if after > 0:
        pieces.append(Span(seq + count, span.batch, span.index + before + count, after, span.cost))
    return pieces
