"""A real :class:`ForkServers` on a real loop, for the tests of whatever has children."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import select
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from stoker.protocol.events import Event
from stoker.protocol.models import Environment
from stokerd.bus import Bus
from stokerd.child import Child, Exit, ForkSpec
from stokerd.clock import LoopClock
from stokerd.forkserver.host import ForkServers
from stokerd.promise import Promise

T = TypeVar("T")
DEADLINE = 30.0
"""Seconds after which what should have happened has not."""


class Running:
    """One ordered child, and what was told of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.child: Child
        self.told: list[str] = []
        self.started: asyncio.Future[int | None] = loop.create_future()
        self.ended: asyncio.Future[Exit] = loop.create_future()

    def note_started(self, child: Child) -> None:
        self.told.append("started")
        self.started.set_result(child.pid)

    def note_ended(self, _child: Child, how: Exit) -> None:
        self.told.append("ended")
        if not self.ended.done():
            self.ended.set_result(how)

    def read(self, stream: int) -> str:
        """What it wrote to stdout (0) or stderr (1)."""
        assert self.child.output is not None
        fd = self.child.output[stream]
        return os.pread(fd, os.fstat(fd).st_size, 0).decode()

    def release(self) -> None:
        if self.child.channel is not None:
            self.child.channel.close()
        if self.child.page is not None:
            self.child.page.close()
        for fd in self.child.output or ():
            os.close(fd)


class Forking:
    """ForkServers whose children run functions from the test's own text.

    Args:
        home: an empty directory; the children's working directory, first on their ``sys.path``.
        options: for :class:`ForkServers`.
    """

    def __init__(self, home: Path, **options: Any) -> None:
        self.home = home
        self.loop = asyncio.new_event_loop()
        self.clock = LoopClock(self.loop)
        self.bus = Bus(self.clock.time)
        self.events: list[Event] = []
        self.bus.listen(self._note)
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self.environment = Environment(executable=sys.executable, cwd=str(home))
        self.servers = ForkServers(self.clock, self.bus, self.environment, **options)
        self.running: list[Running] = []

    def _note(self, _seq: int, _time: float, event: Event) -> None:
        self.events.append(event)
        for condition, future in self._waiting:
            if not future.done() and condition():
                future.set_result(None)

    def write(self, source: str, module: str = "targets") -> None:
        """Have a module in the children's working directory."""
        (self.home / f"{module}.py").write_text(textwrap.dedent(source))

    def fork(self, target: str, environment: Environment | None = None, **spec: Any) -> Running:
        """Order a child that runs ``targets.TARGET``, or ``module:function``."""
        running = Running(self.loop)
        where = target if ":" in target else f"targets:{target}"
        order = ForkSpec(target=where, **{"name": "test", **spec})
        running.child = self.servers.fork(
            environment or self.environment, order, running.note_started, running.note_ended
        )
        self.running.append(running)
        return running

    def wait(self, future: asyncio.Future[T]) -> T:
        """The future's result."""
        return self.loop.run_until_complete(asyncio.wait_for(future, DEADLINE))

    def exit(self, target: str, environment: Environment | None = None, **spec: Any) -> tuple[Exit, Running]:
        """Fork, and wait for the end."""
        running = self.fork(target, environment, **spec)
        return self.wait(running.ended), running

    def settle(self, promise: Promise[T]) -> T:
        """The promise's value."""
        future: asyncio.Future[None] = self.loop.create_future()
        promise.when_settled(lambda _: None if future.done() else future.set_result(None))
        self.wait(future)
        return promise.value()

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until an event makes the condition true."""
        if not condition():
            future: asyncio.Future[None] = self.loop.create_future()
            self._waiting.append((condition, future))
            self.wait(future)
            self._waiting.remove((condition, future))

    def until_readable(self, running: Running) -> bytes:
        """Wait for the next bytes of a child's channel."""
        channel = running.child.channel
        assert channel is not None
        return self.loop.run_until_complete(asyncio.wait_for(self.loop.sock_recv(channel, 65536), DEADLINE))

    def drain(self) -> None:
        """Give the loop a few turns, for what is already due."""
        for _ in range(3):
            self.loop.run_until_complete(asyncio.sleep(0))

    def close(self) -> None:
        """End everything, and see that it has."""
        self.settle(self.servers.close(DEADLINE))
        self.drain()
        assert self.servers.pids() == set()
        for running in self.running:
            running.release()
        self.loop.close()


def wait_gone(pid: int) -> bool:
    """Wait until a process has ended, whoever reaps it."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(DEADLINE * 1000))
    finally:
        os.close(pidfd)


def open_descriptors(pid: int | str = "self") -> int:
    """How many descriptors a process has; of this one, after what earlier tests left has been collected."""
    if pid == "self":
        gc.collect()
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def limit_that_leaves(spare: int) -> int:
    """The limit of open files under which this process can open ``spare`` more: the limit is one of numbers, and there
    may be gaps among those in use.
    """
    used = {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}
    return next(itertools.islice((number for number in itertools.count() if number not in used), spare, None))


def own_children() -> set[int]:
    """The children of this process, zombies included; without the tracker that the standard library's shared memory, or
    joblib's, has started in this process for some other test, and keeps to its end.
    """
    children = {int(stat.split()[0]) for stat in _stats() if int(stat.rpartition(")")[2].split()[1]) == os.getpid()}
    return {child for child in children if not _is_tracker(child)}


def _is_tracker(pid: int) -> bool:
    try:
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _stats() -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield (entry / "stat").read_text(errors="replace")
