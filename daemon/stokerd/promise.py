"""An answer that is not known yet: what a handler returns when it has to wait.

Unlike :class:`asyncio.Future` its callbacks run at once, in the call that settles it. The daemon's state is owned by
one thread, so the reply can leave in the same turn of the loop, and the parts can be tested without a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from stoker.errors import InternalError, StokerError

T = TypeVar("T")


class Promise(Generic[T]):
    """A value or a :class:`StokerError`, once. Settling it a second time does nothing."""

    __slots__ = ("_abandoned", "_callbacks", "_error", "_settled", "_value")

    def __init__(self, on_abandon: Callable[[], None] | None = None) -> None:
        """``on_abandon`` is called when nobody waits for the answer any more, before it is there."""
        self._settled = False
        self._value: T | None = None
        self._error: StokerError | None = None
        self._callbacks: list[Callable[[Promise[T]], None]] = []
        self._abandoned = on_abandon

    @property
    def settled(self) -> bool:
        """True once there is a value or an error."""
        return self._settled

    @property
    def error(self) -> StokerError | None:
        """The error; None when there is a value or nothing yet."""
        return self._error

    def value(self) -> T:
        """The value.

        Raises:
            StokerError: the promise was rejected with it.
            RuntimeError: it is not settled.
        """
        if not self._settled:
            raise RuntimeError("the promise is not settled")
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

    def resolve(self, value: T) -> None:
        """Settle with a value."""
        if not self._settled:
            self._value = value
            self._settle()

    def reject(self, error: StokerError) -> None:
        """Settle with an error."""
        if not self._settled:
            self._error = error
            self._settle()

    def settle_with(self, make: Callable[[], T]) -> None:
        """Settle with what ``make`` returns, or with the StokerError that it raises; of a bug, an InternalError."""
        if self._settled:
            return
        try:
            value = make()
        except StokerError as error:
            self.reject(error)
        except Exception as bug:  # whoever waits gets an answer, and whoever settled goes on
            self.reject(internal_error(bug))
        else:
            self.resolve(value)

    def abandon(self) -> None:
        """Nobody waits any more: let whoever was to answer clean up. Callbacks are not called."""
        if not self._settled:
            self._settled = True
            self._error = StokerError("abandoned")
            self._callbacks.clear()
            if self._abandoned is not None:
                self._abandoned()

    def when_settled(self, callback: Callable[[Promise[T]], None]) -> None:
        """Call back when settled; at once if it is."""
        if self._settled:
            callback(self)
        else:
            self._callbacks.append(callback)

    def _settle(self) -> None:
        self._settled = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)


def internal_error(bug: Exception) -> InternalError:
    """What to say of an exception that should not have been; it is the error's cause."""
    error = InternalError(
        f"a bug in the daemon: {type(bug).__name__}: {bug}", hint="its log has the traceback; please report it"
    )
    error.__cause__ = bug
    return error


def gather(promises: list[Promise[T]]) -> Promise[list[T]]:
    """Settles when all have: with their values in order, or with the first error in order."""
    whole: Promise[list[T]] = Promise()
    missing = len(promises)

    def one_settled(_: Promise[T]) -> None:
        nonlocal missing
        missing -= 1
        if missing == 0:
            finish()

    def finish() -> None:
        for promise in promises:
            if promise.error is not None:
                whole.reject(promise.error)
                return
        whole.resolve([promise.value() for promise in promises])

    if not promises:
        whole.resolve([])
    for promise in promises:
        promise.when_settled(one_settled)
    return whole


def then(first: Promise[Any], make: Callable[[], Promise[T]]) -> Promise[T]:
    """What ``make`` promises once ``first`` has settled, with a value or an error."""
    whole: Promise[T] = Promise()

    def forward(second: Promise[T]) -> None:
        if second.error is not None:
            whole.reject(second.error)
        else:
            whole.resolve(second.value())

    def go_on(_: Promise[Any]) -> None:
        try:
            second = make()
        except StokerError as why:
            whole.reject(why)
        else:
            second.when_settled(forward)

    first.when_settled(go_on)
    return whole
