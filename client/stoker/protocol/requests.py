"""One frozen struct per method, tied to the type of its reply.

``method`` is the word on the wire and ``reply`` the struct that answers it. ``METHODS`` is what the daemon
decodes by, what ``stoker api`` prints, and what the tests walk through.

``start`` is one method with a struct per kind: the map's ``kind`` says which.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from stoker.protocol.models import (
    BurnerSecond,
    DaemonStatus,
    Environment,
    ErrorInfo,
    JobInfo,
    Limits,
    Model,
    Name,
    Percent,
    Seconds,
)
from stoker.protocol.processes import Argv, Grace, Keeping
from stoker.protocol.states import JobState

R = TypeVar("R")

JobId = Annotated[int, Meta(ge=1)]
Priority = Annotated[int, Meta(ge=-100, le=100)]
PoolSize = Annotated[int, Meta(ge=0, le=1024)]
BurnerSize = Annotated[int, Meta(ge=1, le=1024)]
BurnerUnit = Literal["core", "machine", "quota"]
BurnerMode = Literal["add", "total"]
Guards = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=1024)], ...], Meta(max_length=32)]
Nice = Annotated[int, Meta(ge=-20, le=19)]
ProfileText = Annotated[str, Meta(min_length=1, max_length=65536)]
TracePoint = tuple[Seconds, Percent]
TraceTable = Annotated[tuple[TracePoint, ...], Meta(min_length=2, max_length=131_072)]
Traces = Annotated[tuple[TraceTable, ...], Meta(max_length=1000)]
Tag = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:@-]*$(?!\n)")]
Key = Annotated[str, Meta(min_length=1, max_length=256)]


class Request(msgspec.Struct, Generic[R], frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The base of every request."""

    method: ClassVar[str]
    reply: ClassVar[type]


class Reply(Model, kw_only=True, frozen=True):
    """The base of every reply that is not a snapshot."""


# --- the connection ------------------------------------------------------------------------------------------------


class HelloReply(Reply, kw_only=True, frozen=True):
    """Who answers, and within which bounds.

    Args:
        events: where events are to be had; empty for a remote client: at the port after the one that it has found.
        role: what this client may do: ``observe``, ``submit`` or ``admin``.
        supervised: a service manager has started it, and brings it back when it dies.
    """

    version: str
    protocol: int
    boot_id: str
    session: str
    pid: int
    events: str
    limits: Limits
    role: str = ""
    supervised: bool = False


class Hello(Request[HelloReply], kw_only=True, frozen=True):
    """Open a session: from here on, what this peer owns is released when it dies.

    Args:
        client: name and version of the client, for people to read.
        pid: the client's process id on this machine; a local daemon checks it against the socket's.
        environment: where this client's functions live; None means the daemon's own environment.
        on_disconnect: what becomes of this session's unfinished jobs when it ends.
        heartbeat: seconds within which a remote client promises to be heard from; None for local clients.
        weight: this session's share of a pool that others use too, beside theirs.
        most: how many of this session's jobs may run at a time, in all pools together; None: any number.
        pushes: whether this peer takes messages that it did not ask for, ``{"push": word}``: a remote client's death is
            noticed at once, because it is sent one whenever some connection has ended. Not for REQ sockets.
    """

    method: ClassVar[str] = "hello"
    reply: ClassVar[type] = HelloReply

    client: Annotated[str, Meta(max_length=128)] = ""
    pid: Annotated[int, Meta(ge=1)] | None = None
    environment: Environment | None = None
    on_disconnect: Literal["keep", "cancel"] = "keep"
    heartbeat: Annotated[float, Meta(ge=0.1, le=3600)] | None = None
    weight: Annotated[float, Meta(ge=0.01, le=100)] = 1.0
    most: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    pushes: bool = False


class ByeReply(Reply, kw_only=True, frozen=True):
    """The session is over."""


class Bye(Request[ByeReply], kw_only=True, frozen=True):
    """End this session at once, as if its process had ended."""

    method: ClassVar[str] = "bye"
    reply: ClassVar[type] = ByeReply


class Pong(Reply, kw_only=True, frozen=True):
    """The daemon's loop is alive."""

    time: float
    pid: int
    version: str


class Ping(Request[Pong], kw_only=True, frozen=True):
    """Ask whether the daemon answers."""

    method: ClassVar[str] = "ping"
    reply: ClassVar[type] = Pong


class Status(Request[DaemonStatus], kw_only=True, frozen=True):
    """Everything at one moment.

    Args:
        names: only what has these names (pools, burners, processes, objects); empty means all.
    """

    method: ClassVar[str] = "status"
    reply: ClassVar[type] = DaemonStatus

    names: tuple[str, ...] = ()


class ShareReply(Reply, kw_only=True, frozen=True):
    """Within which bounds memory is shared."""

    bytes: int
    """Of all segments of everybody together; 0: none are used."""


class Share(Request[ShareReply], kw_only=True, frozen=True):
    """Pass large data through shared memory from now on: only over the direct channel, see docs/architecture.md.

    From the answer on, descriptors may travel beside the messages of this connection, in both directions.
    """

    method: ClassVar[str] = "share"
    reply: ClassVar[type] = ShareReply


class UploadReply(Reply, kw_only=True, frozen=True):
    """The function is known now."""

    function: str


class Upload(Request[UploadReply], kw_only=True, frozen=True):
    """Hand over a cloudpickled function, payload frame 0, so that jobs can name it.

    It is kept while this session lives or a job needs it.

    Args:
        function: ``sha256:`` and the hexadecimal digest of the payload frame.
        name: what to call it in ``jobs`` and ``status``.
    """

    method: ClassVar[str] = "upload"
    reply: ClassVar[type] = UploadReply

    function: Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$(?!\n)")]
    name: Annotated[str, Meta(max_length=256)] = ""


# --- jobs ------------------------------------------------------------------------------------------------------------


class CallSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A named function with MessagePack arguments: for any language.

    Args:
        function: ``package.module:qualified.name``.
        many: in place of args and kwargs: one list of positional arguments per job, for a batch.
    """

    function: Annotated[str, Meta(max_length=512)]
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    many: list[list[Any]] | None = None


class PickleSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A function with pickled arguments: for Python. The daemon never looks inside.

    The payload frame is the concatenation of one pickle per job; ``lengths`` says where each ends.

    Args:
        function: ``sha256:…`` of an uploaded function, or ``package.module:qualified.name``.
        shape: what each pickle holds. ``call``: ``(args, kwargs)``; ``item``: the one argument;
            ``chunk``: a list, whose items are each called with, and the value is the list of their results.
        lengths: unsigned 32-bit little-endian integers, one per job.
        payload: the index of the payload frame.
        segment: this session's number of the segment of shared memory in which what the one job is called with lies;
            the payload is its parcel. The descriptor comes beside the message in which it is first named.
    """

    function: Annotated[str, Meta(max_length=512)]
    shape: Literal["call", "item", "chunk"] = "call"
    lengths: bytes
    payload: Annotated[int, Meta(ge=0)] = 0
    segment: Annotated[int, Meta(ge=1)] | None = None


class CommandSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A command.

    Args:
        argv: the program and its arguments; no shell.
        cwd: absolute path; None means the session's, else the daemon's.
        env: variables laid over the worker's environment.
        stdin: what it reads; None means the null device.
    """

    argv: Annotated[list[str], Meta(min_length=1, max_length=4096)]
    cwd: str | None = None
    env: dict[str, str] = {}
    stdin: bytes | None = None


class JobSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One job, or one batch of like jobs: exactly one of call, pickle and command.

    Args:
        name: what to call it; empty means the function's or program's name.
        pool: which pool runs it.
        priority: higher runs first.
        timeout: seconds that one attempt may run.
        environment: where its function lives; None means the session's.
        ttl: seconds for which the result is kept once the job has ended; 0 for a result that was streamed.
        slots: of how many workers it takes the place while it runs; its BLAS and OpenMP threads are as many.
        tags: words that limits of concurrency can be set for (method ``limit``).
        delay: seconds before it may run.
        at: UTC seconds since the epoch before which it does not run; it follows the machine's clock when that is set.
        after: jobs that have to end first: ids, idempotency keys, or ``#N`` for entry N of this request.
        after_end: ``success``: of these, each must end well, or this one fails unrun; ``any``: end, however.
        retries: how often it is tried again after an attempt that failed.
        backoff: seconds before the second attempt; doubled before each further one.
        backoff_most: what the seconds between attempts are not doubled beyond.
        retry_on: after which failures: ``failed``, ``timed-out``, ``worker-died``, ``lost-with-daemon``, or the name of
            an exception class, plain or qualified, which its subclasses meet too. Empty: after any but the last.
        on_crash: what becomes of it when the daemon dies while it runs: ``fail`` ends it as lost-with-daemon,
            ``requeue`` queues it again.
        key: the idempotency key: as long as a job with this key is known, a submit with the same key has that job back.
        durable: True: accepted only once it is on disk, and it survives the daemon; ``if-possible``: so where this
            daemon keeps anything. None: ``if-possible`` for commands and for whatever has a key, else False.
        trace: of a streamed submit of one job: have its last part say when it was where.
    """

    call: CallSpec | None = None
    pickle: PickleSpec | None = None
    command: CommandSpec | None = None
    name: Annotated[str, Meta(max_length=256)] = ""
    pool: Name = "default"
    priority: Priority = 0
    timeout: Annotated[float, Meta(gt=0)] | None = None
    environment: Environment | None = None
    ttl: Seconds | None = None
    slots: Annotated[int, Meta(ge=1, le=1024)] = 1
    tags: Annotated[tuple[Tag, ...], Meta(max_length=16)] = ()
    delay: Annotated[float, Meta(ge=0, le=31_536_000)] | None = None
    at: Annotated[float, Meta(ge=0, le=1e12)] | None = None
    after: Annotated[tuple[JobId | Key, ...], Meta(max_length=65536)] = ()
    after_end: Literal["success", "any"] = "success"
    retries: Annotated[int, Meta(ge=0, le=1000)] = 0
    backoff: Annotated[float, Meta(ge=0, le=86_400)] = 0.0
    backoff_most: Annotated[float, Meta(ge=0, le=86_400)] = 600.0
    retry_on: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...], Meta(max_length=32)] = ()
    on_crash: Literal["fail", "requeue"] = "fail"
    key: Key | None = None
    durable: bool | Literal["if-possible"] | None = None
    trace: bool = False


class SubmitReply(Reply, kw_only=True, frozen=True):
    """One entry per :class:`JobSpec`, in order; with ``value`` or ``error`` in each that ended within ``wait``."""

    jobs: tuple[JobInfo, ...]


class ResultPart(Reply, omit_defaults=True, kw_only=True, frozen=True):
    """Results of a streamed submit, in a reply marked ``more`` until the last.

    It covers the jobs ``first … first+count-1`` of spec number ``spec``. Payload frame 0 is the concatenation of
    one value per job and ``lengths`` (unsigned 32-bit little-endian) says where each ends; the top bit of a length
    marks an error: that slice is a MessagePack map as :class:`ErrorInfo`, with the pickled exception under ``pickle``
    where there is one. Where no worker could answer, ``error`` holds the verdict for all of the part, and there is
    no payload. With ``segment``, which only a session that shares memory gets, the one value lies in shared memory and
    the payload is its parcel; a descriptor beside it is that of the segment.
    """

    spec: int
    id: int
    """The job id of the first."""
    first: int
    count: int
    lengths: bytes = b""
    state: JobState = JobState.DONE
    error: ErrorInfo | None = None
    trace: tuple[float, ...] = ()
    """With ``trace``, six moments in seconds of the machine's monotonic clock: it was read by the daemon, handed to a
    worker, begun, ended, its result was heard of by the daemon, and answered with."""
    segment: int | None = None


class Submit(Request[SubmitReply], kw_only=True, frozen=True):
    """Hand in jobs.

    Args:
        jobs: what to run.
        wait: answer when all of them have ended, or after this many seconds; None: answer when they are accepted.
        stream: answer with :class:`ResultPart` replies as results come, the last without ``more``. A streamed
            result is not kept unless the spec has a ``ttl``.
    """

    method: ClassVar[str] = "submit"
    reply: ClassVar[type] = SubmitReply

    jobs: Annotated[list[JobSpec], Meta(min_length=1, max_length=65536)]
    wait: Seconds | None = None
    stream: bool = False


class JobsReply(Reply, kw_only=True, frozen=True):
    """Jobs, newest last."""

    jobs: tuple[JobInfo, ...]


class Jobs(Request[JobsReply], kw_only=True, frozen=True):
    """List jobs.

    Args:
        ids: only these; an unknown one is an error.
        states: only jobs in these states.
        pool: only jobs of this pool.
        tags: only jobs that have all of these tags.
        keys: only the jobs with these idempotency keys; an unknown one is an error.
        newer: only jobs that were submitted within the last so many seconds.
        older: only jobs that were submitted longer ago than so many seconds.
        limit: at most this many, the newest.
    """

    method: ClassVar[str] = "jobs"
    reply: ClassVar[type] = JobsReply

    ids: tuple[JobId, ...] = ()
    states: tuple[JobState, ...] = ()
    pool: Name | None = None
    tags: tuple[Tag, ...] = ()
    keys: tuple[Key, ...] = ()
    newer: Seconds | None = None
    older: Seconds | None = None
    limit: Annotated[int, Meta(ge=1, le=100_000)] = 1000


class Wait(Request[JobsReply], kw_only=True, frozen=True):
    """Answer when all of these jobs have ended.

    Args:
        ids: which jobs.
        timeout: seconds; then the answer is what is known so far. None: for ever.
    """

    method: ClassVar[str] = "wait"
    reply: ClassVar[type] = JobsReply

    ids: Annotated[tuple[JobId, ...], Meta(min_length=1, max_length=65536)]
    timeout: Seconds | None = None


class ResultReply(Reply, kw_only=True, frozen=True):
    """A job with its value; a pickled value is payload frame ``job.payload``."""

    job: JobInfo


class Result(Request[ResultReply], kw_only=True, frozen=True):
    """A job's value, waiting for it if need be.

    Args:
        id: which job.
        timeout: seconds to wait for its end; None: for ever. When over: the error ``timeout``.
    """

    method: ClassVar[str] = "result"
    reply: ClassVar[type] = ResultReply

    id: JobId
    timeout: Seconds | None = None


class CancelReply(Reply, kw_only=True, frozen=True):
    """Which of the jobs this call ended, and which had ended before."""

    cancelled: tuple[int, ...]
    already_ended: tuple[int, ...]


class Cancel(Request[CancelReply], kw_only=True, frozen=True):
    """Cancel jobs, running ones too; answers when they have ended.

    A running job gets SIGINT, then SIGTERM, then SIGKILL, ``grace`` seconds apart.
    """

    method: ClassVar[str] = "cancel"
    reply: ClassVar[type] = CancelReply

    ids: Annotated[tuple[JobId, ...], Meta(min_length=1, max_length=65536)]
    grace: Annotated[float, Meta(ge=0, le=600)] = 2.0


class RetryReply(Reply, kw_only=True, frozen=True):
    """The jobs as queued again."""

    jobs: tuple[JobInfo, ...]


class Retry(Request[RetryReply], kw_only=True, frozen=True):
    """Queue jobs again that ended without a value."""

    method: ClassVar[str] = "retry"
    reply: ClassVar[type] = RetryReply

    ids: Annotated[tuple[JobId, ...], Meta(min_length=1, max_length=65536)]


class ProgressReply(Reply, kw_only=True, frozen=True):
    """It is known now."""


class Progress(Request[ProgressReply], kw_only=True, frozen=True):
    """How far a job has come: what a command says of itself. Functions have ``stoker.progress``, which costs less.

    Args:
        id: the job; a command finds it in the variable ``STOKER_JOB``.
        done: how much is done.
        total: of how much; None: nobody knows.
        note: a word on what is being done.
    """

    method: ClassVar[str] = "progress"
    reply: ClassVar[type] = ProgressReply

    id: JobId
    done: Annotated[float, Meta(ge=0)]
    total: Annotated[float, Meta(ge=0)] | None = None
    note: Annotated[str, Meta(max_length=256)] = ""


class LendReply(Reply, kw_only=True, frozen=True):
    """``lent``: whether this session runs inside a job, whose slot is lent now."""

    lent: bool


class Lend(Request[LendReply], kw_only=True, frozen=True):
    """A job waits for jobs, and lends its slot to them meanwhile: so that waiting can't deadlock.

    The daemon knows the session's process, and so the worker that it is in. From anywhere else it does nothing.

    Args:
        lent: True: begin to lend; False: the wait is over.
    """

    method: ClassVar[str] = "lend"
    reply: ClassVar[type] = LendReply

    lent: bool


class LimitReply(Reply, kw_only=True, frozen=True):
    """Every limit that is set, by tag."""

    limits: dict[str, int]


class Limit(Request[LimitReply], kw_only=True, frozen=True):
    """How many jobs with a tag may run at a time, in all pools together.

    Args:
        tag: which; None: only tell the limits.
        most: how many; None: as many as like.
    """

    method: ClassVar[str] = "limit"
    reply: ClassVar[type] = LimitReply

    tag: Tag | None = None
    most: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None


class RoomReply(Reply, kw_only=True, frozen=True):
    """There is room now; it is not kept for anybody."""


class Room(Request[RoomReply], kw_only=True, frozen=True):
    """Answer when a pool has room for more jobs: what to ask after ``queue-full``, before submitting again.

    Args:
        pool: which.
        jobs: for so many jobs.
        bytes: with so many bytes of arguments.
    """

    method: ClassVar[str] = "room"
    reply: ClassVar[type] = RoomReply

    pool: Name = "default"
    jobs: Annotated[int, Meta(ge=1)] = 1
    bytes: Annotated[int, Meta(ge=0)] = 0


class DrainReply(Reply, kw_only=True, frozen=True):
    """``left``: how many jobs of the pool have not ended; 0: it is drained."""

    name: str
    left: int


class Drain(Request[DrainReply], kw_only=True, frozen=True):
    """Let a pool take no new jobs, and answer when it has none left. ``set`` with ``paused: false`` opens it again.

    Args:
        name: which pool.
        timeout: seconds; then the answer says how many are left, and it goes on draining. None: for ever.
    """

    method: ClassVar[str] = "drain"
    reply: ClassVar[type] = DrainReply

    name: Name = "default"
    timeout: Seconds | None = None


class LogsReply(Reply, kw_only=True, frozen=True):
    """Output; stdout is payload frame 0 and stderr frame 1.

    ``next_out`` and ``next_err`` are the offsets to go on from; ``dropped`` counts bytes that were not kept.
    """

    id: int | str
    next_out: int
    next_err: int
    dropped: int
    ended: bool


class Logs(Request[LogsReply], kw_only=True, frozen=True):
    """What a job, or a supervised process, wrote.

    Args:
        id: a job's id, or the name of a supervised process.
        out: stdout from this offset in bytes.
        err: stderr from this offset in bytes.
        wait: where there is nothing new yet, answer when there is, when it ends, or after this many seconds.
    """

    method: ClassVar[str] = "logs"
    reply: ClassVar[type] = LogsReply

    id: JobId | Name
    out: Annotated[int, Meta(ge=0)] = 0
    err: Annotated[int, Meta(ge=0)] = 0
    wait: Seconds | None = None


# --- burners, processes, pools ----------------------------------------------------------------------------------------


class StartReply(Reply, omit_defaults=True, kw_only=True, frozen=True):
    """What runs now: it has been observed, not merely asked for."""

    kind: str
    name: str
    pids: tuple[int, ...]
    notes: tuple[str, ...] = ()
    """What whoever asked should know: why a burner burns less than was asked for."""


class StartBurner(Request[StartReply], tag="burner", tag_field="kind", kw_only=True, frozen=True):
    """Start a burner.

    Args:
        name: its name.
        workers: number of processes; None: 1, or one per core where ``of`` is ``machine`` or ``quota``.
        load: target in percent; of what, says ``of``. Beside a profile: what it begins at where it does not say.
        profile: what the load is to be over time, in the grammar of docs/profiles.md; load or profile must be given.
        traces: the points ``[seconds, percent]`` of each trace that the profile names, in order: whoever asks for the
            burner has read the files.
        of: what 100 % is. ``core``: one core, for each process; ``machine``: all the cores that the daemon may use;
            ``quota``: what affinity and the cgroup's CPU quota leave of them. None: ``core``, or with
            ``total`` ``machine``.
        mode: ``add``: burn so much; ``total``: bring the machine to so much, whatever else runs.
        no_reserve: do without the reserve of one core or 10 % of the machine that burners leave free.
        guards: what makes it warn, burn less, pause or end, such as ``load>8:pause``; see
            :mod:`stoker.protocol.guards`.
        yield_to_jobs: burn less by the cores that running jobs use.
        seconds: time limit; None means the length of the profile or, without an end, the default limit of the
            configuration; ``inf`` for ever.
        cpus: cores to pin to; process number i is pinned to ``cpus[i % len(cpus)]``. Empty: not pinned.
        nice: niceness of its processes.
        generator: the kind of load: a key of :data:`stoker.protocol.loads.LOADS`, or ``stress-ng:STRESSOR``.
        bytes: of memory that each process holds (``memory``), or copies through (``bandwidth``).
        rate: bytes per second that 100 % is, for each process (``disk``).
        folder: absolute path; where its processes may write (``disk``, ``stress-ng``).
        quota: bytes that each process may take on the disk (``disk``).
        io: ``write`` (the default), ``read`` or ``both`` (``disk``).
        call: what is called again and again, as ``package.module:function``; found as this session's functions are.
        replace: stop a burner of the same name first, instead of refusing.
        owned: it belongs to this session, and is stopped when the session ends, however it ends.
    """

    method: ClassVar[str] = "start"
    reply: ClassVar[type] = StartReply

    name: Name
    workers: BurnerSize | None = None
    load: Percent | None = None
    profile: ProfileText | None = None
    traces: Traces = ()
    of: BurnerUnit | None = None
    mode: BurnerMode = "add"
    no_reserve: bool = False
    guards: Guards = ()
    yield_to_jobs: bool = False
    seconds: Annotated[float, Meta(gt=0)] | None = None
    cpus: tuple[Annotated[int, Meta(ge=0)], ...] = ()
    nice: Nice = 10
    generator: Annotated[str, Meta(min_length=1, max_length=80)] = "spin"
    bytes: Annotated[int, Meta(ge=1)] | None = None
    rate: Annotated[float, Meta(gt=0)] | None = None
    folder: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    quota: Annotated[int, Meta(ge=1)] | None = None
    io: Literal["write", "read", "both"] | None = None
    call: Annotated[str, Meta(min_length=3, max_length=512)] | None = None
    replace: bool = False
    owned: bool = False


class TargetSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A Python target by value: for Python. The daemon never looks inside.

    Args:
        payload: the index of the payload frame: the (cloud)pickle of something that is called without arguments.
        name: what to call it, for people.
    """

    payload: Annotated[int, Meta(ge=0)] = 0
    name: Annotated[str, Meta(max_length=256)] = ""


class ProcessPart(Reply, omit_defaults=True, kw_only=True, frozen=True):
    """A further reply of a ``start`` that was ``attached``: what the process wrote, in payload frame 0 (stdout) and 1
    (stderr); and, in the last one, which is not marked ``more``, how it ended.
    """

    number: int = 0
    """Counts them, from 1 on; the last one has none."""
    ended: bool = False
    exit_code: int | None = None
    """Negative for a signal."""
    reason: str = ""


class StartProcess(Keeping, Request[StartReply], tag="process", tag_field="kind", kw_only=True, frozen=True):
    """Start a supervised process: exactly one of argv, call and pickle. A Python target (call, pickle) is forked by the
    forkserver of the session's environment. Answered when it is up: see ``ready``.

    Args:
        name: its name.
        argv: program and arguments; no shell. ``{instance}`` in them stands for the number of the instance.
        call: a Python function by name, with its arguments; ``many`` is for jobs.
        pickle: a Python target by value.
        cwd: absolute path; None means the session's, else the daemon's.
        env: variables laid over the daemon's environment.
        attached: it belongs to this session. The first reply is marked ``more``, and :class:`ProcessPart` replies
            follow with its output, as it comes, and its end. It ends when the session does, and is forgotten when it
            has ended; ``restart`` has to be ``never``.
        others: see :class:`stoker.protocol.processes.Keeping`.
    """

    method: ClassVar[str] = "start"
    reply: ClassVar[type] = StartReply

    name: Name
    argv: Argv = ()
    call: CallSpec | None = None
    pickle: TargetSpec | None = None
    cwd: str | None = None
    env: dict[str, str] = {}
    attached: bool = False


class StartKnown(Request[StartReply], tag="known", tag_field="kind", kw_only=True, frozen=True):
    """Start what the daemon knows already and is down: a process that is configured, or was given up, or has ended; a
    burner of the configuration. Answered when it is up, at once where it is.

    Args:
        name: of a process, of one of its instances, or of a burner.
    """

    method: ClassVar[str] = "start"
    reply: ClassVar[type] = StartReply

    name: Name


class RestartReply(Reply, kw_only=True, frozen=True):
    """They are up again."""

    restarted: tuple[str, ...]
    pids: tuple[int, ...]


class Restart(Request[RestartReply], kw_only=True, frozen=True):
    """Stop processes and start them again as they are known, the instances of one after each other; answered when all
    are up again.

    Args:
        names: of processes or instances.
        grace: seconds from the stop signal to SIGKILL; None means each one's own.
    """

    method: ClassVar[str] = "restart"
    reply: ClassVar[type] = RestartReply

    names: Annotated[tuple[Name, ...], Meta(min_length=1)]
    grace: Grace | None = None


class Initializer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the workers of a pool begin with: exactly one of call and pickle."""

    call: CallSpec | None = None
    pickle: PickleSpec | None = None


class StartPool(Request[StartReply], tag="pool", tag_field="kind", kw_only=True, frozen=True):
    """Create a pool.

    Args:
        name: its name.
        workers: number of workers; None means the number of usable cores.
        engine: where its jobs run.
        max_jobs: jobs that a worker runs before it makes way for a fresh one; 0: any number.
        memory_bytes: resident memory that a worker may use, what its commands use included; above it is killed. 0: any.
        initializer: called in each worker before its first job: ``call``, or ``pickle`` of shape ``call`` and one row.
        owned: it belongs to this session, and is removed when the session ends, however it ends.
    """

    method: ClassVar[str] = "start"
    reply: ClassVar[type] = StartReply

    name: Name
    workers: PoolSize | None = None
    engine: Literal["local"] = "local"
    max_jobs: Annotated[int, Meta(ge=0, le=1_000_000_000)] | None = None
    memory_bytes: Annotated[int, Meta(ge=0, le=1 << 50)] | None = None
    initializer: Initializer | None = None
    owned: bool = False


Start: TypeAlias = StartBurner | StartProcess | StartPool | StartKnown


class SetReply(Reply, omit_defaults=True, kw_only=True, frozen=True):
    """The change is in effect: new processes run, surplus ones are reaped or will be when their job ends."""

    kind: str
    name: str
    notes: tuple[str, ...] = ()
    """As in :class:`StartReply`."""


class Set(Request[SetReply], kw_only=True, frozen=True):
    """Change what runs.

    Args:
        name: a burner, a pool or a process.
        load: new target in percent; a profile is left for it (burners).
        profile: a profile to follow from now on (burners).
        traces: the points of its traces, as in ``start``.
        ramp_to: leave the profile for a ramp from the present target to this one, in percent (burners).
        over: seconds that this ramp takes; without it, 30.
        skip: True goes to the next segment of the profile (burners).
        extend: seconds that the present segment of the profile is to last longer (burners).
        workers: new number of processes (burners, pools) or instances (processes).
        seconds: new time limit counted from now (burners); ``inf`` for ever.
        paused: True holds what is queued back, and a burner's load, whose profile stands still; False goes on.
        no_reserve: do without the reserve that burners leave free, or keep it again (burners).
    """

    method: ClassVar[str] = "set"
    reply: ClassVar[type] = SetReply

    name: Name
    load: Percent | UnsetType = UNSET
    profile: ProfileText | UnsetType = UNSET
    traces: Traces = ()
    ramp_to: Percent | UnsetType = UNSET
    over: Annotated[float, Meta(ge=0.1, le=31_536_000)] | UnsetType = UNSET
    skip: bool | UnsetType = UNSET
    extend: Annotated[float, Meta(gt=0, le=31_536_000)] | UnsetType = UNSET
    workers: PoolSize | UnsetType = UNSET
    seconds: Annotated[float, Meta(gt=0)] | UnsetType = UNSET
    paused: bool | UnsetType = UNSET
    no_reserve: bool | UnsetType = UNSET


class BurnerHistory(Reply, kw_only=True, frozen=True):
    """The last seconds of one burner, oldest first."""

    name: str
    cores: float
    """What 100 % is, in cores."""
    seconds: tuple[BurnerSecond, ...]


class FiguresReply(Reply, kw_only=True, frozen=True):
    """One entry for each burner that was asked for."""

    burners: tuple[BurnerHistory, ...]


class Figures(Request[FiguresReply], kw_only=True, frozen=True):
    """What burners did in each of the last 120 seconds: for a plot.

    Args:
        names: which; empty means all.
    """

    method: ClassVar[str] = "figures"
    reply: ClassVar[type] = FiguresReply

    names: tuple[Name, ...] = ()


class SignalReply(Reply, kw_only=True, frozen=True):
    """Whether it was there to be sent anything."""

    sent: bool


class Signal(Request[SignalReply], kw_only=True, frozen=True):
    """Send a signal to a supervised process, and nothing more; what its end means is up to its restart policy.

    Args:
        name: which process.
        signal: which signal.
        group: to its whole process group.
    """

    method: ClassVar[str] = "signal"
    reply: ClassVar[type] = SignalReply

    name: Name
    signal: Literal[
        "SIGHUP", "SIGINT", "SIGQUIT", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGTERM", "SIGCONT", "SIGSTOP", "SIGWINCH"
    ]
    group: bool = False


class StopReply(Reply, kw_only=True, frozen=True):
    """What has ended, all of it reaped. ``survivors`` counts processes that did not end: 0."""

    stopped: tuple[str, ...]
    survivors: int


class Stop(Request[StopReply], kw_only=True, frozen=True):
    """Stop burners, processes and pools by name; answers when the last of their processes is reaped.

    Args:
        names: which.
        all: every burner, every process and every pool but ``default``.
        grace: seconds before SIGKILL; None means each one's own.
    """

    method: ClassVar[str] = "stop"
    reply: ClassVar[type] = StopReply

    names: tuple[str, ...] = ()
    all: bool = False
    grace: Annotated[float, Meta(ge=0, le=3600)] | None = None


# --- the daemon -------------------------------------------------------------------------------------------------------


class EventsReply(Reply, kw_only=True, frozen=True):
    """Recent events, oldest first, as ``[seq, topic, map]``, the time in the map; ``gap``: some were dropped."""

    events: list[tuple[int, str, dict[str, Any]]]
    seq: int
    gap: bool


class Events(Request[EventsReply], kw_only=True, frozen=True):
    """Recent events from the daemon's memory; the live stream is the event socket.

    Args:
        after: only events with a higher number.
        limit: at most this many, the newest.
        topic: only those whose topic begins so.
    """

    method: ClassVar[str] = "events"
    reply: ClassVar[type] = EventsReply

    after: Annotated[int, Meta(ge=0)] = 0
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 100
    topic: Annotated[str, Meta(max_length=64)] = ""


class ConfigReply(Reply, kw_only=True, frozen=True):
    """The configuration in effect, and the file it came from."""

    path: str | None
    config: dict[str, Any]


class ConfigShow(Request[ConfigReply], kw_only=True, frozen=True):
    """The configuration in effect."""

    method: ClassVar[str] = "config"
    reply: ClassVar[type] = ConfigReply


class ConfigChange(Reply, kw_only=True, frozen=True):
    """One key in which the file and what runs differ. What a process's variables hold is not shown.

    Args:
        key: dotted.
        running: what is in effect; None: nothing.
        file: what the configuration says; None: nothing.
        effect: what a reload would make of it, in words; empty for what was changed by hand.
    """

    key: str
    running: Any
    file: Any
    effect: str


class ConfigDiffReply(Reply, kw_only=True, frozen=True):
    """How the configuration and what runs differ.

    Args:
        path: of the file; None: there is none.
        file: what a reload would change.
        pending: keys that were reloaded, and take effect only when the daemon is started again.
        drift: what is not as configured, since ``set``, ``start``, ``stop`` or its own end; a reload leaves that alone.
    """

    path: str | None
    file: tuple[ConfigChange, ...]
    pending: tuple[str, ...]
    drift: tuple[ConfigChange, ...]


class ConfigDiff(Request[ConfigDiffReply], kw_only=True, frozen=True):
    """Read the configuration file, and tell what it would change; nothing is applied."""

    method: ClassVar[str] = "config_diff"
    reply: ClassVar[type] = ConfigDiffReply


class ReloadReply(Reply, kw_only=True, frozen=True):
    """What has changed, and what was done about it; ``failed`` says why something could not be.

    Args:
        changed: keys, dotted.
        needs_restart: those of them that take effect only when the daemon is started again.
        started: what is new, such as ``process web``.
        stopped: what is not in the file any more.
        restarted: what had to be started again to be as the file says.
        adjusted: what was changed while it ran.
        failed: what could not be done, and why.
    """

    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]
    started: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    adjusted: tuple[str, ...] = ()
    failed: dict[str, str] = msgspec.field(default_factory=dict)


class Reload(Request[ReloadReply], kw_only=True, frozen=True):
    """Read the configuration file again: validate all of it, then apply the difference; answered when that is done."""

    method: ClassVar[str] = "reload"
    reply: ClassVar[type] = ReloadReply


class KeyInfo(Model, kw_only=True, frozen=True):
    """A key that may connect over tcp.

    Args:
        name: that of its file.
        role: what its owner may do.
        public: the public key, Z85.
        sessions: how many clients are connected with it.
    """

    name: str
    role: str
    public: str
    sessions: int


class KeysReply(Reply, kw_only=True, frozen=True):
    """The keys that may connect over tcp.

    Args:
        directory: where the daemon looks for them.
        endpoint: where it listens for remote clients; empty: nowhere.
        keys: by name.
    """

    directory: str
    endpoint: str = ""
    keys: tuple[KeyInfo, ...] = ()


class Keys(Request[KeysReply], kw_only=True, frozen=True):
    """Have the daemon read the authorized keys again; answers when whoever has lost theirs is out."""

    method: ClassVar[str] = "keys"
    reply: ClassVar[type] = KeysReply


class ShutdownReply(Reply, kw_only=True, frozen=True):
    """The daemon has stopped taking work and is about to end."""

    pid: int


class Shutdown(Request[ShutdownReply], kw_only=True, frozen=True):
    """End the daemon.

    Args:
        grace: seconds that running jobs get to end; None means the configuration's.
    """

    method: ClassVar[str] = "shutdown"
    reply: ClassVar[type] = ShutdownReply

    grace: Annotated[float, Meta(ge=0, le=86_400)] | None = None
