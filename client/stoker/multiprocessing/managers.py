"""``Manager``: the daemon is one already, so this only hands out its objects.

They have the methods of the standard library's proxies. A manager of types that are not the standard library's, by
``register``, is not had here: :class:`multiprocessing.managers.BaseManager`, which needs nothing of this package, does
it, and is here under its name.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable
from multiprocessing.managers import BaseManager, BaseProxy, RemoteError
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

from stoker import shared
from stoker.default import default_client
from stoker.errors import StokerError
from stoker.multiprocessing import queues, synchronize
from stoker.multiprocessing.pool import ManagedPool, Pool

__all__ = ["BaseManager", "BaseProxy", "RemoteError", "SyncManager", "ValueProxy"]

F = TypeVar("F", bound=shared.Face)


class ValueProxy(shared.Dict):
    """One Python value for all, of any type; see :meth:`multiprocessing.managers.SyncManager.Value`."""

    def __init__(self, typecode: Any, value: Any, lock: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 - the standard library's
        super().__init__(None, {"value": value})

    def get(self) -> Any:  # type: ignore[override]  # it is no dict to whoever has it
        """It."""
        return self["value"]

    def set(self, value: Any) -> None:
        """Replace it."""
        self["value"] = value

    @property
    def value(self) -> Any:
        """It."""
        return self.get()

    @value.setter
    def value(self, value: Any) -> None:
        self.set(value)

    def __str__(self) -> str:
        return f"Value({self.get()!r})"


class SyncManager:
    """Makes shared objects; see :class:`multiprocessing.managers.SyncManager`.

    When it is shut down its objects are dropped, for everybody; without that they go when nobody uses them.

    Args:
        address, authkey, serializer, ctx: not used; here for the sake of programs that give them.
    """

    def __init__(
        self, address: object = None, authkey: object = None, serializer: object = None, ctx: object = None
    ) -> None:
        del address, authkey, serializer, ctx
        self._made: list[weakref.ref[shared.Face]] = []

    @property
    def address(self) -> str:
        """Where the daemon listens."""
        return default_client().endpoint

    def start(self, initializer: Callable[..., object] | None = None, initargs: Iterable[Any] = ()) -> None:
        """Nothing has to be started. The initializer is called here."""
        if initializer is not None:
            if not callable(initializer):
                raise TypeError("initializer must be a callable")
            initializer(*initargs)

    def connect(self) -> None:
        """Nothing has to be connected."""

    def shutdown(self) -> None:
        """Drop its objects."""
        made, self._made = self._made, []
        for reference in made:
            face = reference()
            if face is not None:
                with contextlib.suppress(StokerError):
                    shared.Face.drop(face)

    def join(self, timeout: float | None = None) -> None:
        """Nothing has to be waited for."""

    @classmethod
    def register(cls, typeid: str, *args: Any, **options: Any) -> NoReturn:
        """Not here.

        Raises:
            NotImplementedError: always, with what to use.
        """
        raise NotImplementedError(
            f"{typeid!r} cannot be registered: the daemon runs no code of anybody's; use "
            "multiprocessing.managers.BaseManager for types of your own, or a Process that serves a Queue"
        )

    def dict(self, *args: Any, **items: Any) -> shared.Dict:
        """A dict."""
        return self._keep(shared.Dict(None, dict(*args, **items)))

    def list(self, items: Iterable[Any] = ()) -> shared.List:
        """A list."""
        return self._keep(shared.List(None, items))

    def Namespace(self, **attributes: Any) -> shared.Namespace:  # noqa: N802 - the standard library's names, from here on
        """Attributes for all."""
        return self._keep(shared.Namespace(**attributes))

    def Value(self, typecode: Any, value: Any, lock: bool = True) -> ValueProxy:  # noqa: FBT001, FBT002, N802
        """One value."""
        return self._keep(ValueProxy(typecode, value, lock))

    def Array(self, typecode: Any, sequence: Iterable[Any], lock: bool = True) -> shared.RawArray:  # noqa: ARG002, FBT001, FBT002, N802
        """Numbers of one type."""
        return self._keep(shared.RawArray(None, typecode, list(sequence)))

    def Queue(self, maxsize: int = 0) -> queues.JoinableQueue:  # noqa: N802
        """A queue; it can be joined, as :class:`queue.Queue` can."""
        return self._keep(queues.JoinableQueue(maxsize))

    JoinableQueue = Queue

    def Lock(self) -> synchronize.Lock:  # noqa: N802
        """A lock."""
        return self._keep(synchronize.Lock())

    def RLock(self) -> synchronize.RLock:  # noqa: N802
        """A lock that its owner can acquire again."""
        return self._keep(synchronize.RLock())

    def Semaphore(self, value: int = 1) -> synchronize.Semaphore:  # noqa: N802
        """Permits."""
        return self._keep(synchronize.Semaphore(value))

    def BoundedSemaphore(self, value: int = 1) -> synchronize.BoundedSemaphore:  # noqa: N802
        """Permits that come back."""
        return self._keep(synchronize.BoundedSemaphore(value))

    def Condition(self, lock: Any = None) -> synchronize.Condition:  # noqa: N802
        """A condition."""
        return self._keep(synchronize.Condition(lock))

    def Event(self) -> synchronize.Event:  # noqa: N802
        """A flag to wait for."""
        return self._keep(synchronize.Event())

    def Barrier(  # noqa: N802
        self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None
    ) -> synchronize.Barrier:
        """A barrier."""
        return self._keep(synchronize.Barrier(parties, action, timeout))

    def Pool(self, *args: Any, **options: Any) -> Pool:  # noqa: N802
        """A pool."""
        return ManagedPool(*args, **options)

    def _keep(self, face: F) -> F:
        self._made = [reference for reference in self._made if reference() is not None]
        self._made.append(weakref.ref(face))
        return face

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()
