"""The registry with a clock that is turned by hand."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from stoker.protocol.events import Event, ObjectChanged
from stokerd.bus import Bus
from stokerd.shared.base import Item, SharedObject
from stokerd.shared.registry import Shared, SharedLimits
from stokerd.shared.waiters import Actor


class HandTimer:
    def __init__(self, call: Callable[[], object]) -> None:
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        self.call = None


class HandClock:
    """Time passes when :meth:`turn` is called, and only then."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._queue: list[tuple[float, int, HandTimer]] = []
        self._count = itertools.count()

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_700_000_000.0 + self.now

    def later(self, seconds: float, call: Callable[..., object], *args: Any) -> HandTimer:
        timer = HandTimer(lambda: call(*args))
        heapq.heappush(self._queue, (self.now + seconds, next(self._count), timer))
        return timer

    def soon(self, call: Callable[..., object], *args: Any) -> HandTimer:
        return self.later(0, call, *args)

    def watch(self, fd: int, call: Callable[..., object], *args: Any) -> None:
        raise NotImplementedError

    def unwatch(self, fd: int) -> None:
        raise NotImplementedError

    def watch_write(self, fd: int, call: Callable[..., object], *args: Any) -> None:
        raise NotImplementedError

    def unwatch_write(self, fd: int) -> None:
        raise NotImplementedError

    def turn(self, seconds: float = 0.0) -> None:
        """Let time pass, and call what is due on the way."""
        until = self.now + seconds
        while self._queue and self._queue[0][0] <= until:
            due, _, timer = heapq.heappop(self._queue)
            self.now = max(self.now, due)
            if timer.call is not None:
                timer.call()
        self.now = until

    def pending(self) -> int:
        """Timers that would still fire."""
        return sum(timer.call is not None for _, _, timer in self._queue)


class Rig:
    """The registry and everything around it."""

    def __init__(self, **limits: int) -> None:
        self.clock = HandClock()
        self.bus = Bus(self.clock.time)
        self.events: list[Event] = []
        self.bus.listen(lambda _seq, _time, event: self.events.append(event))
        self.shared = Shared(self.clock, self.bus, SharedLimits(**limits))

    def open(self, who: Actor, wanted: type[Any], name: str | None = None, **options: Any) -> Any:
        """An object of a kind."""
        from stoker.protocol.objects import ObjectOptions

        found, _ = self.shared.open(who, wanted.kind, name, ObjectOptions(**options))
        return found

    def use(self, who: Actor, found: SharedObject) -> Any:
        """The object as a handler gets it."""
        return self.shared.use(type(found), found.id, who)

    def changes(self) -> list[str]:
        """What was told of objects."""
        return [event.change for event in self.events if isinstance(event, ObjectChanged)]


def items(*values: object) -> list[Item]:
    """Values as items."""
    return [Item("msgpack", str(value).encode()) for value in values]


def texts(delivery: Any) -> list[str]:
    """What a delivery holds."""
    return [item.data.decode() for item in delivery.items]


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def ann() -> Actor:
    return Actor("ann", "1:1")


@pytest.fixture
def bob() -> Actor:
    return Actor("bob", "2:1")


@pytest.fixture
def cid() -> Actor:
    return Actor("cid", "3:1")


@pytest.fixture
def make() -> Callable[..., list[Item]]:
    return items


@pytest.fixture
def read() -> Callable[[Any], list[str]]:
    return texts


@pytest.fixture
def new_rig() -> type[Rig]:
    return Rig
