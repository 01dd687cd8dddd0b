"""The daemon's event loop: epoll, a heap of timers and a queue of calls, as a :class:`~stokerd.clock.Clock`.

It does what asyncio's loop did here at a fifth of the cost a turn: what is ready is called in the very turn in which
epoll says so, without a handle, a context or a queue in between. A round trip consists of two such turns.

What is called must not block. What it raises is told to ``on_bug``, and the loop goes on.
"""

from __future__ import annotations

import heapq
import itertools
import math
import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from stokerd.clock import SetNotice, Timer
from stokerd.vigil import Vigil

CLUTTER = 512
"""Cancelled timers that may lie in the heap before they are swept out, if they are more than half of it."""


class _Timer:
    """A call that was asked for. ``call`` is None when it was called, or will not be."""

    __slots__ = ("args", "call", "loop")

    def __init__(self, loop: Loop | None, call: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.loop, self.args = loop, args
        self.call: Callable[..., object] | None = call

    def cancel(self) -> None:
        """See :class:`~stokerd.clock.Timer`."""
        if self.call is not None:
            self.call = None
            self.args = ()
            if self.loop is not None:
                self.loop.note_cancelled()


class _Watch:
    """Whom to call about a descriptor. ``live`` is False once nobody wants to be."""

    __slots__ = ("args", "call", "live")

    def __init__(self, call: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.call, self.args = call, args
        self.live = True


class Loop:
    """See the module; used by one thread.

    Args:
        on_bug: told what a call has raised.
    """

    def __init__(self, on_bug: Callable[[Exception], object]) -> None:
        self._on_bug = on_bug
        self._epoll = select.epoll()
        self.vigil = Vigil(self._epoll.poll)
        """For how long it stays awake between events; not at all, unless it is told to."""
        self._readers: dict[int, _Watch] = {}
        self._writers: dict[int, _Watch] = {}
        self._soon: deque[_Timer] = deque()
        self._timers: list[tuple[float, int, _Timer]] = []
        self._numbers = itertools.count()
        self._cancelled = 0
        self._running = False
        self._signals: dict[int, Callable[[], object]] = {}
        self._set = SetNotice(self)
        self.monotonic = time.monotonic
        self.time = time.time
        self.when_set = self._set.when_set

    # --- time

    def later(self, seconds: float, call: Callable[..., object], *args: Any) -> Timer:
        """See :class:`~stokerd.clock.Clock`."""
        timer = _Timer(self, call, args)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), timer))
        return timer

    def soon(self, call: Callable[..., object], *args: Any) -> Timer:
        """See :class:`~stokerd.clock.Clock`."""
        timer = _Timer(None, call, args)
        self._soon.append(timer)
        return timer

    def note_cancelled(self) -> None:
        """One more timer lies in the heap for nothing."""
        self._cancelled += 1
        if self._cancelled > CLUTTER and 2 * self._cancelled > len(self._timers):
            self._timers = [entry for entry in self._timers if entry[2].call is not None]
            heapq.heapify(self._timers)
            self._cancelled = 0

    # --- descriptors

    def watch(self, fd: int, call: Callable[..., object], *args: Any) -> None:
        """See :class:`~stokerd.clock.Clock`."""
        self._replace(self._readers, fd, _Watch(call, args))

    def watch_write(self, fd: int, call: Callable[..., object], *args: Any) -> None:
        """See :class:`~stokerd.clock.Clock`."""
        self._replace(self._writers, fd, _Watch(call, args))

    def unwatch(self, fd: int) -> None:
        """See :class:`~stokerd.clock.Clock`."""
        self._replace(self._readers, fd, None)

    def unwatch_write(self, fd: int) -> None:
        """See :class:`~stokerd.clock.Clock`."""
        self._replace(self._writers, fd, None)

    def _replace(self, side: dict[int, _Watch], fd: int, watch: _Watch | None) -> None:
        known = fd in self._readers or fd in self._writers
        before = side.pop(fd, None)
        if before is not None:
            before.live = False
        if watch is not None:
            side[fd] = watch
        if before is not None or watch is not None:
            self._tell_kernel(fd, known=known)

    def _tell_kernel(self, fd: int, *, known: bool) -> None:
        wanted = (select.EPOLLIN if fd in self._readers else 0) | (select.EPOLLOUT if fd in self._writers else 0)
        if not known:
            self._epoll.register(fd, wanted)
            return
        try:
            if wanted:
                self._epoll.modify(fd, wanted)
            else:
                self._epoll.unregister(fd)
        except (OSError, ValueError):  # it was closed before it was unwatched, and the kernel has forgotten it
            if wanted:
                self._epoll.register(fd, wanted)

    # --- signals

    def on_signal(self, number: int, call: Callable[[], object]) -> None:
        """Call in a turn of the loop, not in the middle of one, when this signal has come."""
        if not self._signals:
            read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            signal.set_wakeup_fd(write, warn_on_full_buffer=False)
            self.watch(read, self._read_signals, read)
        self._signals[number] = call
        signal.signal(number, _nothing)  # Python's own handler writes the number to the pipe
        signal.siginterrupt(number, False)

    def _read_signals(self, fd: int) -> None:
        for number in os.read(fd, 4096):
            if number in self._signals:
                self._signals[number]()

    # --- running

    def run(self) -> None:
        """Turn until :meth:`stop`."""
        self._running = True
        wait = self.vigil.wait
        while self._running:
            events = wait(self._patience())
            if len(events) == 1:  # most turns are for one message
                self._handle(*events[0])
            elif events:
                self._handle_all(events)
            if self._timers:
                self._ring()
            if self._soon:
                self._call_soon()

    def stop(self) -> None:
        """Let :meth:`run` return when this turn is over."""
        self._running = False

    def _patience(self) -> float | None:
        """Seconds that there is nothing to do; None: for ever."""
        if self._soon:
            return 0
        if not self._timers:
            return None
        # the kernel is asked in whole milliseconds: rounded up, or the loop would turn in vain before the time
        return max(0, math.ceil((self._timers[0][0] - time.monotonic()) * 1000) / 1000)

    def _handle(self, fd: int, mask: int) -> None:
        reader, writer = self._readers.get(fd), self._writers.get(fd)
        if reader is not None and mask & ~select.EPOLLOUT:
            self._call(reader)
        if writer is not None and mask & ~select.EPOLLIN:
            self._call(writer)

    def _handle_all(self, events: list[tuple[int, int]]) -> None:
        """Who is to be called is looked up first: a call may close a descriptor, whose number is given to another."""
        due: list[_Watch] = []
        for fd, mask in events:
            if mask & ~select.EPOLLOUT and fd in self._readers:
                due.append(self._readers[fd])
            if mask & ~select.EPOLLIN and fd in self._writers:
                due.append(self._writers[fd])
        for watch in due:
            self._call(watch)

    def _call(self, watch: _Watch) -> None:
        if watch.live:
            try:
                watch.call(*watch.args)
            except Exception as bug:  # whatever it is, the others are served
                self._on_bug(bug)

    def _ring(self) -> None:
        """Call what is due. What is asked for meanwhile waits for the next turn."""
        now = time.monotonic()
        due: list[_Timer] = []
        while self._timers and (self._timers[0][0] <= now or self._timers[0][2].call is None):
            timer = heapq.heappop(self._timers)[2]
            if timer.call is None:
                self._cancelled -= 1
            else:
                timer.loop = None
                due.append(timer)
        for timer in due:
            self._run_timer(timer)

    def _call_soon(self) -> None:
        for _ in range(len(self._soon)):
            self._run_timer(self._soon.popleft())

    def _run_timer(self, timer: _Timer) -> None:
        call = timer.call
        if call is None:
            return
        timer.call = None
        try:
            call(*timer.args)
        except Exception as bug:  # as above
            self._on_bug(bug)

    def close(self) -> None:
        """Watch nothing any more."""
        if self._signals:
            signal.set_wakeup_fd(-1)
        self._epoll.close()


def _nothing(_number: int, _frame: object) -> None:
    """The signal's work is done by the loop."""
