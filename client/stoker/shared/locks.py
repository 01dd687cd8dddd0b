"""Lock, RLock, Semaphore, BoundedSemaphore."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from stoker.errors import IllegalMove
from stoker.shared.face import Face

if TYPE_CHECKING:
    from stoker.client import Client


class Acquirable(Face):
    """What is acquired and released, also by ``with``."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002 - as multiprocessing's
        """Acquire it.

        Args:
            block: whether to wait at all.
            timeout: seconds; None: for ever; a negative one: not at all.

        Returns:
            False when it was not acquired in time.
        """
        raise NotImplementedError

    def release(self) -> None:
        """Release it."""
        raise NotImplementedError

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class Lock(Acquirable):
    """A lock with an owner: released when the owner's process dies.

    Args:
        name: its name; None: an anonymous one.
        robust: None: true, or as it was made. False: it stays locked when its owner dies, as multiprocessing's.
        client: whose daemon it lives in; None: the default one's.

    Raises:
        NameTaken: the name belongs to something else.
    """

    _kind = "lock"
    _token: int | None = None

    def __init__(self, name: str | None = None, *, robust: bool | None = None, client: Client | None = None) -> None:
        self._open(name, client, {"robust": robust})

    @property
    def token(self) -> int | None:
        """The fencing token of the last acquisition by this object; None when it has released it.

        It grows with every change of owner: what a lock protects can refuse one that is older than it has seen.
        """
        return self._token

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002 - as multiprocessing's
        """See :meth:`Acquirable.acquire`."""
        reply, _ = self._wait("lock.acquire", timeout if block else 0.0)
        if reply["acquired"]:
            self._token = reply["token"]
        return bool(reply["acquired"])

    def release(self) -> None:
        """Release it. Any process may.

        Raises:
            ValueError: it is not locked, or it was lost meanwhile and is somebody else's.
        """
        token, self._token = self._token, None
        self._ask("lock.release", token=token)

    def locked(self) -> bool:
        """Whether anybody holds it."""
        return self._ask("lock.show")["holder"] is not None


class RLock(Lock):
    """A lock that its owner, a thread, can acquire again. Only the owner can release it: else AssertionError."""

    _kind = "rlock"

    def release(self) -> None:
        """Release it once.

        Raises:
            AssertionError: this thread does not hold it.
        """
        self._ask("lock.release")


class Semaphore(Acquirable):
    """Permits that anybody may take and give.

    Args:
        name: its name; None: an anonymous one.
        value: permits at first; None: 1, or as it was made.
        client: whose daemon it lives in; None: the default one's.
    """

    _kind = "semaphore"

    def __init__(self, name: str | None = None, value: int | None = None, *, client: Client | None = None) -> None:
        self._make(name, client, value=value)

    def _make(self, name: str | None, client: Client | None, **options: Any) -> None:
        if options.get("value") is not None and options["value"] < 0:
            raise ValueError("semaphore initial value must be >= 0")
        self._open(name, client, options)

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002 - as multiprocessing's
        """See :meth:`Acquirable.acquire`."""
        return bool(self._wait("semaphore.acquire", timeout if block else 0.0)[0]["ok"])

    def release(self, n: int = 1) -> None:
        """Give ``n`` permits.

        Raises:
            ValueError: a bounded one would have more than at first.
        """
        try:
            self._ask("semaphore.release", count=n)
        except IllegalMove as why:
            raise ValueError("semaphore or lock released too many times") from why

    def get_value(self) -> int:
        """How many permits are free."""
        return int(self._ask("semaphore.show")["value"])


class BoundedSemaphore(Semaphore):
    """Permits that are taken and given back: never more than at first. The permits of a process that dies come back.

    Args:
        name: its name; None: an anonymous one.
        value: permits at first; None: 1, or as it was made.
        robust: None: true, or as it was made. False: the permits of a process that dies are lost.
        client: whose daemon it lives in; None: the default one's.
    """

    _kind = "bounded-semaphore"

    def __init__(
        self,
        name: str | None = None,
        value: int | None = None,
        *,
        robust: bool | None = None,
        client: Client | None = None,
    ) -> None:
        self._make(name, client, value=value, robust=robust)
