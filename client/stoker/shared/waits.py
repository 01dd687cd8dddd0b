"""Event, Condition, Barrier."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from stoker.errors import BrokenBarrier, StokerError
from stoker.shared.face import Face
from stoker.shared.locks import Lock, RLock

if TYPE_CHECKING:
    from stoker.client import Client

T = TypeVar("T")


class Event(Face):
    """A flag to wait for.

    Args:
        name: its name; None: an anonymous one.
        client: whose daemon it lives in; None: the default one's.
    """

    _kind = "event"

    def __init__(self, name: str | None = None, *, client: Client | None = None) -> None:
        self._open(name, client, {})

    def is_set(self) -> bool:
        """Whether it is set."""
        return self.wait(0.0)

    def set(self) -> None:
        """Set it: whoever waits goes on."""
        self._ask("event.set")

    def clear(self) -> None:
        """Clear it."""
        self._ask("event.clear")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, for at most ``timeout`` seconds; returns whether it is."""
        return bool(self._wait("event.wait", timeout)[0]["ok"])

    def __repr__(self) -> str:
        try:
            state = "set" if self.is_set() else "unset"
        except StokerError:
            state = "unreachable"
        return f"<{type(self).__name__} at {self._endpoint} {self._id} {state}>"


class Condition(Face):
    """A condition with its lock.

    Args:
        name: its name; None: an anonymous one.
        lock: a Lock or RLock to use; None: an RLock of its own.
        client: whose daemon it lives in; None: the lock's, else the default one's.
    """

    _kind = "condition"

    def __init__(self, name: str | None = None, lock: Lock | None = None, *, client: Client | None = None) -> None:
        if lock is not None:
            client = client or lock._client  # noqa: SLF001 - both live in the same daemon
        reply = self._open(name, client, {"lock": None if lock is None else lock.id})
        self._lock = lock or attached(RLock, reply["lock"], self)
        self.acquire, self.release = self._lock.acquire, self._lock.release

    def wait(self, timeout: float | None = None) -> bool:
        """Give the lock up, wait to be notified, for at most ``timeout`` seconds, and acquire the lock again.

        Returns:
            False when the time was over first.

        Raises:
            AssertionError: the lock is not held.
        """
        reply, _ = self._wait("condition.wait", timeout)
        if self._lock.token is not None:
            self._lock._token = reply["token"]  # noqa: SLF001 - it has a new owner's token now
        return bool(reply["notified"])

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Wait until ``predicate`` is true, for at most ``timeout`` seconds; returns its last value."""
        deadline = None if timeout is None else time.monotonic() + timeout
        result = predicate()
        while not result:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
            result = predicate()
        return result

    def notify(self, n: int = 1) -> None:
        """Wake the ``n`` who have waited longest.

        Raises:
            AssertionError: the lock is not held.
        """
        self._ask("condition.notify", count=n)

    def notify_all(self) -> None:
        """Wake all who wait."""
        self._ask("condition.notify", count=None)

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()

    def __getstate__(self) -> dict[str, Any]:
        own = self._lock._id == f"{self._id}~lock"  # noqa: SLF001 - its face
        return {**super().__getstate__(), "lock": None if own else self._lock}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._lock = state["lock"] or attached(RLock, f"{self._id}~lock", self)
        self.acquire, self.release = self._lock.acquire, self._lock.release


class Barrier(Face):
    """Parties that wait for each other.

    Args:
        name: its name; None: an anonymous one.
        parties: how many; None: as it was made.
        action: called by one of them before all go on.
        timeout: seconds that a ``wait`` without its own may take; None: for ever.
        client: whose daemon it lives in; None: the default one's.
    """

    _kind = "barrier"

    def __init__(
        self,
        name: str | None = None,
        parties: int | None = None,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        client: Client | None = None,
    ) -> None:
        options = {"parties": parties, "action": True if action is not None else None}
        self.parties = int(self._open(name, client, options)["options"]["parties"])
        self._action, self._timeout = action, timeout

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the others; returns which one this is, 0 for one of them.

        Raises:
            threading.BrokenBarrierError: the time was over for one of them, one died, or somebody aborted or reset it.
        """
        try:
            reply, _ = self._wait("barrier.wait", self._timeout if timeout is None else timeout)
            if reply["act"]:
                self._act()
        except BrokenBarrier as why:
            raise threading.BrokenBarrierError(why.message) from None
        return int(reply["index"])

    def _act(self) -> None:
        try:
            if self._action is not None:
                self._action()
        except BaseException:
            self.abort()
            raise
        self._ask("barrier.pass")

    def reset(self) -> None:
        """Make it as new; whoever waits gets BrokenBarrierError."""
        self._ask("barrier.reset")

    def abort(self) -> None:
        """Break it; whoever waits, or comes before a reset, gets BrokenBarrierError."""
        self._ask("barrier.abort")

    @property
    def n_waiting(self) -> int:
        """How many have arrived."""
        return int(self._ask("barrier.show")["waiting"])

    @property
    def broken(self) -> bool:
        """Whether it is broken."""
        return bool(self._ask("barrier.show")["broken"])

    def __getstate__(self) -> dict[str, Any]:
        mine = {"parties": self.parties, "action": self._action, "timeout": self._timeout}
        return {**super().__getstate__(), **mine}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.parties, self._action, self._timeout = state["parties"], state["action"], state["timeout"]


F = TypeVar("F", bound=Face)


def attached(kind: type[F], object_id: str, whose: Face) -> F:
    """The face of an object that goes with another, and keeps that one alive."""
    face = kind.__new__(kind)
    face._client = whose._client  # noqa: SLF001 - a face of the same family
    face._adopt(object_id, whose._endpoint)  # noqa: SLF001 - likewise
    face._whose = whose  # noqa: SLF001 - likewise
    return face
