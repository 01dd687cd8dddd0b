"""Lock, RLock, Semaphore, BoundedSemaphore."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from stoker.errors import IllegalMove
from stoker.shared.face import Face
from stoker.shared.holder import holder

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

    Over the direct channel, a release by who holds it is sent and not waited for, since it cannot go wrong unless the
    lock was lost meanwhile. If it was, the next acquire, release or :meth:`locked` of this object raises ValueError.

    Args:
        name: its name; None: an anonymous one.
        robust: None: true, or as it was made. False: it stays locked when its owner dies, as multiprocessing's.
        client: whose daemon it lives in; None: the default one's.

    Raises:
        NameTaken: the name belongs to something else.
    """

    _kind = "lock"
    _token: int | None = None
    _owner: str = ""
    """The holder that acquired it last by this object."""

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
            self._token, self._owner = reply["token"], holder()
        if self._regret is not None:
            if reply["acquired"]:
                self._give_back(reply["token"])
            self._repent()
        return bool(reply["acquired"])

    def release(self) -> None:
        """Release it. Any process may.

        Raises:
            ValueError: it is not locked, or it was lost meanwhile and is somebody else's.
        """
        token, self._token = self._token, None
        if token is not None and self._owner == holder() and self._regret is None and self._connection.direct:
            self._tell("lock.release", {"token": token})
        else:
            self._ask("lock.release", token=token)
            self._repent()

    def _give_back(self, token: int) -> None:
        self._token = None
        self._tell("lock.release", {"token": token})

    def _repent(self) -> None:
        """Raise what an earlier release failed of."""
        regret, self._regret = self._regret, None
        if regret is not None:
            raise regret

    def locked(self) -> bool:
        """Whether anybody holds it."""
        held = self._ask("lock.show")["holder"] is not None
        self._repent()
        return held


class RLock(Lock):
    """A lock that its owner, a thread, can acquire again. Only the owner can release it: else AssertionError."""

    _kind = "rlock"

    def _adopt(self, object_id: str, endpoint: str) -> None:
        super()._adopt(object_id, endpoint)
        self._depths: dict[str, int] = {}
        """How often each holder has it, as far as it was acquired by this object."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002 - as multiprocessing's
        """See :meth:`Acquirable.acquire`."""
        acquired = super().acquire(block, timeout)
        if acquired:
            me = holder()
            self._depths[me] = self._depths.get(me, 0) + 1
        return acquired

    def release(self) -> None:
        """Release it once.

        Raises:
            AssertionError: this thread does not hold it.
        """
        me = holder()
        depth = self._depths.pop(me, 0)
        if depth > 1:
            self._depths[me] = depth - 1
        if depth and self._regret is None and self._connection.direct:
            self._tell("lock.release", {})
        else:
            self._ask("lock.release")
            self._repent()

    def _give_back(self, token: int) -> None:  # noqa: ARG002 - an rlock is released by its owner, not by a token
        self._tell("lock.release", {})


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
