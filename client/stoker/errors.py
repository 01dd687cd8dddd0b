"""Every way in which Stoker says no: one class and one wire code per kind of failure.

The tree is shared by daemon and client. The daemon raises one of these; the dispatcher turns it into
``{"error": {"code", "message", "hint", "retryable", "data"}}``; the client turns that map back into an
instance of the same class with :func:`from_wire`. A code that this version does not know becomes a plain
:class:`StokerError` that keeps its code, so an old client still shows what a new daemon says.
"""

from __future__ import annotations

from typing import Any, ClassVar

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_FOUND = 4
EXIT_UNREACHABLE = 69
EXIT_CANNOT_CREATE = 73
EXIT_IO = 74
EXIT_BUSY = 75
EXIT_PERMISSION = 77
EXIT_CONFIG = 78


class StokerError(Exception):
    """The root of the tree.

    Args:
        message: what happened and why, one sentence.
        hint: what to do next, one sentence; empty where there is nothing to add.
        data: facts for programs, MessagePack-able values only.
    """

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = EXIT_FAILED

    def __init__(self, message: str = "", *, hint: str = "", data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.data: dict[str, Any] = data or {}

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.hint, self.data)

    @property
    def wire_code(self) -> str:
        """The code on the wire; differs from ``code`` only for a code that this version does not know."""
        return str(self.data.get("unknown_code", self.code)) if type(self) is StokerError else self.code

    def to_wire(self) -> dict[str, Any]:
        """The error as the map that travels in a reply."""
        wire: dict[str, Any] = {"code": self.wire_code, "message": self.message}
        if self.hint:
            wire["hint"] = self.hint
        if self.retryable:
            wire["retryable"] = True
        if self.data:
            wire["data"] = self.data
        return wire


def _rebuild(kind: type[StokerError], message: str, hint: str, data: dict[str, Any]) -> StokerError:
    return kind(message, hint=hint, data=data)


# --- the message was not one that can be acted on -------------------------------------------------------------


class BadRequest(StokerError):
    """The sender's fault: nothing was done, and sending it again changes nothing."""

    code = "bad-request"
    exit_code = EXIT_USAGE


class MalformedMessage(BadRequest):
    """The frames are not a Stoker message: wrong count, not MessagePack, not a map."""

    code = "malformed-message"


class UnsupportedVersion(BadRequest):
    """The message speaks a protocol version that this side does not."""

    code = "unsupported-version"


class UnknownMethod(BadRequest):
    """There is no such method; the hint names the nearest one."""

    code = "unknown-method"


class InvalidParams(BadRequest):
    """A parameter is missing, unknown, of the wrong type or outside its limits."""

    code = "invalid-params"


class BadProfile(BadRequest):
    """A load profile, or a trace in it, can't be followed; ``data`` has the line and the column of what is wrong."""

    code = "bad-profile"


class MessageTooLarge(BadRequest):
    """A message or one of its frames is over the limit."""

    code = "message-too-large"


class CannotPack(BadRequest):
    """A value can be neither MessagePacked nor pickled."""

    code = "cannot-pack"


# --- names -------------------------------------------------------------------------------------------------------


class NotFound(StokerError):
    """Nothing has this name or id."""

    code = "not-found"
    exit_code = EXIT_NOT_FOUND


class NoSuchJob(NotFound):
    """No job has this id, or its record has been pruned."""

    code = "no-such-job"


class NoSuchPool(NotFound):
    """No pool has this name."""

    code = "no-such-pool"


class NoSuchBurner(NotFound):
    """No burner has this name."""

    code = "no-such-burner"


class NoSuchProcess(NotFound):
    """No supervised process has this name."""

    code = "no-such-process"


class NoSuchObject(NotFound):
    """No shared object has this name or id."""

    code = "no-such-object"


class NameTaken(StokerError):
    """The name belongs to something else already."""

    code = "name-taken"


# --- a job did not end with a value --------------------------------------------------------------------------------


class JobError(StokerError):
    """A job ended without a value."""

    code = "job-error"


class JobFailed(JobError):
    """The function raised, and its exception could not be brought over; or a command ended with a code other than 0."""

    code = "job-failed"


class JobCancelled(JobError):
    """The job was cancelled."""

    code = "job-cancelled"


class JobTimedOut(JobError):
    """The job ran longer than its time limit and was ended."""

    code = "job-timed-out"
    exit_code = EXIT_BUSY


class WorkerDied(JobError):
    """The worker died while it ran this job; ``data`` has pid, signal or exit_code, and attempt."""

    code = "worker-died"


class JobQuarantined(JobError):
    """The job has killed as many workers as one job may, and is not tried again."""

    code = "job-quarantined"


class LostWithDaemon(JobError):
    """The daemon died while the job ran, and the job was not to be run twice."""

    code = "lost-with-daemon"


class DependencyFailed(JobError):
    """A job that had to end well first did not, so this one was not run."""

    code = "dependency-failed"


class InitializerFailed(JobError):
    """What the workers of the pool begin with raised, so that none comes up."""

    code = "initializer-failed"


class ResultNotPackable(JobError):
    """The job's value could not be packed to be sent back (as multiprocessing's MaybeEncodingError)."""

    code = "result-not-packable"


class ArgumentsNotReadable(JobError):
    """The arguments arrived and cannot be unpickled in the worker."""

    code = "arguments-not-readable"


class FunctionNotFound(JobError):
    """The function could not be imported, does not exist, or is not callable."""

    code = "function-not-found"


class EnvironmentBroken(JobError):
    """No worker can be started in the job's environment: its interpreter is missing or ends at once."""

    code = "environment-broken"


# --- bounds and time -------------------------------------------------------------------------------------------------


class Busy(StokerError):
    """A bound is reached; the same request may succeed later."""

    code = "busy"
    retryable = True
    exit_code = EXIT_BUSY


class QueueFull(Busy):
    """The queue holds as many jobs or bytes as it may."""

    code = "queue-full"


class TooManyJobs(QueueFull):
    """The session has as many unfinished jobs as one session may."""

    code = "too-many-jobs"


class PoolDraining(Busy):
    """The pool is being drained and takes no new jobs."""

    code = "pool-draining"


class TooManySessions(Busy):
    """As many clients are connected as may be."""

    code = "too-many-sessions"


class TooManyRequests(Busy):
    """The client has as many requests under way as one client may."""

    code = "too-many-requests"


class UnknownFunction(Busy):
    """The function with this hash has not been uploaded, or was forgotten; upload it and submit again."""

    code = "unknown-function"


class NoSharedMemory(Busy):
    """As much memory is shared as may be: large data goes by the socket. Clients do that by themselves."""

    code = "no-shared-memory"


class UnknownSegment(Busy):
    """The daemon does not have the segment of shared memory that is named; clients pass it again by themselves."""

    code = "unknown-segment"


class ShuttingDown(Busy):
    """The daemon is stopping and takes no new work."""

    code = "shutting-down"


class Unavailable(Busy):
    """The system refused what this needs (processes, descriptors, memory, disk); what runs goes on."""

    code = "unavailable"


class DeadlineExceeded(StokerError, TimeoutError):
    """The time allowed for the wait is over; what was waited for goes on."""

    code = "timeout"
    retryable = True
    exit_code = EXIT_BUSY


class ResultTooLarge(StokerError):
    """A value is larger than may be kept or sent."""

    code = "result-too-large"


# --- shared objects --------------------------------------------------------------------------------------------------


class ObjectDropped(NotFound):
    """The shared object was dropped while this waited on it."""

    code = "object-dropped"


class QueueEmpty(Busy):
    """Nothing came into the shared queue in the time allowed."""

    code = "queue-empty"


class NotOwner(StokerError, ValueError, AssertionError, RuntimeError):
    """The lock is not the caller's to release or to wait with.

    It is each of the kinds that ``multiprocessing`` and ``threading`` raise here: ValueError from a Lock,
    AssertionError from an RLock or a Condition, RuntimeError from their namesakes in ``threading``.
    """

    code = "not-owner"


class BrokenBarrier(StokerError):
    """The barrier is broken: a party's time was over, it died, or it aborted or reset the barrier."""

    code = "broken-barrier"


class VersionConflict(StokerError):
    """The dict or list was changed by somebody else meanwhile; nothing was done."""

    code = "version-conflict"
    retryable = True


class OutOfRange(StokerError, IndexError):
    """There is no item at this index."""

    code = "out-of-range"


class ObjectTooLarge(StokerError):
    """A shared object, or an item for it, is larger than may be kept."""

    code = "object-too-large"


class HolderGone(StokerError):
    """The process that waited has ended."""

    code = "holder-gone"


# --- starting and stopping --------------------------------------------------------------------------------------------


class StartFailed(StokerError):
    """What was started did not come up: it ended at once, or its effect was not observed."""

    code = "start-failed"


class StoreUnusable(StokerError):
    """The folder or the file of durable jobs cannot be used: locked, read-only, damaged or of a newer version."""

    code = "store-unusable"
    exit_code = EXIT_CANNOT_CREATE


class StoreFull(StoreUnusable):
    """The disk that holds the durable jobs is full, so the daemon cannot start; another time it may."""

    code = "store-full"
    exit_code = EXIT_IO


class IllegalMove(StokerError):
    """A lifecycle has no such step from the state it is in; nothing was changed."""

    code = "illegal-move"


class PermissionDenied(StokerError):
    """The caller's role, or what the configuration allows anybody, does not include this."""

    code = "permission-denied"
    exit_code = EXIT_PERMISSION


class BadKey(StokerError):
    """A key, or a file of keys, is missing, not one, or readable by others."""

    code = "bad-key"
    exit_code = EXIT_CONFIG


class ConfigError(StokerError):
    """The configuration is not valid; nothing of it was applied.

    The message tells the first problem, ``data["problems"]`` has all of them.
    """

    code = "config-error"
    exit_code = EXIT_CONFIG

    @property
    def further(self) -> list[str]:
        """The problems after the first, for people, one line each."""
        told = self.data.get("problems")
        rest = [each for each in told[1:] if isinstance(each, dict)] if isinstance(told, list) else []
        return [_problem(each, self.data.get("path")) for each in rest]


def _problem(told: dict[str, Any], path: Any) -> str:
    place = ":".join(str(part) for part in (path, told.get("line")) if part)
    hint = f" ({told['hint']})" if told.get("hint") else ""
    return f"{place}: {told.get('key')}: {told.get('message')}{hint}"


class InternalError(StokerError):
    """A bug in the daemon; it is logged there with its traceback."""

    code = "internal-error"


# --- the connection ---------------------------------------------------------------------------------------------------


class ConnectionFailed(StokerError, ConnectionError):
    """The daemon cannot be talked to."""

    code = "connection-failed"
    exit_code = EXIT_UNREACHABLE


class BadEndpoint(ConnectionFailed):
    """The endpoint is not one that can be used: scheme, length, or something else lies at the path."""

    code = "bad-endpoint"
    exit_code = EXIT_USAGE


class EndpointInUse(ConnectionFailed):
    """Another live daemon owns the endpoint."""

    code = "endpoint-in-use"


class CannotListen(ConnectionFailed):
    """The daemon cannot make its socket: a directory is missing, read-only or full."""

    code = "cannot-listen"
    exit_code = EXIT_CANNOT_CREATE


class NobodyListening(ConnectionFailed):
    """No daemon listens at the endpoint."""

    code = "nobody-listening"


class PermissionRefused(ConnectionFailed):
    """The endpoint exists, and this user may not use it."""

    code = "permission-refused"
    exit_code = EXIT_PERMISSION


class HandshakeFailed(ConnectionFailed):
    """Something listens there, and does not take this client for one of its own: no CURVE, or another server's key."""

    code = "handshake-failed"
    exit_code = EXIT_UNREACHABLE


class DaemonLost(ConnectionFailed):
    """The daemon went away while an answer was due."""

    code = "daemon-lost"


class ConnectionClosed(ConnectionFailed):
    """This client was closed."""

    code = "connection-closed"


def _leaves(kind: type[StokerError]) -> list[type[StokerError]]:
    return [kind] + [leaf for child in kind.__subclasses__() for leaf in _leaves(child)]


_BY_CODE: dict[str, type[StokerError]] = {kind.code: kind for kind in _leaves(StokerError)}


def codes() -> dict[str, type[StokerError]]:
    """Every wire code with its class."""
    return dict(_BY_CODE)


def from_wire(wire: dict[str, Any]) -> StokerError:
    """Build the exception that an error map stands for.

    Args:
        wire: the ``error`` map of a reply; missing or odd fields are tolerated.
    """
    code = str(wire.get("code", "error"))
    data = wire.get("data")
    facts: dict[str, Any] = dict(data) if isinstance(data, dict) else {}
    kind = _BY_CODE.get(code)
    if kind is None:
        kind, facts["unknown_code"] = StokerError, code
    return kind(str(wire.get("message", code)), hint=str(wire.get("hint", "")), data=facts)
