"""Lock, RLock, Semaphore, BoundedSemaphore."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from stoker.errors import IllegalMove, StokerError
from stoker.protocol.codec import Frame
from stoker.protocol.framing import close_descriptors
from stoker.shared.borrowing import BEFORE, Loan, Loans, loans_of
from stoker.shared.face import Face
from stoker.shared.holder import holder, holder_number

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
    A process that keeps using a lock alone is lent it, and sends nothing at all until another one wants it.

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
    _asked = 0
    """How often the daemon was asked for it, up to :data:`stoker.shared.borrowing.BEFORE`."""

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
        loans: Loans | None = self._connection.loans
        if loans is None or self._regret is not None or (loan := loans.by_lock.get(self._id)) is None:
            return self._acquire_asking(block, timeout)
        token = loan.take(holder_number(), self._late)
        if token > 0:
            self._token, self._owner = token, holder()
            return True
        if token == 0:
            return self._acquire_asking(block, timeout)
        loans.forget(self._id, loan)
        try:
            return self._acquire_asking(block, timeout, {"returned": [loan.number], "declined": -token})
        except BaseException:
            self._late(loan, -token)
            raise

    def _acquire_asking(self, block: bool, timeout: float | None, declined: dict[str, Any] | None = None) -> bool:  # noqa: FBT001 - handed on
        """Acquire it by message."""
        loans = self._borrow()
        params = {} if loans is None else loans.terms()
        if declined is not None:
            params |= declined | {"returned": declined["returned"] + params.get("returned", [])}
        reply, payload = self._wait("lock.acquire", timeout if block else 0.0, params)
        if reply["acquired"]:
            self._token, self._owner = reply["token"], holder()
        if loans is not None and reply["acquired"]:
            self._borrowed(loans, reply, payload)
        if self._regret is not None:
            if reply["acquired"]:
                self._give_back(reply["token"])
            self._repent()
        return bool(reply["acquired"])

    def _borrow(self) -> Loans | None:
        """What this process has been lent, where this lock may be, too."""
        if self._asked < BEFORE:
            self._asked += 1
            known: Loans | None = self._connection.loans
            return known
        return loans_of(self._connection)

    def _borrowed(self, loans: Loans, reply: dict[str, Any], payload: Sequence[Frame]) -> None:
        """It was acquired by message, so an older loan of it counts no more; and there may be a new one."""
        if self._connection.loans is not loans:  # it is another connection's
            close_descriptors(payload)
            return
        old = loans.by_lock.get(self._id)
        if old is not None:
            loans.give_up(self._id, old)
        if reply.get("loan"):
            loans.begin(self._id, reply, payload)

    def _late(self, loan: Loan, token: int) -> None:
        """Nobody asks any more for what may have been acquired on a void loan: if it was, it is released."""
        params = {"id": self._id, "holder": holder(), "token": token, "loan": loan.number}
        with contextlib.suppress(StokerError):
            self._connection.tell("lock.release", params, lambda _: None)

    def release(self) -> None:
        """Release it. Any process may.

        Raises:
            ValueError: it is not locked, or it was lost meanwhile and is somebody else's.
        """
        token, self._token = self._token, None
        if self._regret is None and self._release_lent(token):
            return
        # where it is lent, and not held with this token, it was lost: the next acquire would not hear of that in time
        sure = token is not None and self._owner == holder() and self._regret is None and self._loan() is None
        if sure and self._connection.direct:
            self._tell("lock.release", {"token": token})
        else:
            self._ask("lock.release", token=token)
            self._repent()

    def _loan(self) -> Loan | None:
        """What this process has been lent of it."""
        loans: Loans | None = self._connection.loans
        return None if loans is None else loans.by_lock.get(self._id)

    def _release_lent(self, token: int | None) -> bool:
        """Release what was acquired on a loan, with this token or whichever; False where that is not so."""
        loans: Loans | None = self._connection.loans
        loan = loans.by_lock.get(self._id) if loans is not None else None
        if loans is None or loan is None:
            return False
        given = loan.give(token)
        if given < 0:
            loans.forget(self._id, loan)
            self._tell("lock.release", {"token": -given, "loan": loan.number})
        return given != 0

    def _give_back(self, token: int) -> None:
        self._token = None
        if not self._release_lent(token):
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

    def _borrow(self) -> Loans | None:
        return None

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
