"""What is durable of jobs: written through the store as it happens, and read back when the daemon starts again.

A batch is one row with everything it was submitted with. What happens to its jobs are further rows, a whole run of jobs
each: handed over, ended, tried again. At the start they are replayed. So what was queued is queued, what had ended has
ended, with values and output, and what was handed over and has not ended was lost with the daemon.

The order is: accepted on disk, then acknowledged; handed over on disk, then run; ended on disk, then told. Where the
disk refuses, new durable jobs are refused, and what has ended is told without waiting for it: it will be written as
soon as the disk takes it.
"""

from __future__ import annotations

import itertools
import uuid
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from stoker.errors import LostWithDaemon, Unavailable
from stoker.protocol import codec, typed
from stoker.protocol.models import AttemptInfo, Environment, ErrorInfo
from stoker.protocol.states import JobEvent, JobState
from stokerd.output import Kept as KeptOutput
from stokerd.output import Output
from stokerd.pool import messages
from stokerd.pool.batch import QUEUED, RUNNING, Batch, Function
from stokerd.pool.claims import Claims
from stokerd.pool.options import Options
from stokerd.promise import Promise
from stokerd.store.records import Accepted, Kept, Move
from stokerd.store.store import Store

UNREADABLE_KEPT = 86_400.0
"""Seconds for which it is remembered that a record could not be read."""
IDS_AHEAD, IDS_AHEAD_FACTOR = 1000, 8
"""Ids are reserved so many, or so many times as are given out at once, before they are needed: that is how many may be
left out by a restart.
"""
CODE, MET, STARTED, RETURNED, ENDED, AGAIN, RETRIED = "code", "met", "started", "returned", "ended", "again", "retried"
"""What a move tells: the code of an uploaded function; jobs that it came after have ended; handed over; back without
having been begun; ended; an attempt failed and there is another; retried by hand."""


class Ledger:
    """See the module.

    Args:
        store: where it is written; None: nothing can be durable.
        claims: where workers say what they have begun with; None as well.
    """

    def __init__(self, store: Store | None = None, claims: Claims | None = None) -> None:
        self._store, self._claims = store, claims
        self._reserved = 0
        self._starting: set[Promise[None]] = set()
        """Of jobs that are handed over, and of which the disk does not know yet."""
        self._boot = uuid.uuid4().hex[:8]
        self._last: Promise[None] | None = None
        """Settles when all that was told so far is on disk."""

    @property
    def keeps(self) -> bool:
        """Whether anything is."""
        return self._store is not None

    # --- the workers' own word

    def claim_path(self, worker: int) -> str:
        """The file for a worker to claim jobs in; empty: none."""
        return "" if self._claims is None else self._claims.path(self._worker(worker))

    def worker_gone(self, worker: int) -> None:
        """What it had begun with has been told: its own word goes when that is on disk, and not before."""
        claims, last = self._claims, self._last
        if claims is None:
            return
        if last is None:
            claims.forget(self._worker(worker))
        else:
            last.when_settled(lambda done: claims.forget(self._worker(worker)) if done.error is None else None)

    def _worker(self, worker: int) -> str:
        return f"{self._boot}-{worker}"

    # --- as it happens

    def check(self, batches: Sequence[Batch]) -> None:
        """See whether these could be kept.

        Raises:
            Unavailable: one of them is to be durable, and nothing can be written.
        """
        if not any(batch.options.durable for batch in batches):
            return
        if self._store is None:
            raise Unavailable(
                "this daemon keeps nothing on disk, so no job can be durable",
                hint="submit it with durable=false, or start the daemon with a state directory",
            )
        if self._store.failing:
            raise Unavailable(
                f"durable jobs can't be accepted now: {self._store.failing}",
                hint="submit it again when that is put right, or with durable=false; what was accepted is not lost",
            )

    def accept(self, batches: Sequence[Batch]) -> Promise[None] | None:
        """Write the durable ones; settles when they are on disk. None where there is nothing to wait for."""
        if self._store is None:
            return None
        kept = [batch for batch in batches if batch.options.durable]
        if not kept:
            return None
        accepted = self._store.accept([_accepted(batch) for batch in kept])
        codes = [
            Move(batch=batch.first_id, first=0, count=0, note=codec.pack([CODE]), data=batch.function.code)
            for batch in kept
            if batch.function is not None
        ]
        if not codes:
            return accepted
        both: Promise[None] = Promise()
        coded = self._store.move(codes)

        def look(_: Promise[None]) -> None:
            if accepted.error is not None:
                both.reject(accepted.error)
            elif accepted.settled and coded.settled:
                both.resolve(None)

        accepted.when_settled(look)
        coded.when_settled(look)
        return both

    def started(self, batch: Batch, first: int, count: int, worker: int, seq: int) -> Promise[None] | None:
        """These are handed to a worker under seqs from ``seq`` on; they must not be run before this is settled."""
        name = "" if self._claims is None else self._claims.name(self._worker(worker))
        written = self._move(batch, first, count, [STARTED, batch.started[first], batch.attempt(first), name, seq])
        if written is None or written.settled:
            return None
        go: Promise[None] = Promise()
        self._starting.add(go)
        go.when_settled(self._starting.discard)
        written.when_settled(lambda _: go.resolve(None))
        return go

    def stop_waiting(self) -> None:
        """The disk takes nothing: what was accepted is run without it."""
        for go in tuple(self._starting):
            go.resolve(None)

    def met(self, batch: Batch, jobs: list[int]) -> None:
        """These jobs, which it came after, have ended as they had to."""
        self._move(batch, 0, 0, [MET, jobs])

    def returned(self, batch: Batch, first: int, count: int) -> None:
        """The worker has not begun with these, and never will."""
        self._move(batch, first, count, [RETURNED])

    def ended(
        self,
        batch: Batch,
        first: int,
        count: int,
        *,
        event: JobEvent,
        error: ErrorInfo | None,
        lengths: bytes,
        blob: bytes | memoryview,
    ) -> Promise[None] | None:
        """These have ended, alike; they must not be told of before this is settled. None: tell them at once."""
        note = [
            ENDED,
            str(event),
            batch.started[first],
            batch.ended[first],
            batch.attempt(first),
            batch.cpu[first],
            batch.rss[first],
            list(batch.workers.get(first, ())),
            None if error is None else typed.to_map(error),
            lengths,
        ]
        outputs = {
            index: _packed_output(batch.outputs[index])
            for index in range(first, first + count)
            if index in batch.outputs
        }
        data: bytes | memoryview = blob
        if outputs:
            note.append(len(blob))
            data = b"".join((blob, codec.pack(outputs)))
        return self._move(batch, first, count, note, data)

    def again(self, batch: Batch, index: int, attempt: AttemptInfo, due: float) -> None:
        """An attempt failed, and the next is due at ``due``, UTC."""
        self._move(batch, index, 1, [AGAIN, typed.to_map(attempt), due, batch.deaths.get(index, 0)])

    def retried(self, batch: Batch, index: int, attempt: AttemptInfo) -> None:
        """It is queued again by hand."""
        self._move(batch, index, 1, [RETRIED, typed.to_map(attempt)])

    def forget(self, batch: Batch) -> None:
        """Its record is no longer kept."""
        if batch.options.durable and self._store is not None:
            self._store.drop([batch.first_id])

    def _move(
        self, batch: Batch, first: int, count: int, note: list[Any], data: bytes | memoryview = b""
    ) -> Promise[None] | None:
        if self._store is None or not batch.options.durable:
            return None
        written = self._store.move(
            [Move(batch=batch.first_id, first=first, count=count, note=codec.pack(note), data=data)]
        )
        self._last = written
        return None if self._store.failing else written

    # --- after a start

    def give_out(self, next_id: int, count: int) -> None:
        """Ids below ``next_id`` are in use, ``count`` of them newly: no later daemon gives them out again.

        Of jobs that are not durable nothing else is kept; whoever still has such an id must not find another's job.
        """
        if self._store is None or next_id <= self._reserved:
            return
        self._reserved = next_id + max(IDS_AHEAD, IDS_AHEAD_FACTOR * count)
        self._store.reserve(self._reserved)

    @property
    def next_id(self) -> int:
        """The first id that was never given out."""
        return self._store.next_id if self._store is not None else 1

    def recover(self) -> Iterator[Batch]:
        """Every batch that is kept, oldest first, as it stood when the last daemon ended.

        Jobs that a worker had begun with, or may have, are still *running* in it; see :func:`lost`.
        """
        for kept in self._store.load() if self._store is not None else ():
            handed: dict[int, tuple[str, int]] = {}
            try:
                batch = _recovered(kept, handed)
            except Exception as why:  # one record that can't be read must not keep the daemon from starting
                batch = _unreadable(kept, why)
            for index in list(lost(batch)):
                if self._has_not_begun(*handed.get(index, ("", 0))):
                    batch.move(index, 1, JobEvent.RETURN)
            yield batch
        if self._claims is not None:
            self._claims.clear()

    def _has_not_begun(self, name: str, seq: int) -> bool:
        begun = self._claims.begun(name) if self._claims is not None and name else None
        return begun is not None and begun < seq


def lost(batch: Batch) -> Iterator[int]:
    """Indexes of the jobs that were lost with the daemon."""
    return (index for index in range(batch.count) if batch.states[index] == RUNNING)


def lost_error(batch: Batch, index: int) -> LostWithDaemon:
    """What ended the attempt of a job that was lost: the reason of its end, or of another attempt."""
    job, message = batch.first_id + index, f"the daemon died while job {batch.first_id + index} ran"
    if batch.options.requeue or batch.options.retries:
        return LostWithDaemon(message, hint=f"`stoker retry {job}` runs it again", data={"id": job})
    return LostWithDaemon(
        f"{message}, and the job was not to be run twice",
        hint=f"submit it with on_crash=requeue where running it twice does no harm; `stoker retry {job}` runs it again",
        data={"id": job},
    )


def _accepted(batch: Batch) -> Accepted:
    options = batch.options
    head = {
        "name": batch.name,
        "pool": batch.pool,
        "session": batch.session,
        "form": batch.form,
        "template": batch.template,
        "environment": typed.to_map(batch.environment),
        "priority": batch.priority,
        "timeout": batch.timeout,
        "keep": batch.keep,
        "submitted": batch.submitted,
        "function": None if batch.function is None else batch.function.name,
        "due": batch.due.get(0),
        "options": {name: getattr(options, name) for name in _OPTIONS},
    }
    return Accepted(
        first_id=batch.first_id,
        count=batch.count,
        key=options.key,
        head=codec.pack(head),
        lengths=batch.lengths.tobytes(),
        payload=batch.blob,
    )


_OPTIONS = tuple(Options.__dataclass_fields__)


def _recovered(kept: Kept, handed: dict[int, tuple[str, int]]) -> Batch:
    """The batch; ``handed`` gets who was handed the jobs that are running in it, and under which seq."""
    accepted = kept.accepted
    head = codec.unpack(accepted.head, limit=len(accepted.head))
    known = {name: value for name, value in head["options"].items() if name in _OPTIONS}
    known |= {name: tuple(known[name]) for name in ("tags", "after", "retry_on")}
    lengths = array("I")
    lengths.frombytes(accepted.lengths or bytes(4 * accepted.count))
    batch = Batch(
        name=head["name"],
        pool=head["pool"],
        session=f"~{head['session']}",  # which has nothing to do with one of the same name in this boot
        form=head["form"],
        template=head["template"],
        lengths=lengths,
        blob=accepted.payload,
        environment=typed.decode(head["environment"], Environment, what="environment"),
        function=None if head["function"] is None else Function(head["template"], b"", head["function"]),
        priority=head["priority"],
        timeout=head["timeout"],
        keep=head["keep"],
        options=Options(**known),
    )
    batch.first_id = accepted.first_id
    batch.submitted = head["submitted"]
    if head["due"] is not None:
        batch.due[0] = head["due"]
    for move in kept.moves:
        if move.note:  # an empty one reserved ids, and the last of them has become this batch's
            _replay(batch, move, handed)
    if kept.damaged:
        _mark_damaged(batch, kept.damaged)
    return batch


def _unreadable(kept: Kept, why: Exception) -> Batch:
    """What is left to say of a batch whose record makes no sense: that it was there, and that nobody knows its end."""
    batch = Batch(
        name="(unreadable)",
        pool="default",
        session="",
        form=messages.NAMED,
        template=b"",
        lengths=array("I", bytes(4 * kept.accepted.count)),
        blob=b"",
        environment=Environment(executable="/", cwd="/"),
        keep=UNREADABLE_KEPT,
        options=Options(key=kept.accepted.key, durable=True),
    )
    batch.first_id = kept.accepted.first_id
    _mark_damaged(batch, f"{type(why).__name__}: {why}")
    return batch


def _replay(batch: Batch, move: Move, handed: dict[int, tuple[str, int]]) -> None:
    what, *told = codec.unpack(move.note, limit=len(move.note))
    first, count = move.first, move.count
    if what == CODE:
        assert batch.function is not None  # noqa: S101 - it is the code of what is named
        batch.function.code = bytes(move.data)
    elif what == MET:
        left = tuple(job for job in batch.options.after if job not in told[0])
        batch.options = replace(batch.options, after=left)
    elif what == STARTED:
        started, attempt, name, seq = told
        for index in range(first, first + count):
            handed[index] = (name, seq + index - first)
            if batch.states[index] == QUEUED:
                batch.move(index, 1, JobEvent.DISPATCH)
            batch.started[index] = started
            _count_attempt(batch, index, attempt)
    elif what == RETURNED:
        for index in range(first, first + count):
            if batch.states[index] == RUNNING:
                batch.move(index, 1, JobEvent.RETURN)
    elif what == ENDED:
        _replay_end(batch, first, count, told, move.data)
    elif what == AGAIN:
        attempt, due, deaths = told
        _reopen(batch, first)
        batch.remember_attempt(first, typed.decode(attempt, AttemptInfo, what="attempt"))
        batch.due[first] = due
        batch.attempts[first] = attempt["attempt"] + 1
        if deaths:
            batch.deaths[first] = deaths
    elif what == RETRIED:
        _reopen(batch, first)
        batch.remember_attempt(first, typed.decode(told[0], AttemptInfo, what="attempt"))
        batch.attempts[first] = told[0]["attempt"] + 1


def _count_attempt(batch: Batch, index: int, attempt: int) -> None:
    if attempt > 1:
        batch.attempts[index] = attempt


def _reopen(batch: Batch, index: int) -> None:
    """The job is queued again, whatever it was."""
    if batch.states[index] == RUNNING:
        batch.move(index, 1, JobEvent.RETURN)
    elif batch.states[index] != QUEUED:
        batch.move(index, 1, JobEvent.RETRY)
    batch.errors.pop(index, None)
    batch.values.pop(index, None)
    batch.forget_output(index)


def _replay_end(batch: Batch, first: int, count: int, told: list[Any], data: bytes | memoryview) -> None:
    event, started, ended, attempt, cpu, rss, worker, error, packed, *rest = told
    size = rest[0] if rest else len(data)
    blob, outputs = data[:size], data[size:]
    for index in range(first, first + count):
        if batch.states[index] == QUEUED and (JobState.QUEUED, JobEvent(event)) not in _FROM_QUEUE:
            batch.move(index, 1, JobEvent.DISPATCH)
        batch.move(index, 1, JobEvent(event))
        batch.started[index], batch.ended[index] = started, ended
        batch.cpu[index], batch.rss[index] = cpu, rss
        _count_attempt(batch, index, attempt)
        if worker:
            batch.workers[index] = (worker[0], worker[1])
        if error is not None:
            batch.errors[index] = typed.decode(error, ErrorInfo, what="error")
    at = 0
    lengths = array("I", packed)
    if sum(length & messages.LENGTH for length in lengths) != len(blob):
        lengths = array("I")  # they could not be read: no value is another thing than an empty one
    for offset, length in enumerate(lengths):
        part = length & messages.LENGTH
        batch.values[first + offset] = bytes(blob[at : at + part])
        at += part
    if outputs:
        for index, output in codec.unpack(outputs, limit=len(outputs)).items():
            batch.keep_output(int(index), _unpacked_output(output))


_FROM_QUEUE = frozenset({(JobState.QUEUED, JobEvent.CANCEL), (JobState.QUEUED, JobEvent.FAIL)})


def _mark_damaged(batch: Batch, why: str) -> None:
    """What it was called with, or what came of it, can't be read: whatever has not ended fails, and says so."""
    told = ErrorInfo(code="job-failed", message=f"the job's record on disk is damaged: {why}")
    for index in range(batch.count):
        if batch.states[index] in (QUEUED, RUNNING):
            batch.move(index, 1, JobEvent.FAIL)
            batch.ended[index] = batch.submitted
            batch.errors[index] = told


def _packed_output(output: Output) -> list[Any]:
    return list(itertools.chain.from_iterable((kept.head, kept.tail, kept.size) for kept in (output.out, output.err)))


def _unpacked_output(packed: list[Any]) -> Output:
    return Output(KeptOutput(*packed[:3]), KeptOutput(*packed[3:]))
