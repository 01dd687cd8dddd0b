"""One worker as the daemon sees it: its channel, its shared page, and the jobs it was handed.

It knows nothing of queues. It hands over spans of jobs, splits what comes back by span, and reports to its owner.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from array import array
from collections import deque
from typing import Protocol

from stoker.protocol.models import Environment, WorkerInfo
from stoker.protocol.states import WORKER_MOVES, WorkerEvent, WorkerState, step
from stokerd.capture import Capture
from stokerd.child import Child, Exit
from stokerd.clock import Clock, Timer
from stokerd.output import Output
from stokerd.pool import messages, page
from stokerd.pool.batch import Batch

BUFFER = 256 * 1024
MAX_FUNCTIONS = 256
"""Uploaded functions a worker is told before it is made to start afresh: see :mod:`stokerd.pool.calls`."""
PATIENCE = 0.1
"""Seconds within which a worker should begin with a job."""
STOP_GRACE = 5.0
"""Seconds that a worker without jobs gets to end before it is killed."""
SMALL = 32 * 1024
"""Below this, joining buffers and one send beat sendmsg."""


class Span:
    """Consecutive jobs of one batch, handed to a worker under consecutive seqs."""

    __slots__ = ("batch", "cost", "count", "index", "seq")

    def __init__(self, seq: int, batch: Batch, index: int, count: int, cost: float) -> None:
        self.seq, self.batch, self.index, self.count = seq, batch, index, count
        self.cost = cost
        """Estimated run time of one job, seconds: what the scheduler was charged."""


class Owner(Protocol):
    """Whom a worker reports to."""

    def worker_ready(self, worker: Worker) -> None:
        """It can be handed jobs."""

    def jobs_ended(self, worker: Worker, span: Span, lengths: array[int], blob: bytes, ran: float) -> None:
        """The first ``len(lengths)`` jobs of the span have ended; ``ran`` is the run time of one of them, seconds."""

    def jobs_returned(self, worker: Worker, span: Span) -> None:
        """These jobs were not started, and never will be by this worker."""

    def worker_has_room(self, worker: Worker) -> None:
        """Something it had is off its hands."""

    def worker_gone(self, worker: Worker, how: Exit, victim: Span | None) -> None:
        """It is dead and reaped; ``victim`` is the one job that it was running. All else has been reported."""


class Worker:
    """See the module."""

    def __init__(self, number: int, environment: Environment, clock: Clock, owner: Owner, output_bytes: int) -> None:
        self.id = number
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
        self.doubted = False
        """It did not begin with what it was handed, stopped perhaps: it gets nothing more until it is heard from."""
        self._patience = PATIENCE
        self._handed_at = 0.0
        self._clock = clock
        self._owner = owner
        self._output_bytes = output_bytes
        self._next_seq = 1
        self._buffer = bytearray(BUFFER)
        self._have = 0
        self._backlog = bytearray()
        self._child: Child | None = None
        self._pid: int | None = None
        self._page: memoryview | None = None
        self._reading = False
        self._distrusted = False
        self.capture: Capture | None = None

    # --- life

    def attach(self, child: Child) -> None:
        """Its process has been ordered: listen to it."""
        self._child = child
        assert child.output is not None  # noqa: S101 - the pool asks for both
        assert child.page is not None  # noqa: S101
        self._page = page.words(child.page)
        self.capture = Capture(child.output, keep=self._output_bytes)
        self._clock.watch(self.channel.fileno(), self._on_readable)

    @property
    def channel(self) -> socket.socket:
        """The daemon's end of its socketpair."""
        assert self._child is not None  # noqa: S101
        assert self._child.channel is not None  # noqa: S101
        return self._child.channel

    @property
    def pid(self) -> int | None:
        """Its process id, once it is known: from the forkserver, or from itself where that came first."""
        return self._pid if self._child is None else self._child.pid or self._pid

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
        self._clock.unwatch_write(self.channel.fileno())
        self._on_readable()
        self._recover_outbox()
        victim = self._split_victim()
        while self.spans:
            self._return(self.spans.pop())
        self.move(WorkerEvent.EXIT)
        if self.watchdog is not None:
            self.watchdog.cancel()
        self._owner.worker_gone(self, how, victim)
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

    def has_room(self, prefetch: float, stuck: float) -> bool:
        """Whether it can be handed more, so that up to ``prefetch`` seconds of work are ahead of it.

        Not while jobs are taken back from it, and not where they would wait behind a job that has run for ``stuck``
        seconds, whatever was estimated.
        """
        if self.taking_back or self.doubted or self.state not in (WorkerState.IDLE, WorkerState.BUSY):
            return False
        if not self.outstanding:
            return True
        if self.ahead >= prefetch:
            return False
        running = self.current()
        return running is None or running[1] < stuck

    def hand_over(self, batch: Batch, index: int, count: int, cost: float) -> None:
        """Give it ``count`` jobs of a batch; ``cost`` is the estimated run time of one, seconds."""
        if batch.function is not None and batch.template not in self.functions:
            self._teach(batch)
        lengths = batch.lengths[index : index + count].tobytes()
        payload = batch.payload(index, count)
        head = messages.pack(
            messages.RUN,
            size=len(batch.template) + len(lengths) + payload.nbytes,
            seq=self._next_seq,
            count=count,
            template=len(batch.template),
            form=batch.form,
        )
        if not self.outstanding:
            self._handed_at = self._clock.monotonic()
        self.spans.append(Span(self._next_seq, batch, index, count, cost))
        self._next_seq += count
        self.outstanding += count
        self.ahead += cost * count
        self.move(WorkerEvent.ASSIGN)
        self._send(head + batch.template + lengths, payload)

    def _teach(self, batch: Batch) -> None:
        assert batch.function is not None  # noqa: S101 - the caller has looked
        if len(self.functions) >= MAX_FUNCTIONS:
            self.functions.clear()  # as the worker does, at the same count
        self.functions.add(batch.template)
        code = batch.function.code
        size = len(batch.template) + len(code)
        head = messages.pack(messages.FUNCTION, size=size, template=len(batch.template))
        self._send(head + batch.template, memoryview(code))

    def _send(self, head: bytes, body: memoryview) -> None:
        if self._backlog:
            self._backlog += head
            self._backlog += body
            return
        total = len(head) + body.nbytes
        try:
            sent = self.channel.send(head + bytes(body)) if total < SMALL else self.channel.sendmsg((head, body))
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # it is dead: its exit is on the way, and puts these jobs back
        if sent < total:
            self._backlog += head[sent:]
            self._backlog += body[max(0, sent - len(head)) :]
            self._clock.watch_write(self.channel.fileno(), self._on_writable)

    def _on_writable(self) -> None:
        try:
            sent = self.channel.send(self._backlog)
        except BlockingIOError:
            return
        except OSError:
            sent = len(self._backlog)
        del self._backlog[:sent]
        if not self._backlog:
            self._handed_at = self._clock.monotonic()
            self._clock.unwatch_write(self.channel.fileno())

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

    def _on_readable(self) -> None:
        if self._reading:
            return
        self._reading = True
        try:
            self._read()
        finally:
            self._reading = False

    def _read(self) -> None:
        while not self._distrusted:
            if len(self._buffer) - self._have < BUFFER // 2:
                self._buffer.extend(bytes(len(self._buffer)))
            try:
                with memoryview(self._buffer) as view:
                    got = self.channel.recv_into(view[self._have :])
            except BlockingIOError:
                return
            except OSError:
                got = 0
            if not got:
                self._clock.unwatch(self.channel.fileno())
                return
            room = len(self._buffer) - self._have
            self._have += got
            self.doubted = False
            self._parse()
            if got < room:
                return

    def _parse(self) -> None:
        at, head = 0, messages.HEADER.size
        while self._have - at >= head:
            header = messages.Header._make(messages.HEADER.unpack_from(self._buffer, at))
            if not _makes_sense(header):
                self._distrust()
            if self._distrusted:
                self._have = 0
                return
            end = at + head + header.size
            if end > self._have:
                self._make_room(head + header.size)
                break
            self._take(header, at + head, end)
            at = end
        if at:
            rest = self._have - at
            self._buffer[:rest] = self._buffer[at : self._have]
            self._have = rest
            if not rest and len(self._buffer) > 16 * BUFFER:
                self._buffer = bytearray(BUFFER)

    def _distrust(self) -> None:
        """A job has written to a descriptor that was not its own: nothing that comes can be believed any more."""
        self._distrusted = True
        self._clock.unwatch(self.channel.fileno())
        self.kill()

    def _make_room(self, size: int) -> None:
        if (missing := size + BUFFER - len(self._buffer)) > 0:
            self._buffer.extend(bytes(missing))

    def _take(self, header: messages.Header, start: int, end: int) -> None:
        if header.op == messages.RESULTS:
            lengths = array("I")
            blob_at = start + 4 * header.count
            lengths.frombytes(self._buffer[start:blob_at])
            with memoryview(self._buffer) as view:
                self._results(header.seq, lengths, bytes(view[blob_at:end]), header.extra)
        elif header.op == messages.OUTPUT:
            self._output(header.seq, header.extra, messages.OFFSET.unpack_from(self._buffer, start)[0])
        elif header.op == messages.RETURNED:
            self._returned(header.seq, header.count)
        elif header.op == messages.READY and self.state is WorkerState.STARTING:
            self.move(WorkerEvent.READY)
            self.ready_at = self._clock.monotonic()
            self._pid = header.seq
            self._owner.worker_ready(self)

    def _results(self, seq: int, lengths: array[int], blob: bytes, ran_ns: int) -> None:
        ran = ran_ns / 1e9 / len(lengths)
        self._patience = PATIENCE
        while lengths and self.spans:
            span = self.spans[0]
            if seq < span.seq:  # answered before: recovered from the outbox after it had been sent
                late = min(span.seq - seq, len(lengths))
                blob = blob[sum(length & messages.LENGTH for length in lengths[:late]) :]
                seq, lengths = seq + late, lengths[late:]
                continue
            if seq > span.seq:
                self._distrust()  # it answers a job that it was not to run next
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
            self._owner.jobs_ended(self, done, mine, part, ran)
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
        self._on_readable()
        return self.state is not WorkerState.DEAD and self.capture.trim(sizes)

    def output_of(self, seq: int) -> Output | None:
        """What the job ``seq`` has written so far; None where it is not the one that runs, or has ended."""
        assert self.capture is not None  # noqa: S101 - attached before it could work
        running = self.current()
        if running is None or running[0] != seq:
            return None
        sizes = self.capture.sizes()
        self._on_readable()
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
        self._page[page.TAKEN] = self._next_seq
        self._clock.later(page.SETTLE, self._settle)

    @property
    def _unclaimed(self) -> bool:
        """Whether it was handed jobs that it has not begun with."""
        return bool(self.outstanding) and self._page is not None and self._page[page.CLAIMED] < self._next_seq - 1

    def begins_late(self) -> bool:
        """Whether it has had jobs for a while and does not begin with them."""
        if self.taking_back or self._backlog or not self._unclaimed or self.current() is not None:
            return False
        return self._clock.monotonic() - self._handed_at > self._patience

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
        self.ahead -= span.cost * span.count
        self._owner.jobs_returned(self, span)

    # --- the outbox

    def collect(self, stuck: float) -> None:
        """Where its job has run for ``stuck`` seconds: take the results of those before it, which it can't send now."""
        running = self.current()
        if running is None or running[1] < stuck:
            return
        self._on_readable()  # what they wrote was told before, and comes first
        found = self._outbox()
        # It was not touched meanwhile, because the job is still the same and so is what is in it.
        if found is not None and self.current_seq() == running[0] and found == self._outbox():
            self._results(*found)

    def current_seq(self) -> int | None:
        """The seq of the job that it runs."""
        running = self.current()
        return running[0] if running is not None else None

    def _outbox(self) -> tuple[int, array[int], bytes, int] | None:
        """First seq, lengths, blob and run time in ns of the results that it holds; None where it holds nothing new."""
        memory = self._child.page if self._child is not None else None
        if memory is None or self._page is None or self._distrusted or not self.spans:
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
        return first, lengths, memory[page.AT_BLOB : page.AT_BLOB + size], ran

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
        if words is not None and not self._distrusted and words[page.DONE] <= words[page.CLAIMED] < self._next_seq:
            running = self.current()
            return running[0] if running is not None else None
        return self.spans[0].seq if self.spans else None


def _makes_sense(header: messages.Header) -> bool:
    if header.op == messages.RESULTS:
        return header.count > 0 and 4 * header.count <= header.size <= messages.LENGTH + 4 * header.count
    return header.op in messages.FROM_WORKER and header.size <= messages.OFFSET.size


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
