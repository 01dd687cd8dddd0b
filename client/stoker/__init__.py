"""Stoker: Python's multiprocessing as a system service.

Names are imported on first use, so that a program pays only for what it touches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stoker.client import Client
    from stoker.default import default_client
    from stoker.errors import (
        CannotPack,
        DaemonLost,
        DeadlineExceeded,
        JobCancelled,
        JobError,
        JobFailed,
        JobTimedOut,
        NobodyListening,
        QueueFull,
        ResultNotPackable,
        StokerError,
        WorkerDied,
    )
    from stoker.executor import Executor
    from stoker.job import Job, KeptJob
    from stoker.shared import (
        Array,
        Barrier,
        BoundedSemaphore,
        Condition,
        Dict,
        Event,
        JoinableQueue,
        List,
        Lock,
        Namespace,
        Queue,
        RawArray,
        RawValue,
        RLock,
        Semaphore,
        SimpleQueue,
        Value,
    )

__version__ = "0.1.0"

__all__ = [
    "Array",
    "Barrier",
    "BoundedSemaphore",
    "CannotPack",
    "Client",
    "Condition",
    "DaemonLost",
    "DeadlineExceeded",
    "Dict",
    "Event",
    "Executor",
    "Job",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobTimedOut",
    "JoinableQueue",
    "KeptJob",
    "List",
    "Lock",
    "Namespace",
    "NobodyListening",
    "Queue",
    "QueueFull",
    "RLock",
    "RawArray",
    "RawValue",
    "ResultNotPackable",
    "Semaphore",
    "SimpleQueue",
    "StokerError",
    "Value",
    "WorkerDied",
    "__version__",
    "default_client",
]

_SHARED = (
    "Array",
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Dict",
    "Event",
    "JoinableQueue",
    "List",
    "Lock",
    "Namespace",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "Semaphore",
    "SimpleQueue",
    "Value",
)
_HOMES = {
    "Client": "client",
    "Executor": "executor",
    "Job": "job",
    "KeptJob": "job",
    "default_client": "default",
    **dict.fromkeys(_SHARED, "shared"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"stoker.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
