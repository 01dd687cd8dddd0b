"""When the daemon goes away and comes back: what may be asked again, and for how long that is worth it.

Pure decisions, no sockets and no sleep, for both drivers (:mod:`stoker.connection`, :mod:`stoker.aio`).

*What has not left* may be sent to the next daemon whatever it is. *What may have been carried out* is asked again only
where doing it twice is doing it once: :data:`TWICE`, and a submit in which each job has an idempotency key. Anything
else fails, and its caller decides. So no job is ever submitted twice.

*For how long*: a daemon that a service manager has started says so (``supervised`` of its ``hello``), and is waited
for. Nobody starts a private daemon again, so its loss is told at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from stoker.errors import DaemonLost, InvalidParams, NobodyListening, NotFound, ShuttingDown, StokerError

PATIENCE = 60.0
"""Seconds for which a supervised daemon is waited for: the 30 of the unit's TimeoutStopSec, and as many to start."""

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
"""Seconds between two attempts; each is twice the one before."""

TWICE = frozenset(
    (
        *("ping", "status", "figures", "jobs", "wait", "result", "logs", "events", "config", "room", "queue.size"),
        *("cancel", "stop", "set", "limit", "drain", "reload", "keys"),
    )
)
"""Methods that have the same effect whether they are asked once or twice."""

POINTLESS = frozenset(("queue.ack", "object.withdraw", "lock.release", "lend", "progress", "bye"))
"""Methods that undo or settle what went with the daemon: the next one knows nothing of it, so it is not waited for."""

_OF_JOBS = frozenset(("jobs", "wait", "result", "logs", "cancel"))

ABSENT = (NobodyListening, DaemonLost, ShuttingDown)
"""What a request fails of while the daemon is away."""


def patience_of(environ: Mapping[str, str]) -> float | None:
    """What ``STOKER_RECONNECT`` says, in seconds; None where it says nothing.

    Raises:
        InvalidParams: it is not a number of seconds.
    """
    text = environ.get("STOKER_RECONNECT")
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86_400:
        raise InvalidParams(
            f"STOKER_RECONNECT is {text!r:.50}, and not a number of seconds from 0 to 86400",
            hint="0: a daemon that went away is not waited for",
        )
    return seconds


def repeatable(method: str, params: Mapping[str, Any]) -> bool:
    """Whether a request that may have been carried out can be asked once more."""
    if method == "submit":
        jobs = params.get("jobs") or ()
        return not params.get("stream") and bool(jobs) and all(job.get("key") is not None for job in jobs)
    return method in TWICE


def keyed(spec: dict[str, Any]) -> dict[str, Any]:
    """A job's spec with a key of its own, if it is one that outlives the daemon: then it can be handed in again.

    Args:
        spec: fields of the wire's ``JobSpec``.
    """
    if spec.get("key") is not None or not (spec.get("durable") or ("command" in spec and "durable" not in spec)):
        return spec
    return spec | {"key": f"once-{os.urandom(16).hex()}"}


class Comeback:
    """The attempts at one request.

    Args:
        method: the word on the wire.
        params: its parameters.
        until: when to give up, on the clock whose time is passed in.
    """

    def __init__(self, method: str, params: dict[str, Any], until: float) -> None:
        self.method, self.params = method, params
        self._until = until
        self._pause = FIRST_PAUSE
        self._lost: StokerError | None = None

    def pause(self, why: StokerError, now: float, *, left: bool) -> float | None:
        """What to do about a failure.

        Args:
            why: one of :data:`ABSENT`.
            now: the time.
            left: whether the request had been handed over.

        Returns:
            Seconds until the next attempt; None: there is none, and ``why`` is the answer.
        """
        if isinstance(why, DaemonLost) and left:
            self._lost = why
        if now >= self._until or self.method in POINTLESS or (left and not repeatable(self.method, self.params)):
            return None
        seconds, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        return min(seconds, self._until - now)

    def verdict(self, error: StokerError) -> StokerError:
        """What a later attempt was answered, in the light of the loss before it: that a job is unknown now means
        that it was lost with the daemon.
        """
        if self._lost is None or not isinstance(error, NotFound) or self.method not in _OF_JOBS:
            return error
        return DaemonLost(
            f"{self._lost.message} and came back, and the job was lost with it ({error.message})",
            hint="submit it with durable=True, and it outlives the daemon",
        )
