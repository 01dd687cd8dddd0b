"""Submitting: what is waiting to be sent becomes one message, and what comes back is handed to its jobs.

A submit on an idle connection leaves at once. While answers are outstanding, further submits of the same *template*
(function, options, shape) are gathered into one :class:`Batch`; it leaves when it is full, when somebody waits, or
after a millisecond.

What a batch gets back is kept packed; a value is unpickled by the thread that asks for it, outside the lock.
"""

from __future__ import annotations

import sys
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from stoker.comeback import ABSENT
from stoker.connection import Connection
from stoker.errors import (
    ConnectionClosed,
    ConnectionFailed,
    InternalError,
    MalformedMessage,
    NoSharedMemory,
    QueueFull,
    ResultNotPackable,
    StokerError,
    UnknownFunction,
    UnknownSegment,
)
from stoker.functions import Packed, pack_value
from stoker.job import Held, Job
from stoker.protocol.codec import Frame
from stoker.session import Exchange

if TYPE_CHECKING:
    from stoker.sharing import Parcel, Sharing

MAX_JOBS = 256
"""Jobs in one batch: past this, the cost of a message is no longer seen in the cost of a job."""

MAX_BYTES = 256 * 1024
"""Bytes of arguments in one batch."""

LARGE = 64 * 1024
"""Bytes from which a value is kept as a view of what arrived, rather than as a copy; and lies in shared memory."""

_OWN_DATA = frozenset(
    ("ttl", "durable", "key", "retries", "on_crash", "delay", "at", "after")  # what may be needed again, or much later
)

_ERROR_BIT = 1 << 31


class Template:
    """What the jobs of a batch have in common; two submits are gathered if theirs is the same object.

    Args:
        packed: the function.
        shape: what each pickle holds, as in ``PickleSpec``.
        options: further fields of the ``JobSpec``.
        early: ask for the ids at once.
        job: the class of its jobs.
        on_settled: told of the jobs that have settled, in the pump's thread.
        block: where the queue is full, send it again when there is room.
    """

    __slots__ = ("alone", "block", "early", "job", "on_settled", "options", "packed", "shape", "shares")

    def __init__(
        self,
        packed: Packed,
        shape: str = "call",
        options: dict[str, Any] | None = None,
        *,
        early: bool = False,
        job: type[Job] = Job,
        on_settled: Callable[[Sequence[Job]], None] | None = None,
        block: bool = True,
    ) -> None:
        self.block = block
        self.alone = "key" in (options or {})
        """Each job leaves by itself: a key is one job's."""
        self.shares = _OWN_DATA.isdisjoint(options or ())
        """What its jobs are called with may lie in memory that is theirs until they end, and no longer."""
        self.packed = packed
        self.shape = shape
        self.options = {"name": packed.name, **(options or {})}
        self.early = early
        self.job = job
        self.on_settled = on_settled

    def params(self, lengths: bytes, segment: int | None = None) -> dict[str, Any]:
        """The parameters of the submit that sends jobs with arguments of these lengths; they may lie in a segment."""
        work: dict[str, Any] = {"function": self.packed.function, "shape": self.shape, "lengths": lengths}
        if segment is not None:
            work["segment"] = segment
        params: dict[str, Any] = {"jobs": [{"pickle": work, **self.options}], "stream": True}
        if self.early:
            params["wait"] = 0
        return params


class Batch:
    """Jobs of one message; the completion of its request.

    ``settled`` is True once their ids are known, or that they have none: what :attr:`Job.id` waits for.
    """

    __slots__ = (
        "_attended",
        "_lengths",
        "_parcel",
        "_pickles",
        "_resent",
        "first_id",
        "jobs",
        "opened",
        "outbox",
        "sent",
        "settled",
        "size",
        "template",
    )

    def __init__(self, outbox: Outbox, template: Template) -> None:
        self.outbox = outbox
        self.template = template
        self.jobs: list[Job] = []
        self.first_id: int | None = None
        self.settled = False
        self.size = 0
        self.opened = time.monotonic()
        self.sent: list[None] = []
        self._pickles: list[bytes] = []
        self._parcel: Parcel | None = None
        self._lengths = array("I")
        self._resent = False
        self._attended = False

    def add(self, pickled: bytes | Parcel) -> Job:
        """One more job; one whose data lie in shared memory travels alone."""
        if not isinstance(pickled, bytes):
            self._parcel, pickled = pickled, pickled.head
        jobs, size = self.jobs, len(pickled)
        job = self.template.job(self, len(jobs))
        jobs.append(job)
        self._pickles.append(pickled)
        self._lengths.append(size)
        self.size += size
        return job

    @property
    def full(self) -> bool:
        """True when it should leave."""
        return len(self.jobs) >= MAX_JOBS or self.size >= MAX_BYTES or self.template.alone or self._parcel is not None

    def post(self) -> None:
        """Hand it over to the daemon."""
        outbox, template = self.outbox, self.template
        if template.on_settled is not None:
            self._attend()
        try:
            outbox.upload(template.packed)
            if len(self._pickles) > 1:
                self._pickles = [b"".join(self._pickles)]
            payload: Sequence[Frame] = self._pickles
            segment = None
            if self._parcel is not None:
                outbox.connection.connect()
                if not outbox.sharing.on:  # it is another daemon by now
                    self._unpack(self._parcel)
                payload = self._pickles
            if self._parcel is not None:
                segment = self._parcel.segment.number
                payload = (*payload, *outbox.sharing.enclosed(self._parcel.segment))
            params = template.params(_little(self._lengths).tobytes(), segment)
            outbox.connection.send("submit", params, payload, self, self.sent)
        finally:
            if not self.sent:
                self._release()

    def _attend(self) -> None:
        """Have the pump receive for it."""
        if not self._attended:
            self._attended = True
            self.outbox.connection.pump.attend()

    def _release(self) -> None:
        if self._attended:
            self._attended = False
            self.outbox.connection.pump.release()

    # --- the completion ---------------------------------------------------------------------------------------------

    def part(self, result: dict[str, Any], payload: Sequence[Frame]) -> None:
        """Ids, or results of some of the jobs."""
        self._pickles = self._pickles[:0]
        if "jobs" in result:
            self.first_id = result["jobs"][0]["id"]
            self.settled = True
            return
        try:
            first, count = result["first"], result["count"]
            self.first_id = result["id"] - first
            jobs = self.jobs[first : first + count]
            error = result.get("error")
            if "segment" in result:
                self._unload(jobs[0], result["segment"], payload)
            elif error is None:
                _deal(jobs, result["lengths"], payload[0])
                if len(payload[0]) >= LARGE:
                    self.outbox.is_large(self.template)
            else:
                for job in jobs:
                    job.settled = (Held.VERDICT, error)
        except (KeyError, IndexError, TypeError, ValueError) as why:
            raise MalformedMessage(f"the daemon sent results that make no sense: {why!r}") from why
        self.settled = True
        self._report(jobs)

    def _unload(self, job: Job, segment: int, payload: Sequence[Frame]) -> None:
        """The value of a job lies in shared memory."""
        if job.settled is not None:
            return  # told twice
        sharing = self.outbox.sharing
        try:
            job.settled = (Held.PARCEL, sharing.arrived(segment, payload))
        except (OSError, KeyError) as why:
            error = ResultNotPackable(
                f"the job's value lies in shared memory that can't be had here: {why}",
                hint="are there descriptors and address space left? see `ulimit -a`",
            )
            job.settled = (Held.LOST, error)
        sharing.handed_over(segment)

    def finish(self, result: dict[str, Any], payload: Sequence[Frame]) -> None:
        """The last results."""
        self.part(result, payload)
        self._close(lambda: InternalError("the daemon answered without this job's result"))

    def fail(self, error: StokerError) -> None:
        """The daemon refused, or went away."""
        if isinstance(error, UnknownFunction) and self.template.packed.blob is not None and not self._resent:
            self._resent = True
            self.outbox.upload_again(self.template.packed)
            self.outbox.repost(self)
            return
        if isinstance(error, QueueFull) and self.template.block:
            if not never_fits(error, len(self.jobs), self.size):
                self.outbox.await_room(self)
                return
            if len(self.jobs) > 1:
                second = self._split()
                self.outbox.await_room(self)
                self.outbox.await_room(second)
                return
        if self._parcel is not None and self._travels_otherwise(error, self._parcel):
            return
        if isinstance(error, UnknownFunction):
            error = self.outbox.refusal(self.template.packed) or error
        self._close(lambda: type(error)(error.message, hint=error.hint, data=error.data))

    def outlives(self, error: StokerError) -> bool:
        """Whether its jobs go on after this error: they are on disk, and the daemon went away."""
        return self.first_id is not None and self.template.options.get("durable") is True and isinstance(error, ABSENT)

    def _travels_otherwise(self, error: StokerError, parcel: Parcel) -> bool:
        """What the daemon would not take from shared memory is sent again; False where that is not why it refused."""
        sharing = self.outbox.sharing
        if isinstance(error, UnknownSegment) and not self._resent:
            self._resent = True
            sharing.untell(parcel.segment)
        elif isinstance(error, NoSharedMemory | UnknownSegment):
            sharing.pause(parcel.segment)
            self._unpack(parcel)
        else:
            if not isinstance(error, ConnectionFailed):
                parcel.segment.free()  # nobody else has it
            return False
        self.outbox.repost(self)
        return True

    def _unpack(self, parcel: Parcel) -> None:
        """Go by the socket after all."""
        pickled = parcel.unpacked()
        self._parcel, self._pickles, self._lengths = None, [pickled], array("I", (len(pickled),))
        self.size = len(pickled)

    def _split(self) -> Batch:
        """Give the second half of its jobs to a batch of their own: together they are more than a queue ever holds."""
        half = len(self.jobs) // 2
        pickles = b"".join(self._pickles)
        at = sum(self._lengths[:half])
        second = Batch(self.outbox, self.template)
        second.jobs, self.jobs = self.jobs[half:], self.jobs[:half]
        second._lengths, self._lengths = self._lengths[half:], self._lengths[:half]
        second._pickles, self._pickles = [pickles[at:]], [pickles[:at]]
        second.size, self.size = len(pickles) - at, at
        for row, job in enumerate(second.jobs):
            job.move(second, row)
        return second

    def _close(self, error: Callable[[], StokerError]) -> None:
        unanswered = [job for job in self.jobs if job.settled is None]
        for job in unanswered:
            job.settled = (Held.LOST, error())
        self.settled = True
        if unanswered:
            self._report(unanswered)
        self._release()
        # the jobs know their batch: let go of them, or only the garbage collector could
        self.jobs = []
        self._pickles = []
        self._parcel = None

    def _report(self, jobs: Sequence[Job]) -> None:
        if self.template.on_settled is not None:
            self.outbox.connection.pump.call_soon(self.template.on_settled, jobs)


def never_fits(error: QueueFull, jobs: int, size: int) -> bool:
    """Whether what was refused is more than the queue holds even when it is empty.

    Args:
        error: the refusal; its data has the limit, and ``bytes`` where the limit is one of bytes.
        jobs: how many jobs were refused together.
        size: bytes of their arguments.
    """
    limit = error.data.get("limit")
    return isinstance(limit, int) and (size if "bytes" in error.data else jobs) > limit


class _Seeking:
    """The completion of asking for room for a batch."""

    def __init__(self, outbox: Outbox, batch: Batch) -> None:
        self._outbox, self._batch = outbox, batch
        self.settled = False

    def part(self, result: dict[str, Any], payload: Sequence[Frame]) -> None:
        """There are none."""

    def finish(self, result: dict[str, Any], payload: Sequence[Frame]) -> None:  # noqa: ARG002 - as every completion
        """There is room."""
        self._end(None)

    def fail(self, error: StokerError) -> None:
        """Nobody can tell any more."""
        self._end(error)

    def _end(self, error: StokerError | None) -> None:
        if not self.settled:
            self.settled = True
            self._outbox.found_room(self, self._batch, error)


class Outbox:
    """One connection's way out for jobs: the batch that is being gathered, and what has been uploaded.

    Args:
        connection: jobs leave by it; its waits send what is gathered first.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._open: Batch | None = None
        self._refused: deque[_Seeking] = deque()
        self._uploaded: dict[str, tuple[int, Exchange]] = {}
        self._sharing: Sharing | None = None
        connection.gathered = self

    @property
    def sharing(self) -> Sharing:
        """Its part in shared memory."""
        if self._sharing is None:
            from stoker.sharing import Sharing

            self._sharing = Sharing(self.connection)
        return self._sharing

    def pack(self, template: Template, value: object) -> bytes | Parcel:
        """What a job is called with, ready for :meth:`submit`.

        Raises:
            CannotPack: it cannot be pickled.
        """
        sharing = self._sharing
        if sharing is not None and template.shares and sharing.on:
            return sharing.pack(value)
        packed = pack_value(value)
        if len(packed) >= LARGE:
            with self.connection.lock:
                self.is_large(template)
        return packed

    def is_large(self, template: Template) -> None:
        """Something large has travelled with a message. Called with the connection's lock held."""
        if template.shares and self.connection.direct:
            self.sharing.want()

    def submit(self, template: Template, pickled: bytes | Parcel) -> Job:
        """Send a job, now or with others soon.

        Raises:
            ConnectionFailed: it could not be sent and is not going to be.
        """
        if self._refused:
            self._stand_in_line()
        with self.connection.lock:
            batch = self._open
            if batch is not None and (batch.template is not template or batch.sent or not isinstance(pickled, bytes)):
                self.flush()
                batch = None
            if batch is None:
                return self._begin(template, pickled)
            job = batch.add(pickled)
            if len(batch.jobs) >= MAX_JOBS or batch.size >= MAX_BYTES:  # of one that is gathered, nothing else fills it
                self.flush()
            return job

    def _begin(self, template: Template, pickled: bytes | Parcel) -> Job:
        batch = Batch(self, template)
        job = batch.add(pickled)
        self._open = batch
        if self.connection.session.outstanding:
            self.connection.take_in()
        if batch.full or not self.connection.session.outstanding:
            self._open = None
            batch.post()
        else:
            self.connection.pump.flush_soon()
        return job

    def await_room(self, batch: Batch) -> None:
        """The queue is full: send the batch again when the daemon says that there is room.

        Nothing new is gathered meanwhile: a program that submits faster than the pool works waits, and does not grow.
        """
        params = {
            "pool": batch.template.options.get("pool", "default"),
            "jobs": len(batch.jobs),
            "bytes": batch.size,
        }
        seeking = _Seeking(self, batch)
        self._refused.append(seeking)
        self.connection.pump.attend()  # somebody has to hear of it, whether anybody waits or not
        try:
            self.connection.send("room", params, (), seeking)
        except StokerError as why:
            seeking.fail(why)

    def _stand_in_line(self) -> None:
        """Wait until what was refused has been sent again; not in the pump's thread, which has to hear of it."""
        while not self.connection.pump.is_current():
            with self.connection.lock:
                first = self._refused[0] if self._refused else None
            if first is None:
                return
            self.connection.wait(first)

    def found_room(self, seeking: _Seeking, batch: Batch, error: StokerError | None) -> None:
        """There is room for a batch, or there never will be."""
        self._refused.remove(seeking)
        self.connection.pump.release()
        if error is None:
            self.repost(batch)
        else:
            batch.fail(error)

    @property
    def opened(self) -> float | None:
        """``time.monotonic()`` at which the batch was begun that is being gathered; None: there is none."""
        return None if self._open is None else self._open.opened

    def flush(self) -> None:
        """Send what is gathered; should that fail, its jobs do."""
        batch = self._open
        if batch is None:
            return
        try:
            if not batch.sent:
                batch.post()
        except StokerError as why:
            batch.fail(why)
        # not in a finally: a Ctrl-C leaves it open, and ``sent`` tells whether it left
        self._open = None

    def repost(self, batch: Batch) -> None:
        """Send a batch once more."""
        try:
            batch.post()
        except StokerError as why:
            batch.fail(why)

    def upload(self, packed: Packed) -> None:
        """Hand over a function that travels by value, once per session; the answer is not waited for."""
        if packed.blob is None:
            return
        self.connection.connect()
        generation, _ = self._uploaded.get(packed.function, (0, None))
        if generation != self.connection.generation:
            upload = Exchange()
            self._uploaded[packed.function] = (self.connection.generation, upload)
            params = {"function": packed.function, "name": packed.name}
            self.connection.send("upload", params, (packed.blob,), upload)

    def upload_again(self, packed: Packed) -> None:
        """The daemon does not have this function any more."""
        self._uploaded.pop(packed.function, None)

    def refusal(self, packed: Packed) -> StokerError | None:
        """Why the daemon would not take this function."""
        _, upload = self._uploaded.get(packed.function, (0, None))
        return upload.error if upload is not None else None

    def let_go(self) -> None:
        """The connection is closed: no memory is shared any more, but for what has views."""
        if self._sharing is not None:
            self._sharing.drop()

    def drop(self) -> None:
        """In a forked child: what was gathered is the parent's to send."""
        if self._sharing is not None:
            self._sharing.drop()
        batch, self._open = self._open, None
        if batch is not None:
            batch.fail(ConnectionClosed("this job belongs to the parent process", hint="submit it again in this one"))


def _deal(jobs: list[Job], lengths: bytes, data: Frame) -> None:
    """Give each job its slice of ``data``."""
    marks = array("I")
    marks.frombytes(lengths)
    ends = _little(marks)
    if len(ends) != len(jobs):
        raise ValueError(f"{len(ends)} lengths for {len(jobs)} jobs")
    if len(ends) == 1 and len(data) == ends[0]:
        jobs[0].settled = (Held.PICKLED, data)
        return
    start = 0
    if isinstance(data, bytes) and max(ends, default=0) < LARGE:  # results of many short jobs: nearly always
        pickled = Held.PICKLED
        for job, size in zip(jobs, ends, strict=True):
            end = start + size
            job.settled = (pickled, data[start:end])
            start = end
    else:
        view = memoryview(data)
        for job, mark in zip(jobs, ends, strict=True):
            end = start + (mark & ~_ERROR_BIT)
            held: Frame = view[start:end] if end - start > LARGE else bytes(view[start:end])
            job.settled = (Held.ERROR if mark & _ERROR_BIT else Held.PICKLED, held)
            start = end
    if start != len(data):
        raise ValueError(f"lengths of {start} bytes for {len(data)}")


def _little(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers
