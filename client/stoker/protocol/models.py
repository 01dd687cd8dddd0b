"""Frozen snapshots: what the daemon tells about its jobs, workers, burners, processes and itself.

Times are UTC seconds since the epoch (float); durations are seconds; loads are percent.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from stoker.protocol.states import BurnerState, DaemonState, JobState, ProcessState, WorkerState

Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:@-]*$(?!\n)")]
"""A name that a user gives: letters, digits and ``_ . : @ -``, at most 128 characters."""

Percent = Annotated[float, Meta(ge=0, le=100)]
Seconds = Annotated[float, Meta(ge=0)]


class Model(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """The base of every snapshot; unknown fields are ignored, so that an old client reads a new daemon."""


class Environment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """What a worker is bound to.

    Args:
        executable: absolute path of the Python interpreter, symbolic links *not* resolved (a virtual
            environment is found by them).
        cwd: absolute path of the working directory.
        path: ``sys.path`` of the client; empty means the interpreter's own default after ``cwd``.
        env: variables laid over the daemon's own environment.
    """

    executable: str
    cwd: str
    path: tuple[str, ...] = ()
    env: dict[str, str] = {}

    @functools.cached_property
    def key(self) -> str:
        """A short name that is equal for equal environments."""
        canonical = msgspec.json.encode((self.executable, self.cwd, self.path, sorted(self.env.items())))
        return hashlib.sha256(canonical).hexdigest()[:12]


class ErrorInfo(Model, omit_defaults=True, kw_only=True, frozen=True):
    """A failure as data: the wire form of a :class:`~stoker.errors.StokerError`, and of a remote exception.

    For an exception raised by a job, ``code`` is ``job-failed``, ``type`` the exception's qualified name
    and ``traceback`` the worker's formatted traceback.
    """

    code: str
    message: str
    hint: str = ""
    retryable: bool = False
    type: str = ""
    traceback: str = ""
    data: dict[str, Any] = {}


class ProgressInfo(Model, omit_defaults=True, kw_only=True, frozen=True):
    """How far a job has come, by its own account."""

    done: float
    total: float | None = None
    note: str = ""


class AttemptInfo(Model, omit_defaults=True, kw_only=True, frozen=True):
    """One attempt at a job that has ended."""

    attempt: int
    state: JobState
    """How it ended."""
    started: float | None = None
    ended: float | None = None
    worker: int | None = None
    pid: int | None = None
    cpu_seconds: float = 0.0
    """User and system time; of a command, with what it has waited for."""
    peak_rss: int = 0
    """The most resident memory of the worker, or of the command, in bytes."""
    message: str = ""
    """What went wrong."""
    type: str = ""
    """The qualified name of the exception, where it was one."""


class JobInfo(Model, omit_defaults=True, kw_only=True, frozen=True):
    """One job; or, where ``count`` > 1, a batch of like jobs with the consecutive ids ``id … id+count-1``."""

    id: int
    state: JobState
    name: str
    pool: str
    form: str
    count: int = 1
    counts: dict[str, int] = {}
    """For a batch: how many of it are in each state."""
    attempt: int = 0
    priority: int = 0
    pid: int | None = None
    """The worker's process id, while running."""
    worker: int | None = None
    """The id of the worker that runs or ran it."""
    session: str = ""
    submitted: float = 0.0
    started: float | None = None
    ended: float | None = None
    exit_code: int | None = None
    """For a command that ended: its exit code, negative for a signal."""
    error: ErrorInfo | None = None
    cpu_seconds: float = 0.0
    """User and system time of the last attempt."""
    peak_rss: int = 0
    """The most resident memory of the last attempt, bytes."""
    attempts: tuple[AttemptInfo, ...] = ()
    """Those before the last one, oldest first."""
    retries: int = 0
    timeout: float | None = None
    """Seconds that one attempt may run."""
    on_crash: str = "fail"
    """What becomes of it when the daemon dies while it runs: ``fail`` or ``requeue``."""
    due: float | None = None
    """When it may run, UTC; while delayed."""
    after: tuple[int, ...] = ()
    """Jobs that it still waits for."""
    slots: int = 1
    tags: tuple[str, ...] = ()
    key: str | None = None
    durable: bool = False
    progress: ProgressInfo | None = None
    value: Any | UnsetType = UNSET
    """The job's value where it was asked for and is MessagePack; a pickled value travels as a payload frame."""
    payload: int | None = None
    """The index of the payload frame that holds the pickled value."""


class WorkerInfo(Model, kw_only=True, frozen=True):
    """One worker of a pool."""

    id: int
    pid: int | None
    state: WorkerState
    job: int | None = None
    environment: str = ""
    jobs_done: int = 0
    started: float = 0.0


class PoolInfo(Model, kw_only=True, frozen=True):
    """One pool. ``size`` is how many workers it should have; ``workers`` those that exist."""

    name: str
    engine: str
    size: int
    queued: int
    running: int
    paused: bool
    draining: bool = False
    held: int = 0
    """Jobs that are delayed or wait for other jobs."""
    reason: str = ""
    """Why it can't work at the moment; empty when all is well."""
    workers: tuple[WorkerInfo, ...]


class BurnerReason(Model, kw_only=True, frozen=True):
    """Why a burner burns less than was asked for, or falls short of what it should burn.

    ``code`` is for programs. Held back: ``reserve``, ``guard``, ``jobs``, ``total``. Falling short:
    ``pinned-together``, ``quota``, ``steal``, ``starved-by-others``, ``device``, ``silent``, ``absent``, ``lost``. All
    is well: ``note``. ``text`` has the figures.
    """

    code: str
    text: str


class GuardInfo(Model, kw_only=True, frozen=True):
    """One guard of a burner: what it watches, and what it saw last."""

    text: str
    """As it was asked for."""
    action: str
    tripped: bool
    reading: float | None
    """What the sensor said last; for a probe its exit code. None: nothing yet, or it can't be read."""
    reason: str
    """Why it has tripped; empty while it has not."""


class BurnerSecond(Model, kw_only=True, frozen=True):
    """What a burner did in one second; loads in percent as in :class:`BurnerInfo`, achieved + shortfall = target."""

    at: float
    """Its end."""
    asked: float
    target: float
    achieved: float
    shortfall: float
    others: float
    steal: float


class BurnerWorkerInfo(Model, kw_only=True, frozen=True):
    """One process of a burner; loads in percent of one core, over the last second."""

    pid: int | None
    cpu: int | None = None
    """The core it is pinned to, if it is pinned to one."""
    target: float = 0.0
    achieved: float = 0.0
    shortfall: float = 0.0
    cpu_seconds: float = 0.0
    others: float = 0.0
    """What others used of the cores that it may run on, in percent of them."""
    steal: float = 0.0
    """What the hypervisor took of them."""
    waited: float | None = None
    """Percent of the second in which it was ready to run and had no core; None: the kernel does not tell."""
    work: float = 0.0
    """What it got done per second, in the burner's ``work_unit``."""


class ProfileInfo(Model, kw_only=True, frozen=True):
    """Where in its profile a burner is; durations in seconds, None where there is no end."""

    text: str
    """The profile, spelled anew: without comments, and stages of k6 as segments."""
    position: float
    """Seconds of the whole profile that are over, all rounds together; they stand still while it is paused."""
    seconds: float | None
    """The whole profile."""
    remaining: float | None
    segment: int
    """The present one, from 1."""
    segments: int
    """How many a round has."""
    now: str
    """The present segment as written."""
    now_position: float
    """Seconds of it that are over."""
    now_seconds: float | None
    round: int
    """The present round, from 1."""
    rounds: int | None


class BurnerInfo(Model, kw_only=True, frozen=True):
    """One burner. ``asked``, ``target``, ``achieved`` and ``shortfall`` are percent of ``cores`` cores: of one core for
    each process where ``of`` is ``core`` (means over the processes), of all of them together where it is ``machine`` or
    ``quota``. ``target`` is what it is to burn itself, after all that holds it back; achieved + shortfall = target.
    """

    name: str
    state: BurnerState
    kind: str
    target: float
    achieved: float
    shortfall: float
    size: int
    nice: int
    cpus: tuple[int, ...]
    started: float
    ends: float | None
    """When its time limit ends it; None: it was asked to go on for ever."""
    reason: str
    """Why it fell short, is held back or failed; empty when all is well."""
    workers: tuple[BurnerWorkerInfo, ...]
    of: str = "core"
    """What 100 % is: ``core``, ``machine`` or ``quota``."""
    mode: str = "add"
    """``add``: it burns what was asked; ``total``: it brings the machine to that, whatever else runs."""
    cores: float = 1.0
    """What 100 % is, in cores."""
    unit: str = ""
    """The same in words."""
    work: float = 0.0
    """What its processes got done per second, together; in ``work_unit``."""
    work_unit: str = ""
    """Of what its kind counts: ``B``, ``FLOP``, ``pages``, ``calls``; empty: it counts nothing."""
    asked: float = 0.0
    """What was asked for; in mode ``total``, of the whole machine."""
    machine: float = 0.0
    """What all that runs used of the machine in the last second, this burner included, in percent of its cores."""
    others: float = 0.0
    """What all but the burners used of it."""
    steal: float = 0.0
    """What the hypervisor took of it."""
    reasons: tuple[BurnerReason, ...] = ()
    """Why, each with its code; the first is also ``reason`` unless that tells of an end."""
    guards: tuple[GuardInfo, ...] = ()
    yields: bool = False
    """It gives way to the jobs of the pools."""
    reserve: float = 0.0
    """Cores that are left free; 0 where it was asked not to."""
    profile: ProfileInfo | None = None
    """Where it is in its profile; None: it has none."""


class ProcessInfo(Model, kw_only=True, frozen=True):
    """One supervised process."""

    name: str
    state: ProcessState
    wanted: bool
    """True: it should be up, whether it is or not."""
    pid: int | None
    argv: tuple[str, ...]
    """Program and arguments; empty for a Python target."""
    target: str = ""
    """Of a Python target: what is called."""
    session: str = ""
    """The session that it belongs to and ends with; empty: it is on its own."""
    group: str = ""
    """The name that it was started by; that of all its instances."""
    instance: int = 1
    """Its number among them."""
    configured: bool = False
    """True: the configuration has it, so that it is not forgotten when it is stopped."""
    status: str = ""
    """What it last said of itself by ``STATUS=`` on NOTIFY_SOCKET."""
    written: int = 0
    """Bytes that it wrote, over all of its runs."""
    dropped: int = 0
    """Bytes of them that are not in memory any more."""
    log: str = ""
    """Path of the file that its stdout is written to; empty: memory only."""
    log_dropped: int = 0
    """Bytes that could not be written to its log files."""
    requires: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    started: float | None
    exit_code: int | None
    """How it last ended; negative for a signal."""
    restarts: int
    restart: str
    reason: str
    """Why it is in this state."""


class ObjectInfo(Model, kw_only=True, frozen=True):
    """One shared object."""

    id: str
    kind: str
    name: str | None
    detail: dict[str, Any]


class DaemonInfo(Model, kw_only=True, frozen=True):
    """The daemon itself."""

    pid: int
    endpoint: str
    version: str
    boot_id: str
    uptime: float
    state: DaemonState
    store: str = ""
    """Why durable jobs can't be accepted at the moment; ``off`` where they never are; empty when all is well."""
    sessions: int
    events: str
    """Endpoint of the event socket."""
    shared_bytes: int = 0
    """Memory that is shared with clients and workers for large data, bytes."""
    segments: int = 0
    """In how many pieces."""


class DaemonStatus(Model, kw_only=True, frozen=True):
    """Everything at one moment; ``seq`` is the number of the last event that it includes."""

    daemon: DaemonInfo
    pools: tuple[PoolInfo, ...]
    burners: tuple[BurnerInfo, ...]
    processes: tuple[ProcessInfo, ...]
    objects: tuple[ObjectInfo, ...]
    jobs: dict[str, int]
    seq: int


class Limits(Model, kw_only=True, frozen=True):
    """What a peer may send and keep; bytes unless said otherwise."""

    message_bytes: int
    """One message, all frames together."""
    head_bytes: int
    """The MessagePack head of one message."""
    frames: int
    """How many payload frames one message may have."""
    queue_jobs: int
    """How many jobs may wait in one pool."""
    queue_bytes: int
    result_bytes: int
    """The largest value of one job."""
    sessions: int
    jobs_per_request: int
