"""Locks, semaphores, conditions, events and barriers with the signatures of :mod:`multiprocessing`.

They live in the daemon and have no name; those of :mod:`stoker.shared` do the same and may have one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stoker import shared

__all__ = ["Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore"]

# "ctx" is not used anywhere; it is here for the sake of programs that give one.


class Lock(shared.Lock):
    """See :class:`multiprocessing.Lock`. It has an owner, and is released when that one's process dies."""

    def __init__(self, *, ctx: object = None) -> None:  # noqa: ARG002
        super().__init__()


class RLock(shared.RLock):
    """See :class:`multiprocessing.RLock`. It is released when its owner's process dies."""

    def __init__(self, *, ctx: object = None) -> None:  # noqa: ARG002
        super().__init__()


class Semaphore(shared.Semaphore):
    """See :class:`multiprocessing.Semaphore`."""

    def __init__(self, value: int = 1, *, ctx: object = None) -> None:  # noqa: ARG002
        super().__init__(None, value)


class BoundedSemaphore(shared.BoundedSemaphore):
    """See :class:`multiprocessing.BoundedSemaphore`. The permits of a process that dies come back."""

    def __init__(self, value: int = 1, *, ctx: object = None) -> None:  # noqa: ARG002
        super().__init__(None, value)


class Condition(shared.Condition):
    """See :class:`multiprocessing.Condition`."""

    def __init__(self, lock: Any = None, *, ctx: object = None) -> None:  # noqa: ARG002
        super().__init__(None, lock)


class Event(shared.Event):
    """See :class:`multiprocessing.Event`."""

    def __init__(self, *, ctx: object = None) -> None:  # noqa: ARG002
        super().__init__()


class Barrier(shared.Barrier):
    """See :class:`multiprocessing.Barrier`."""

    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        ctx: object = None,  # noqa: ARG002
    ) -> None:
        super().__init__(None, parties, action, timeout)
