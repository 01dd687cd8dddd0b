"""Time and readiness as the parts see them.

Parts ask for the time, for a call at a later time, and for a call when a descriptor can be read or written. The daemon
hands them its loop (:mod:`stokerd.loop`), tests a clock that they turn by hand, and whoever has an asyncio loop
:class:`LoopClock`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio


class Timer(Protocol):
    """A call that was asked for."""

    def cancel(self) -> None:
        """Do not call any more; nothing happens if it was called already."""


class Clock(Protocol):
    """Time, later calls and descriptors."""

    def monotonic(self) -> float:
        """Seconds that never step back: for durations."""

    def time(self) -> float:
        """UTC seconds since the epoch: for people and records."""

    def later(self, seconds: float, call: Callable[..., object], *args: Any) -> Timer:
        """Call once, ``seconds`` from now."""

    def soon(self, call: Callable[..., object], *args: Any) -> Timer:
        """Call once, in the next turn of the loop."""

    def watch(self, fd: int, call: Callable[..., object], *args: Any) -> None:
        """Call whenever ``fd`` can be read, until :meth:`unwatch`."""

    def unwatch(self, fd: int) -> None:
        """No longer call for reading; nothing happens if it was not watched."""

    def watch_write(self, fd: int, call: Callable[..., object], *args: Any) -> None:
        """Call whenever ``fd`` can be written to, until :meth:`unwatch_write`."""

    def unwatch_write(self, fd: int) -> None:
        """No longer call for writing; nothing happens if it was not watched."""

    def when_set(self, call: Callable[[], object]) -> None:
        """Call whenever somebody sets the machine's clock: UTC has jumped, monotonic time has not."""


class LoopClock:
    """The clock of an asyncio loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.when_set = SetNotice(self).when_set
        self.monotonic = loop.time
        self.time = time.time
        self.later = loop.call_later
        self.soon = loop.call_soon
        self.watch = loop.add_reader
        self.watch_write = loop.add_writer

    def unwatch(self, fd: int) -> None:
        """See :class:`Clock`."""
        self._loop.remove_reader(fd)

    def unwatch_write(self, fd: int) -> None:
        """See :class:`Clock`."""
        self._loop.remove_writer(fd)


class SetNotice:
    """Calls whenever somebody sets the machine's clock, by a descriptor that ``clock`` watches."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._calls: list[Callable[[], object]] = []

    def when_set(self, call: Callable[[], object]) -> None:
        """See :class:`Clock`. Where the kernel can't tell, nobody is called: appointments are then kept by the span."""
        self._calls.append(call)
        if len(self._calls) == 1 and (fd := _alarm_at_the_end_of_time()) >= 0:
            self._clock.watch(fd, self._was_set, fd)

    def _was_set(self, fd: int) -> None:
        with contextlib.suppress(OSError):  # ECANCELED: what it is there for
            os.read(fd, 8)
        _arm(fd)
        for call in tuple(self._calls):
            call()


_CLOCK_REALTIME, _ABSOLUTE, _CANCEL_ON_SET = 0, 1, 2
_NEVER = (1 << 62) // 10**9
_libc = ctypes.CDLL(None, use_errno=True)


def _alarm_at_the_end_of_time() -> int:
    """A timer descriptor that can be read when the machine's clock is set, see timerfd_create(2); -1: there is none."""
    try:
        fd: int = _libc.timerfd_create(_CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
    except AttributeError:
        return -1
    if fd >= 0:
        _arm(fd)
    return fd


def _arm(fd: int) -> None:
    never = struct.pack("@4l", 0, 0, _NEVER, 0)
    _libc.timerfd_settime(fd, _ABSOLUTE | _CANCEL_ON_SET, never, None)
