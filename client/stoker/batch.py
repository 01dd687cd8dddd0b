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
from typing import Any

from stoker.comeback import ABSENT
from stoker.connection import Connection
from stoker.errors import ConnectionClosed, InternalError, MalformedMessage, QueueFull, StokerError, UnknownFunction
from stoker.functions import Packed
from stoker.job import Held, Job
from stoker.protocol.codec import Frame
from stoker.session import Exchange

MAX_JOBS = 256
"""Jobs in one batch: past this, the cost of a message is no longer seen in the cost of a job."""

MAX_BYTES = 256 * 1024
"""Bytes of arguments in one batch."""

LARGE = 64 * 1024
"""Bytes from which a value is kept as a view of what arrived, rather than as a copy."""

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

    __slots__ = ("alone", "block", "early", "job", "on_settled", "options", "packed", "shape")

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
        self.packed = packed
        self.shape = shape
        self.options = {"name": packed.name, **(options or {})}
        self.early = early
        self.job = job
        self.on_settled = on_settled

    def params(self, lengths: bytes) -> dict[str, Any]:
        """The parameters of the submit that sends jobs with arguments of these lengths."""
        work = {"function": self.packed.function, "shape": self.shape, "lengths": lengths}
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
        self._lengths = array("I")
        self._resent = False
        self._attended = False

    def add(self, pickled: bytes) -> Job:
        """One more job."""
        job = self.template.job(self, len(self.jobs))
        self.jobs.append(job)
        self._pickles.append(pickled)
        self._lengths.append(len(pickled))
        self.size += len(pickled)
        return job

    @property
    def full(self) -> bool:
        """True when it should leave."""
        return len(self.jobs) >= MAX_JOBS or self.size >= MAX_BYTES or self.template.alone

    def post(self) -> None:
        """Hand it over to the daemon."""
        outbox, template = self.outbox, self.template
        if template.on_settled is not None:
            self._attend()
        try:
            outbox.upload(template.packed)
            if len(self._pickles) > 1:
                self._pickles = [b"".join(self._pickles)]
            params = template.params(_little(self._lengths).tobytes())
            outbox.connection.send("submit", params, self._pickles, self, self.sent)
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
            if error is None:
                _deal(jobs, result["lengths"], payload[0])
            else:
                for job in jobs:
                    job.settled = (Held.VERDICT, error)
        except (KeyError, IndexError, TypeError, ValueError) as why:
            raise MalformedMessage(f"the daemon sent results that make no sense: {why!r}") from why
        self.settled = True
        self._report(jobs)

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
        if isinstance(error, UnknownFunction):
            error = self.outbox.refusal(self.template.packed) or error
        self._close(lambda: type(error)(error.message, hint=error.hint, data=error.data))

    def outlives(self, error: StokerError) -> bool:
        """Whether its jobs go on after this error: they are on disk, and the daemon went away."""
        return self.first_id is not None and self.template.options.get("durable") is True and isinstance(error, ABSENT)

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
        connection.gathered = self

    def submit(self, template: Template, pickled: bytes) -> Job:
        """Send a job, now or with others soon.

        Raises:
            ConnectionFailed: it could not be sent and is not going to be.
        """
        if self._refused:
            self._stand_in_line()
        with self.connection.lock:
            batch = self._open
            if batch is not None and (batch.template is not template or batch.sent):
                self.flush()
                batch = None
            if batch is None:
                return self._begin(template, pickled)
            job = batch.add(pickled)
            if batch.full:
                self.flush()
            return job

    def _begin(self, template: Template, pickled: bytes) -> Job:
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

    def drop(self) -> None:
        """In a forked child: what was gathered is the parent's to send."""
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
    view = memoryview(data)
    start = 0
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
