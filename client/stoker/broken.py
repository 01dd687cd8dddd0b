"""The errors of :class:`stoker.Executor`: Stoker's own, which are at the same time what the standard library raises.

A program written for :class:`concurrent.futures.ProcessPoolExecutor` catches ``BrokenProcessPool`` where a worker died
and ``PicklingError`` where a value does not travel; one written for Stoker catches ``WorkerDied`` and ``CannotPack``.
Here each error is both. Unlike there, a broken call breaks no other one.
"""

from __future__ import annotations

from concurrent.futures import process
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import pool
from pickle import PicklingError

from stoker.errors import (
    ArgumentsNotReadable,
    CannotPack,
    ConnectionClosed,
    DaemonLost,
    InitializerFailed,
    NobodyListening,
    ResultNotPackable,
    StokerError,
    WorkerDied,
)

# undocumented, and what everybody's code expects to find as the cause of an exception that comes from a worker
_POOLS_TRACEBACK: type[Exception] = vars(pool)["RemoteTraceback"]
_EXECUTORS_TRACEBACK: type[Exception] = vars(process)["_RemoteTraceback"]


class CallBroken(WorkerDied, BrokenProcessPool):
    """The worker died while it ran this call."""


class ArgumentsUnpicklable(CannotPack, PicklingError):
    """The function or its arguments cannot be pickled."""


class ArgumentsBroken(ArgumentsNotReadable, BrokenProcessPool):
    """The arguments cannot be unpickled in the worker."""


class ValueBroken(ResultNotPackable, PicklingError, BrokenProcessPool):
    """The call's value cannot be pickled by the worker, or not be unpickled here."""


class PoolLost(DaemonLost, BrokenProcessPool):
    """The daemon went away before the call had a result."""


class ExecutorClosed(ConnectionClosed, BrokenProcessPool):
    """The executor's client was closed while the call was under way."""


class InitializerBroke(InitializerFailed, BrokenProcessPool):
    """The initializer raised in a worker: the executor takes no more calls. Its exception is the ``__cause__``."""


_COUNTERPARTS: dict[type[StokerError], type[StokerError]] = {
    WorkerDied: CallBroken,
    CannotPack: ArgumentsUnpicklable,
    ArgumentsNotReadable: ArgumentsBroken,
    ResultNotPackable: ValueBroken,
    DaemonLost: PoolLost,
    NobodyListening: PoolLost,  # it went before the call could be sent
    ConnectionClosed: ExecutorClosed,
}


def translated(error: BaseException) -> BaseException:
    """The exception that a Future gets for what a job ended with.

    Args:
        error: what :meth:`stoker.job.Job.exception` gave.

    Returns:
        The counterpart above of a verdict; the function's own exception as it is, with the cause that
        ``concurrent.futures`` gives it.
    """
    cause = error.__cause__
    if type(error) in _COUNTERPARTS and isinstance(error, StokerError):
        error = _COUNTERPARTS[type(error)](error.message, hint=error.hint, data=error.data)
    if type(cause) is _POOLS_TRACEBACK:
        cause = _EXECUTORS_TRACEBACK(vars(cause)["tb"])
    error.__cause__ = cause
    return error
