"""One frozen struct per event: a numbered fact, something changed state.

``topic`` is what subscribers filter by; its first word is the noun. Events tell *that* something changed and
the little that a listener needs to act; ``status`` has the rest.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from stoker.protocol.states import BurnerState, JobState, ProcessState


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The base of every event."""

    topic: ClassVar[str]


class DaemonReady(Event, kw_only=True, frozen=True):
    """The control socket answers."""

    topic: ClassVar[str] = "daemon.ready"
    pid: int
    endpoint: str


class DaemonDraining(Event, kw_only=True, frozen=True):
    """The daemon takes no new work and is about to end."""

    topic: ClassVar[str] = "daemon.draining"
    grace: float


class ConfigReloaded(Event, kw_only=True, frozen=True):
    """The configuration file was read again and the difference applied."""

    topic: ClassVar[str] = "daemon.reloaded"
    changed: tuple[str, ...]


class SessionOpened(Event, kw_only=True, frozen=True):
    """A client said hello; ``key`` is the name of the key that it came with over tcp."""

    topic: ClassVar[str] = "session.opened"
    session: str
    client: str
    pid: int | None = None
    role: str = ""
    key: str = ""


class SessionClosed(Event, kw_only=True, frozen=True):
    """A client left, died or was not heard from."""

    topic: ClassVar[str] = "session.closed"
    session: str
    reason: str


class JobsQueued(Event, kw_only=True, frozen=True):
    """Jobs ``id … id+count-1`` were accepted."""

    topic: ClassVar[str] = "job.queued"
    id: int
    count: int
    name: str
    pool: str


class JobsStarted(Event, kw_only=True, frozen=True):
    """Jobs ``id … id+count-1`` were handed to a worker."""

    topic: ClassVar[str] = "job.started"
    id: int
    count: int
    pool: str
    pid: int | None


class JobsEnded(Event, kw_only=True, frozen=True):
    """Jobs ``id … id+count-1`` ended alike."""

    topic: ClassVar[str] = "job.ended"
    id: int
    count: int
    pool: str
    state: JobState
    message: str = ""


class JobsRetried(Event, kw_only=True, frozen=True):
    """An attempt of job ``id`` failed, and it is tried again, ``delay`` seconds from now."""

    topic: ClassVar[str] = "job.retried"
    id: int
    pool: str
    attempt: int
    """The attempt that failed."""
    state: JobState
    """How it failed."""
    delay: float
    message: str = ""


class JobProgressed(Event, kw_only=True, frozen=True):
    """A job says how far it has come."""

    topic: ClassVar[str] = "job.progress"
    id: int
    done: float
    total: float | None = None
    note: str = ""


class StoreChanged(Event, kw_only=True, frozen=True):
    """What is durable can no longer be written, for this reason; or can again: the reason is empty."""

    topic: ClassVar[str] = "store.changed"
    reason: str


class WorkerStarted(Event, kw_only=True, frozen=True):
    """A worker is ready."""

    topic: ClassVar[str] = "worker.started"
    pool: str
    worker: int
    pid: int


class WorkerEnded(Event, kw_only=True, frozen=True):
    """A worker is gone and reaped; ``job`` is the job that it was running."""

    topic: ClassVar[str] = "worker.ended"
    pool: str
    worker: int
    pid: int | None
    reason: str
    job: int | None = None


class PoolChanged(Event, kw_only=True, frozen=True):
    """A pool was created, resized, paused, resumed or removed."""

    topic: ClassVar[str] = "pool.changed"
    name: str
    change: str
    size: int


class BurnerChanged(Event, kw_only=True, frozen=True):
    """A burner moved to another state or its target was set."""

    topic: ClassVar[str] = "burner.changed"
    name: str
    state: BurnerState
    target: float
    workers: int
    reason: str = ""


class BurnerShortfall(Event, kw_only=True, frozen=True):
    """A burner began to fall short of its target (``reason`` says why, ``code`` for programs), or no longer does.

    Loads in percent of what its 100 % is, others and steal in percent of the machine, all of the last second.
    """

    topic: ClassVar[str] = "burner.shortfall"
    name: str
    short: bool
    target: float
    achieved: float
    shortfall: float
    others: float
    steal: float
    code: str = ""
    reason: str = ""


class BurnerGuard(Event, kw_only=True, frozen=True):
    """A guard of a burner has tripped, or is clear again."""

    topic: ClassVar[str] = "burner.guard"
    name: str
    guard: str
    action: str
    tripped: bool
    reading: float | None
    reason: str = ""


class ProcessChanged(Event, kw_only=True, frozen=True):
    """A supervised process moved to another state."""

    topic: ClassVar[str] = "process.changed"
    name: str
    state: ProcessState
    pid: int | None = None
    reason: str = ""


class ForkserverStarted(Event, kw_only=True, frozen=True):
    """An environment has its forkserver."""

    topic: ClassVar[str] = "forkserver.started"
    environment: str
    executable: str
    pid: int


class ForkserverEnded(Event, kw_only=True, frozen=True):
    """A forkserver is gone, and all that it had forked."""

    topic: ClassVar[str] = "forkserver.ended"
    environment: str
    pid: int
    reason: str


class ObjectChanged(Event, kw_only=True, frozen=True):
    """A shared object was created, removed, or lost its holder."""

    topic: ClassVar[str] = "object.changed"
    id: str
    kind: str
    change: str
    name: str = ""


def all_events() -> dict[str, type[Event]]:
    """Every event by its topic."""
    return {kind.topic: kind for kind in Event.__subclasses__()}
