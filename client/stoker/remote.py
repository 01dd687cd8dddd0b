"""Errors coming back: from what the worker sent to the exception that the caller sees."""

from __future__ import annotations

import pickle
from typing import Any

from stoker.errors import JobError, JobFailed, from_wire


def rebuild(wire: dict[str, Any]) -> BaseException:
    """The exception that a job's error map stands for.

    The worker's own exception where it can be unpickled here, with the worker's traceback as its ``__cause__`` (a
    :class:`multiprocessing.pool.RemoteTraceback`, as the standard library's pools do); else a :class:`JobFailed` with
    ``type`` and ``traceback`` in its ``data``. Verdicts that are the daemon's (the worker died, the time limit) become
    their own :class:`~stoker.errors.JobError`.

    Args:
        wire: an ``ErrorInfo`` map, with the pickled exception under ``pickle`` where there is one.
    """
    traceback = str(wire.get("traceback") or "")
    error = _original(wire)
    if error is None:
        error = from_wire(wire)
        if isinstance(error, JobError):
            error.data |= {key: wire[key] for key in ("type", "traceback") if wire.get(key)}
        if isinstance(error, JobFailed) and traceback and not error.message.startswith(str(wire["type"])):
            error.message = f"{wire['type']}: {error.message}"
            error.args = (error.message,)
    if traceback:
        from multiprocessing import pool

        cause: type[Exception] = vars(pool)["RemoteTraceback"]  # undocumented, and what everybody's code expects
        error.__cause__ = cause(f'\n"""\n{traceback}"""')
    return error


def _original(wire: dict[str, Any]) -> BaseException | None:
    packed = wire.get("pickle")
    if not isinstance(packed, bytes | bytearray | memoryview):
        return None
    try:
        error = pickle.loads(packed)  # noqa: S301 - it comes from this user's own worker
    except Exception:
        return None
    return error if isinstance(error, BaseException) else None
