"""Time and readiness as the parts see them: a protocol, the loop's implementation of it.

Parts never touch asyncio. They ask for the time, for a call at a later time, and for a call when a descriptor can be
read or written; tests hand them a clock that they turn by hand.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol


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


class LoopClock:
    """The clock of an asyncio loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
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
