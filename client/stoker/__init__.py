"""Stoker: Python's multiprocessing as a system service.

Names are imported on first use, so that a program pays only for what it touches.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stoker import aio
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
    from stoker.progressing import progress
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
    from stoker.watching import gather, watch

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
    "aio",
    "default_client",
    "gather",
    "progress",
    "watch",
]

_MODULES = ("aio",)
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
    "gather": "watching",
    "progress": "progressing",
    "watch": "watching",
    **dict.fromkeys(_SHARED, "shared"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    if name in _MODULES:
        value: Any = importlib.import_module(f"stoker.{name}")
    else:
        value = getattr(importlib.import_module(f"stoker.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    if "IPython" in sys.modules:
        _settle_in()
    return value


def _settle_in() -> None:
    """Under IPython: how jobs look, and that an interrupted cell cancels what it waited for."""
    shell = sys.modules["IPython"].get_ipython()
    if shell is not None and "stoker.integrations.ipython" not in sys.modules:
        from stoker.integrations.ipython import load_ipython_extension

        load_ipython_extension(shell)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
