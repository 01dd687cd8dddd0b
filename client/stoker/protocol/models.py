"""Frozen snapshots: what the daemon tells about its jobs, workers, burners, processes and itself.

Times are UTC seconds since the epoch (float); durations are seconds; loads are percent.
"""

from __future__ import annotations

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


class Environment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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

    @property
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
    workers: tuple[WorkerInfo, ...]


class BurnerWorkerInfo(Model, kw_only=True, frozen=True):
    """One process of a burner; loads in percent of one core, over the last second."""

    pid: int | None
    cpu: int | None = None
    """The core it is pinned to, if it is pinned to one."""
    target: float = 0.0
    achieved: float = 0.0
    shortfall: float = 0.0
    cpu_seconds: float = 0.0


class BurnerInfo(Model, kw_only=True, frozen=True):
    """One burner. ``target``, ``achieved`` and ``shortfall`` are means over its processes, in percent of one
    core each, so that achieved + shortfall = target.
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
    """Why it fell short or failed; empty when all is well."""
    workers: tuple[BurnerWorkerInfo, ...]


class ProcessInfo(Model, kw_only=True, frozen=True):
    """One supervised process."""

    name: str
    state: ProcessState
    wanted: bool
    """True: it should be up, whether it is or not."""
    pid: int | None
    argv: tuple[str, ...]
    started: float | None
    exit_code: int | None
    """How it last ended; negative for a signal."""
    restarts: int
    restart: str
    reason: str


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
    sessions: int
    events: str
    """Endpoint of the event socket."""


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
