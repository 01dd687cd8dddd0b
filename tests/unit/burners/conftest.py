"""A clock that is turned by hand, and a forker whose children do what the test says."""

from __future__ import annotations

import heapq
import itertools
import mmap
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.burners.machines import CORES, Machine

from stoker.protocol.events import Event
from stoker.protocol.models import Environment
from stokerd.burners.page import Page, Record
from stokerd.burners.registry import Burners
from stokerd.bus import Bus
from stokerd.child import Child, Exit, ForkSpec


class HandTimer:
    def __init__(self, call: Callable[[], object]) -> None:
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        self.call = None


class HandClock:
    """Time passes when :meth:`turn` is called, and only then; descriptors are looked at then too."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._queue: list[tuple[float, int, HandTimer]] = []
        self._count = itertools.count()
        self.watched: dict[int, Callable[[], object]] = {}

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
        self.watched[fd] = lambda: call(*args)

    def unwatch(self, fd: int) -> None:
        self.watched.pop(fd, None)

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


class PuppetChild:
    """A process that burns, dies and falls silent on command. Its page and its channel are real."""

    def __init__(self, clock: HandClock, pid: int, spec: ForkSpec, on_exit: Callable[[Child, Exit], None]) -> None:
        self._clock, self._on_exit = clock, on_exit
        self.pid: int | None = pid
        self.spec = spec
        self.channel, self._far = socket.socketpair()
        self.channel.setblocking(False)
        self.page = mmap.mmap(-1, spec.page_bytes or 1)
        self.output = None
        self.signals: list[int] = []
        self.obedient = True
        self.sheet = Page(self.page)
        self.last = Record(0, 0, 0, 0, clock.now, 0.0, 0.0, 0.0)
        self.alive = True

    def signal(self, signum: int, *, group: bool = True) -> bool:
        self.signals.append(signum)
        if self.alive and (self.obedient or signum == signal.SIGKILL):
            self._clock.soon(self.die, -signum)
        return self.alive

    def tick(self, count: int = 6, share: float = 1.0) -> None:
        """Tick, burning this share of what is asked for; then say that it was observed."""
        order = self.sheet.order()
        assert order is not None
        for index in range(count):
            last, changed = self.last, order.epoch != self.last.epoch
            wanted = last.wanted + (order.target * 0.01 if index else 0.0)
            self.last = Record(
                tick=last.tick + 1,
                since=last.tick + 1 if changed else last.since,
                epoch=order.epoch,
                observed=order.epoch if index == count - 1 else last.observed,
                wall=self._clock.now - (count - 1 - index) * 0.01,
                cpu=last.cpu + (wanted - last.wanted) * share,
                wanted=wanted,
                forgiven=0.0,
            )
            self.sheet.write(self.last)
        self.say(b".")

    def say(self, words: bytes) -> None:
        """Send on the channel, and let the daemon read it."""
        self._far.send(words)
        self._clock.watched[self.channel.fileno()]()

    def die(self, code: int | None, error: str = "") -> None:
        """End, and be reaped."""
        if self.alive:
            self.alive = False
            self._far.close()
            self._on_exit(self, Exit(code=code, error=error))


class PuppetForker:
    """Children that the test moves; ``refusal`` is raised in place of a fork."""

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self.default = Environment(executable=sys.executable, cwd=str(Path.cwd()))
        self.children: list[PuppetChild] = []
        self.refusal: Exception | None = None

    def fork(
        self,
        environment: Environment,
        spec: ForkSpec,
        on_started: Callable[[Child], None],
        on_exit: Callable[[Child, Exit], None],
    ) -> PuppetChild:
        if self.refusal is not None:
            raise self.refusal
        child = PuppetChild(self._clock, 100 + len(self.children), spec, on_exit)
        self.children.append(child)
        self._clock.soon(on_started, child)
        return child

    @property
    def alive(self) -> list[PuppetChild]:
        return [child for child in self.children if child.alive]

    def tick(self) -> None:
        """Let all that live be observed."""
        for child in self.burning:
            child.tick()

    @property
    def burning(self) -> list[PuppetChild]:
        """All that live and burn: probes do not."""
        return [child for child in self.alive if child.spec.page_bytes]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def forker(clock: HandClock) -> Iterator[PuppetForker]:
    forker = PuppetForker(clock)
    yield forker
    for child in forker.children:
        child.channel.close()
        child._far.close()


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine", CORES)


@pytest.fixture
def bus(clock: HandClock, events: list[Event]) -> Bus:
    bus = Bus(clock.time)
    bus.listen(lambda seq, now, event: events.append(event))
    return bus


@pytest.fixture
def jobs() -> list[float]:
    """How many cores running jobs use, for the test to say."""
    return [0.0]


@pytest.fixture
def burners(clock: HandClock, forker: PuppetForker, bus: Bus, machine: Machine, jobs: list[float]) -> Burners:
    return Burners(clock, bus, forker, default_seconds=3600.0, max_processes=8, host=machine.host, busy=lambda: jobs[0])
