"""Those who wait for a burner's load to be observed, each with a deadline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stoker.errors import StokerError
from stoker.protocol.models import BurnerInfo
from stokerd.clock import Clock, Timer
from stokerd.promise import Promise


@dataclass(slots=True, eq=False)
class _Wait:
    promise: Promise[BurnerInfo]
    epoch: int
    timer: Timer


class Waits:
    """See the module.

    Args:
        clock: time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waits: list[_Wait] = []

    @property
    def pending(self) -> bool:
        """Somebody waits."""
        return bool(self._waits)

    def add(self, epoch: int, seconds: float, late: Callable[[Promise[BurnerInfo]], None]) -> Promise[BurnerInfo]:
        """Wait for the load of this epoch; after so many seconds ``late`` is to settle the promise, or see to it."""
        promise: Promise[BurnerInfo] = Promise()
        self._waits.append(_Wait(promise, epoch, self._clock.later(seconds, late, promise)))
        return promise

    def settle(self, is_observed: Callable[[int], bool], info: Callable[[], BurnerInfo]) -> None:
        """Answer those whose epoch has been observed."""
        for wait in [wait for wait in self._waits if is_observed(wait.epoch)]:
            self._drop(wait)
            wait.promise.resolve(info())

    def reject(self, error: StokerError) -> None:
        """Answer all with an error."""
        for wait in list(self._waits):
            self._drop(wait)
            wait.promise.reject(error)

    def _drop(self, wait: _Wait) -> None:
        wait.timer.cancel()
        self._waits.remove(wait)
