"""What the tests of the pool are made of: batches, a clock that is turned by hand, a child without a process."""

from __future__ import annotations

import heapq
import itertools
import mmap
import os
import socket
from array import array
from collections.abc import Callable
from typing import Any

from stoker.protocol.models import Environment
from stokerd.pool import messages, page
from stokerd.pool.batch import Batch

HERE = Environment(executable="/usr/bin/python3", cwd="/")
THERE = Environment(executable="/usr/bin/python3", cwd="/tmp")


def make_batch(count: int = 1, *, session: str = "s1", size: int = 3, **options: Any) -> Batch:
    """A batch whose payloads are told apart by their bytes: job i has ``size`` times the byte i."""
    payloads = options.pop("payloads", None) or [bytes([index % 256]) * size for index in range(count)]
    options = {"environment": HERE, "form": messages.ITEM, "template": b"f", **options}
    return Batch(
        name="f",
        pool="default",
        session=session,
        lengths=array("I", map(len, payloads)),
        blob=b"".join(payloads),
        **options,
    )


class HandClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 100.0
        self.offset = 1e9
        self.on_set: list[Callable[[], object]] = []
        self._order = itertools.count()
        self._due: list[tuple[float, int, _Call]] = []
        self.watched: dict[int, Callable[[], object]] = {}

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.offset + self.now

    def later(self, seconds: float, call: Callable[..., object], *args: Any) -> _Call:
        due = _Call(call, args)
        heapq.heappush(self._due, (self.now + seconds, next(self._order), due))
        return due

    def soon(self, call: Callable[..., object], *args: Any) -> _Call:
        return self.later(0, call, *args)

    def watch(self, fd: int, call: Callable[..., object], *args: Any) -> None:
        self.watched[fd] = lambda: call(*args)

    def unwatch(self, fd: int) -> None:
        self.watched.pop(fd, None)

    def watch_write(self, fd: int, call: Callable[..., object], *args: Any) -> None:
        raise AssertionError("the tests write less than a socket holds")

    def unwatch_write(self, fd: int) -> None:
        """Nothing was watched."""

    def when_set(self, call: Callable[[], object]) -> None:
        self.on_set.append(call)

    def set_to(self, time: float) -> None:
        """Somebody sets the machine's clock: monotonic time goes on as if nothing were."""
        self.offset = time - self.now
        for call in self.on_set:
            call()

    def advance(self, seconds: float) -> None:
        """Let time pass, and call what is due, in order."""
        until = self.now + seconds
        while self._due and self._due[0][0] <= until:
            self.now, _, due = heapq.heappop(self._due)
            due.run()
        self.now = until


class _Call:
    def __init__(self, call: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._call: Callable[..., object] | None = call
        self._args = args

    def cancel(self) -> None:
        self._call = None

    def run(self) -> None:
        if self._call is not None:
            self._call(*self._args)


class Pretence:
    """The descriptors of a child, for a worker that runs in the test itself."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.channel, self.far = socket.socketpair()
        self.channel.setblocking(False)
        self.far.setblocking(False)
        shared = os.memfd_create("page")
        os.ftruncate(shared, page.SIZE)
        self.page = mmap.mmap(shared, page.SIZE)
        self.far_page = mmap.mmap(shared, page.SIZE)
        os.close(shared)
        self.output = appended("out"), appended("err")
        self.far_output = os.dup(self.output[0]), os.dup(self.output[1])
        self.signals: list[int] = []

    def signal(self, signum: int, *, group: bool = True) -> bool:
        self.signals.append(signum)
        return True

    def close(self) -> None:
        """The far ends; the near ones are the worker's."""
        self.far.close()
        for fd in self.far_output:
            os.close(fd)


def appended(name: str) -> int:
    """A memory file as a child has it for its output."""
    fd = os.memfd_create(name)
    path = f"/proc/self/fd/{fd}"
    again = os.open(path, os.O_RDWR | os.O_APPEND)
    os.close(fd)
    return again
