"""Every lifecycle as a table: state x event -> state.

A move that is not in its table raises :class:`~stoker.errors.IllegalMove` and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from stoker.errors import IllegalMove


class JobState(StrEnum):
    """Where a job stands. Times and verdicts are in :class:`~stoker.protocol.models.JobInfo`."""

    QUEUED = "queued"
    DELAYED = "delayed"
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed-out"
    WORKER_DIED = "worker-died"
    QUARANTINED = "quarantined"
    LOST_WITH_DAEMON = "lost-with-daemon"


class JobEvent(StrEnum):
    """What can happen to a job."""

    RELEASE = "release"
    DISPATCH = "dispatch"
    RETURN = "return"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    TIME_OUT = "time-out"
    WORKER_DIE = "worker-die"
    QUARANTINE = "quarantine"
    DAEMON_LOST = "daemon-lost"
    RETRY = "retry"
    POSTPONE = "postpone"
    DEPEND = "depend"


class WorkerState(StrEnum):
    """Where a worker of a pool stands."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    STOPPING = "stopping"
    DEAD = "dead"


class WorkerEvent(StrEnum):
    """What can happen to a worker."""

    READY = "ready"
    ASSIGN = "assign"
    REST = "rest"
    STOP = "stop"
    EXIT = "exit"


class BurnerState(StrEnum):
    """Where a burner stands."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class BurnerEvent(StrEnum):
    """What can happen to a burner."""

    OBSERVE = "observe"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    REAPED = "reaped"
    FAIL = "fail"


class GuardState(StrEnum):
    """Where a guard of a burner stands."""

    WATCHING = "watching"
    TRIPPED = "tripped"


class GuardEvent(StrEnum):
    """What a guard can see."""

    EXCEED = "exceed"
    CALM = "calm"


class ProcessState(StrEnum):
    """Where a supervised process stands: *is*, apart from *wanted* in its info."""

    WAITING = "waiting"
    """For those that it comes after."""
    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"
    DOWN = "down"
    BACKOFF = "backoff"
    FLAPPING = "flapping"
    """Given up: it ended too often within too short a time."""
    FATAL = "fatal"
    """Given up: it can't be started, or it ended with a code that says so."""


class ProcessEvent(StrEnum):
    """What can happen to a supervised process."""

    HOLD = "hold"
    START = "start"
    READY = "ready"
    EXIT = "exit"
    GIVE_UP = "give-up"
    FAIL = "fail"
    STOP = "stop"
    WAIT = "wait"


class ForkserverState(StrEnum):
    """Where a forkserver stands."""

    STARTING = "starting"
    READY = "ready"
    CLOSING = "closing"
    ENDED = "ended"


class ForkserverEvent(StrEnum):
    """What can happen to a forkserver."""

    READY = "ready"
    CLOSE = "close"
    EXIT = "exit"


class DaemonState(StrEnum):
    """Where the daemon stands."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


ENDED_JOB_STATES = frozenset(
    {
        JobState.DONE,
        JobState.FAILED,
        JobState.CANCELLED,
        JobState.TIMED_OUT,
        JobState.WORKER_DIED,
        JobState.QUARANTINED,
        JobState.LOST_WITH_DAEMON,
    }
)

JOB_MOVES: Mapping[tuple[JobState, JobEvent], JobState] = {
    (JobState.DELAYED, JobEvent.RELEASE): JobState.QUEUED,
    (JobState.WAITING, JobEvent.RELEASE): JobState.QUEUED,
    (JobState.QUEUED, JobEvent.DISPATCH): JobState.RUNNING,
    (JobState.RUNNING, JobEvent.RETURN): JobState.QUEUED,
    (JobState.RUNNING, JobEvent.SUCCEED): JobState.DONE,
    (JobState.RUNNING, JobEvent.FAIL): JobState.FAILED,
    (JobState.RUNNING, JobEvent.TIME_OUT): JobState.TIMED_OUT,
    (JobState.RUNNING, JobEvent.WORKER_DIE): JobState.WORKER_DIED,
    (JobState.RUNNING, JobEvent.QUARANTINE): JobState.QUARANTINED,
    **{(state, JobEvent.FAIL): JobState.FAILED for state in (JobState.QUEUED, JobState.DELAYED, JobState.WAITING)},
    (JobState.QUEUED, JobEvent.DEPEND): JobState.WAITING,
    (JobState.QUEUED, JobEvent.POSTPONE): JobState.DELAYED,
    (JobState.WAITING, JobEvent.POSTPONE): JobState.DELAYED,
    **{(state, JobEvent.DAEMON_LOST): JobState.LOST_WITH_DAEMON for state in (JobState.QUEUED, JobState.RUNNING)},
    **{
        (state, JobEvent.CANCEL): JobState.CANCELLED
        for state in (JobState.QUEUED, JobState.DELAYED, JobState.WAITING, JobState.RUNNING)
    },
    **{(state, JobEvent.RETRY): JobState.QUEUED for state in ENDED_JOB_STATES - {JobState.DONE}},
}

WORKER_MOVES: Mapping[tuple[WorkerState, WorkerEvent], WorkerState] = {
    (WorkerState.STARTING, WorkerEvent.READY): WorkerState.IDLE,
    (WorkerState.IDLE, WorkerEvent.ASSIGN): WorkerState.BUSY,
    (WorkerState.BUSY, WorkerEvent.ASSIGN): WorkerState.BUSY,
    (WorkerState.BUSY, WorkerEvent.REST): WorkerState.IDLE,
    **{
        (state, WorkerEvent.STOP): WorkerState.STOPPING
        for state in (WorkerState.STARTING, WorkerState.IDLE, WorkerState.BUSY, WorkerState.STOPPING)
    },
    (WorkerState.STOPPING, WorkerEvent.READY): WorkerState.STOPPING,
    (WorkerState.STOPPING, WorkerEvent.REST): WorkerState.STOPPING,
    **{
        (state, WorkerEvent.EXIT): WorkerState.DEAD
        for state in (WorkerState.STARTING, WorkerState.IDLE, WorkerState.BUSY, WorkerState.STOPPING)
    },
}

BURNER_MOVES: Mapping[tuple[BurnerState, BurnerEvent], BurnerState] = {
    (BurnerState.STARTING, BurnerEvent.OBSERVE): BurnerState.RUNNING,
    (BurnerState.RUNNING, BurnerEvent.PAUSE): BurnerState.PAUSED,
    (BurnerState.PAUSED, BurnerEvent.RESUME): BurnerState.RUNNING,
    **{
        (state, BurnerEvent.STOP): BurnerState.STOPPING
        for state in (BurnerState.STARTING, BurnerState.RUNNING, BurnerState.PAUSED, BurnerState.STOPPING)
    },
    (BurnerState.STOPPING, BurnerEvent.REAPED): BurnerState.STOPPED,
    **{
        (state, BurnerEvent.FAIL): BurnerState.FAILED
        for state in (BurnerState.STARTING, BurnerState.RUNNING, BurnerState.PAUSED, BurnerState.STOPPING)
    },
}

GUARD_MOVES: Mapping[tuple[GuardState, GuardEvent], GuardState] = {
    (GuardState.WATCHING, GuardEvent.EXCEED): GuardState.TRIPPED,
    (GuardState.TRIPPED, GuardEvent.CALM): GuardState.WATCHING,
}

PROCESS_MOVES: Mapping[tuple[ProcessState, ProcessEvent], ProcessState] = {
    **{
        (state, ProcessEvent.HOLD): ProcessState.WAITING
        for state in (ProcessState.DOWN, ProcessState.FLAPPING, ProcessState.FATAL)
    },
    **{
        (state, ProcessEvent.START): ProcessState.STARTING
        for state in (
            ProcessState.DOWN,
            ProcessState.WAITING,
            ProcessState.BACKOFF,
            ProcessState.FLAPPING,
            ProcessState.FATAL,
        )
    },
    (ProcessState.STARTING, ProcessEvent.READY): ProcessState.UP,
    **{
        (state, ProcessEvent.STOP): ProcessState.STOPPING
        for state in (ProcessState.STARTING, ProcessState.UP, ProcessState.STOPPING)
    },
    **{
        (state, ProcessEvent.STOP): ProcessState.DOWN
        for state in (
            ProcessState.WAITING,
            ProcessState.BACKOFF,
            ProcessState.FLAPPING,
            ProcessState.FATAL,
            ProcessState.DOWN,
        )
    },
    **{
        (state, ProcessEvent.EXIT): ProcessState.DOWN
        for state in (ProcessState.STARTING, ProcessState.UP, ProcessState.STOPPING)
    },
    (ProcessState.DOWN, ProcessEvent.WAIT): ProcessState.BACKOFF,
    (ProcessState.DOWN, ProcessEvent.GIVE_UP): ProcessState.FLAPPING,
    (ProcessState.DOWN, ProcessEvent.FAIL): ProcessState.FATAL,
    (ProcessState.WAITING, ProcessEvent.FAIL): ProcessState.FATAL,
}

FORKSERVER_MOVES: Mapping[tuple[ForkserverState, ForkserverEvent], ForkserverState] = {
    (ForkserverState.STARTING, ForkserverEvent.READY): ForkserverState.READY,
    (ForkserverState.CLOSING, ForkserverEvent.READY): ForkserverState.CLOSING,
    **{
        (state, ForkserverEvent.CLOSE): ForkserverState.CLOSING
        for state in (ForkserverState.STARTING, ForkserverState.READY, ForkserverState.CLOSING)
    },
    **{
        (state, ForkserverEvent.EXIT): ForkserverState.ENDED
        for state in (ForkserverState.STARTING, ForkserverState.READY, ForkserverState.CLOSING)
    },
}


S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


def step(table: Mapping[tuple[S, E], S], state: S, event: E) -> S:
    """The state after ``event``.

    Raises:
        IllegalMove: the table has no such step.
    """
    try:
        return table[state, event]
    except KeyError:
        raise IllegalMove(
            f"{event} is not possible while {state}",
            data={"state": str(state), "event": str(event)},
        ) from None
