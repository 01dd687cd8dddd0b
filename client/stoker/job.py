"""A job as its caller sees it.

A :class:`Job` is one row of a :class:`~stoker.batch.Batch`, whose results come by themselves; a :class:`KeptJob` is
known by its id, and the daemon keeps its result until it is asked for.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from stoker import lending
from stoker.errors import DeadlineExceeded, ResultNotPackable, StokerError
from stoker.protocol.codec import Frame, unpack

if TYPE_CHECKING:
    from stoker.batch import Batch
    from stoker.connection import Connection
    from stoker.protocol.models import JobInfo


class Held(IntEnum):
    """What a settled job holds."""

    PARCEL = 0
    """The value lies in shared memory."""
    PICKLED = 1
    """The pickled value."""
    ERROR = 2
    """A MessagePacked error map."""
    VERDICT = 3
    """An error map."""
    LOST = 4
    """A StokerError of this side: there is no answer."""
    VALUE = 5
    RAISED = 6
    """The exception, rebuilt."""


_PICKLED, _VALUE = Held.PICKLED, Held.VALUE
"""For the way that most results take: a member of an enumeration is not found as quickly as a global."""

Outcome = tuple[Held, Any]


class Job:
    """A submitted call. Made by :meth:`stoker.Client.submit`."""

    __slots__ = ("__weakref__", "_batch", "_row", "settled")

    def __init__(self, batch: Batch, row: int) -> None:
        self._batch = batch
        self._row = row
        self.settled: Outcome | None = None
        """For the driver: what came, still packed; None while nothing did."""

    @property
    def id(self) -> int:
        """The job's number in the daemon; waits for it, a few milliseconds at most.

        Raises:
            StokerError: the daemon did not accept the job.
        """
        batch = self._batch
        while batch.first_id is None:
            batch.outbox.connection.wait(batch)
            if batch is self._batch:
                break
            batch = self._batch  # it travels with another one now
        if batch.first_id is None:
            raise self.exception() or StokerError("the job was not accepted")
        return batch.first_id + self._row

    def move(self, batch: Batch, row: int) -> None:
        """For the driver: it travels with another batch."""
        self._batch, self._row = batch, row

    def done(self) -> bool:
        """True once it has ended, in whichever way."""
        if self.settled is None:
            self._batch.outbox.connection.progress()
        return self.settled is not None

    def result(self, timeout: float | None = None) -> Any:
        """The value that the function returned; waits for it.

        Args:
            timeout: seconds; None: for ever.

        Raises:
            DeadlineExceeded: it has not ended in time (also a TimeoutError); it goes on.
            DaemonLost: the daemon went away.
            WorkerDied, JobTimedOut, JobCancelled, FunctionNotFound: it ended without a value.
            Exception: whatever the function raised, with the worker's traceback as ``__cause__``.
        """
        kind, held = self._outcome(timeout)
        if kind is _VALUE:
            return held
        try:
            raise held
        finally:
            held = None  # the exception's traceback refers to this frame

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The exception that :meth:`result` would raise; None where there is a value.

        Args:
            timeout: seconds; None: for ever.

        Raises:
            DeadlineExceeded: it has not ended in time.
        """
        kind, held = self._outcome(timeout)
        return held if kind is Held.RAISED else None

    def cancel(self) -> bool:
        """Cancel it, even while it runs; returns when it has ended.

        Returns:
            False if it had ended before.
        """
        if self.settled is not None:
            return False
        number = self.id
        result, _ = self._batch.outbox.connection.call("cancel", {"ids": [number]})
        return number in result.get("cancelled", ())

    def status(self) -> JobInfo:
        """What the daemon knows about it now.

        Raises:
            NoSuchJob: its record is not kept any more.
        """
        return _info(self._batch.outbox.connection, self.id)

    def _outcome(self, timeout: float | None) -> Outcome:
        if self.settled is None and not lending.wait(self._batch.outbox.connection, self, timeout):
            raise DeadlineExceeded("the job has not ended in time; it goes on", hint="wait longer, or cancel it")
        outcome = self.settled
        assert outcome is not None  # noqa: S101 - wait() says so
        if outcome[0] is _PICKLED:  # most are
            outcome = self.settled = _unpickle(pickle.loads, outcome[1])
            return outcome
        if outcome[0] is Held.LOST and self.outlives and self._batch.template.on_settled is None:
            # else it is not for this thread to wait: of a job that is watched, whoever watches it decides
            outcome = self.settled = self._reclaim(timeout)
        if outcome[0] < Held.VALUE:
            outcome = self.settled = _unpack(outcome)
        return outcome

    @property
    def outlives(self) -> bool:
        """For the driver: it is durable, and the daemon went away before it ended: the next one knows."""
        settled, batch = self.settled, self._batch
        if settled is None or settled[0] is not Held.LOST:
            return False
        return batch.outlives(settled[1]) and bool(batch.outbox.connection.patience())

    def _reclaim(self, timeout: float | None) -> Outcome:
        """What became of a durable job whose stream of results ended with the daemon."""
        return KeptJob(self._batch.outbox.connection, self.id).outcome(timeout)

    def __repr__(self) -> str:
        number = self._batch.first_id
        state = "pending" if self.settled is None else "ended"
        return f"<Job {'?' if number is None else number + self._row} {self._batch.template.packed.name} {state}>"


class KeptJob:
    """A job known by its id. Made by :meth:`stoker.Client.job`, ``run``, ``call`` and ``options(detach=True)``.

    Args:
        connection: to the daemon that has it.
        id: its number.
        name: for people.
    """

    __slots__ = ("__weakref__", "_connection", "_outcome", "id", "name")

    def __init__(self, connection: Connection, id: int, name: str = "") -> None:  # noqa: A002 - the word of the wire
        self._connection = connection
        self._outcome: Outcome | None = None
        self.id = id
        self.name = name

    def done(self) -> bool:
        """True once it has ended, in whichever way."""
        return self._outcome is not None or self.status().ended is not None

    def result(self, timeout: float | None = None) -> Any:
        """The job's value; for a command its exit code, 0. Waits for it.

        Args:
            timeout: seconds; None: for ever.

        Raises:
            as :meth:`Job.result`; NoSuchJob when its record is not kept any more.
        """
        kind, held = self.outcome(timeout)
        if kind is Held.VALUE:
            return held
        try:
            raise held
        finally:
            held = None

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The exception that :meth:`result` would raise; None where there is a value."""
        kind, held = self.outcome(timeout)
        return held if kind is Held.RAISED else None

    def cancel(self) -> bool:
        """Cancel it, even while it runs; returns when it has ended. False if it had ended before."""
        result, _ = self._connection.call("cancel", {"ids": [self.id]})
        return self.id in result.get("cancelled", ())

    def status(self) -> JobInfo:
        """What the daemon knows about it now."""
        return _info(self._connection, self.id)

    def outcome(self, timeout: float | None = None) -> Outcome:
        """For the driver: as :meth:`result`, without raising what the job raised."""
        if self._outcome is None:
            params: dict[str, Any] = {"id": self.id} if timeout is None else {"id": self.id, "timeout": timeout}
            # the daemon keeps the time; should it be stuck, this side gives up a little later
            limit = None if timeout is None else timeout + 5
            result, payload = self._ask(params, limit)
            self._outcome = _of_info(result["job"], payload)
        return self._outcome

    def _ask(self, params: dict[str, Any], limit: float | None) -> tuple[dict[str, Any], Sequence[Frame]]:
        if not lending.in_job() or self.status().ended is not None:
            return self._connection.call("result", params, timeout=limit)
        with lending.lent(self._connection):
            return self._connection.call("result", params, timeout=limit)

    def __repr__(self) -> str:
        return f"<KeptJob {self.id} {self.name}>"


def _info(connection: Connection, number: int) -> JobInfo:
    from stoker.protocol.requests import JobsReply
    from stoker.protocol.typed import decode

    result, _ = connection.call("jobs", {"ids": [number]})
    reply: JobsReply = decode(result, JobsReply, what="jobs")
    return reply.jobs[0]


def _of_info(job: dict[str, Any], payload: Any) -> Outcome:
    if job.get("error") is not None:
        # of a pickled job that failed, the payload is the same error with the exception itself
        whole = job.get("payload") is not None
        kind, error = _unpack((Held.ERROR, payload[job["payload"]]) if whole else (Held.VERDICT, job["error"]))
        if job.get("exit_code") is not None and isinstance(error, StokerError):
            error.data.setdefault("exit_code", job["exit_code"])
        return kind, error
    if job.get("payload") is not None:
        return _unpack((Held.PICKLED, payload[job["payload"]]))
    return Held.VALUE, job["value"] if "value" in job else job.get("exit_code")


def _unpack(outcome: Outcome) -> Outcome:
    kind, held = outcome
    if kind is Held.PICKLED:
        return _unpickle(pickle.loads, held)
    if kind is Held.PARCEL:
        return _unpickle(type(held).load, held)
    if kind is Held.LOST:
        return Held.RAISED, held
    from stoker.remote import rebuild

    return Held.RAISED, rebuild(unpack(held) if kind is Held.ERROR else held)


def _unpickle(load: Callable[[Any], Any], held: Any) -> Outcome:
    try:
        return _VALUE, load(held)  # it comes from this user's own worker
    except Exception as why:
        error = ResultNotPackable(
            f"the job's value arrived and cannot be unpickled here: {type(why).__name__}: {why}",
            hint="can this program import the value's class?",
        )
        error.__cause__ = why
        return Held.RAISED, error
