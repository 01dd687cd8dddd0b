"""``from stoker import multiprocessing``: the standard library's names, whose processes and objects are a daemon's.

Change the import, and the processes, pools, queues, locks and values of a program live in the daemon: they work from a
script, ``python -``, the interactive interpreter and a notebook alike, need no ``__main__`` guard, take any function,
and can be watched with ``stoker status``. See ``docs/compatibility.md`` for what is the same and what is not.

Names are imported on first use. Nothing is connected or started before the first object is made.
"""

from __future__ import annotations

import multiprocessing as _standard
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing import (
        AuthenticationError,
        BufferTooShort,
        ProcessError,
        TimeoutError,  # noqa: A004 - the standard library's name
        active_children,
        current_process,
        get_logger,
        log_to_stderr,
        parent_process,
    )

    from stoker.multiprocessing.connection import Pipe
    from stoker.multiprocessing.context import (
        allow_connection_pickling,
        cpu_count,
        freeze_support,
        get_all_start_methods,
        get_context,
        get_start_method,
        set_executable,
        set_forkserver_preload,
        set_start_method,
    )
    from stoker.multiprocessing.managers import SyncManager as Manager
    from stoker.multiprocessing.pool import Pool
    from stoker.multiprocessing.process import Process
    from stoker.multiprocessing.queues import JoinableQueue, Queue, SimpleQueue
    from stoker.multiprocessing.sharedctypes import Array, RawArray, RawValue, Value
    from stoker.multiprocessing.synchronize import (
        Barrier,
        BoundedSemaphore,
        Condition,
        Event,
        Lock,
        RLock,
        Semaphore,
    )

__all__ = [
    "Array",
    "AuthenticationError",
    "Barrier",
    "BoundedSemaphore",
    "BufferTooShort",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Manager",
    "Pipe",
    "Pool",
    "Process",
    "ProcessError",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "Semaphore",
    "SimpleQueue",
    "TimeoutError",
    "Value",
    "active_children",
    "allow_connection_pickling",
    "cpu_count",
    "current_process",
    "freeze_support",
    "get_all_start_methods",
    "get_context",
    "get_logger",
    "get_start_method",
    "log_to_stderr",
    "parent_process",
    "set_executable",
    "set_forkserver_preload",
    "set_start_method",
]

_HERE = "stoker.multiprocessing."
_HOMES = {
    "Pipe": "connection",
    "Pool": "pool",
    "Process": "process",
    **dict.fromkeys(("JoinableQueue", "Queue", "SimpleQueue"), "queues"),
    **dict.fromkeys(("Array", "RawArray", "RawValue", "Value"), "sharedctypes"),
    **dict.fromkeys(("Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore"), "synchronize"),
    **dict.fromkeys(
        (
            "allow_connection_pickling",
            "cpu_count",
            "freeze_support",
            "get_all_start_methods",
            "get_context",
            "get_start_method",
            "set_executable",
            "set_forkserver_preload",
            "set_start_method",
        ),
        "context",
    ),
}
_MODULES = (
    "connection",
    "context",
    "dummy",
    "managers",
    "pool",
    "process",
    "queues",
    "shared_memory",
    "sharedctypes",
    "synchronize",
)
_ELSEWHERE = {
    "heap": "values live in the daemon, not in memory of this program's; see stoker.shared",
    "popen_fork": "the daemon forks; see stoker.multiprocessing.process",
    "popen_forkserver": "the daemon forks; see stoker.multiprocessing.process",
    "popen_spawn_posix": "the daemon forks; see stoker.multiprocessing.process",
    "resource_sharer": "nothing is handed on by descriptor here",
    "spawn": "the daemon forks; see stoker.multiprocessing.process",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _MODULES:
        return importlib.import_module(_HERE + name)
    if name == "Manager":
        value: Any = importlib.import_module(_HERE + "managers").SyncManager
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HERE + _HOMES[name]), name)
    elif name in __all__:
        value = getattr(_standard, name)
    elif name in ("reduction", "util"):
        value = importlib.import_module(f"multiprocessing.{name}")  # of any multiprocessing's use
    else:
        why = f": {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{why}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
