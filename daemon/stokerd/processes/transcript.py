"""What a process writes over all of its runs: read as it comes, kept within bounds."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import final

from stokerd.clock import Clock
from stokerd.output import CHUNK, TURN, Output, Stretch


@final
class Transcript:
    """Reads the pipes of one run after the other into one text per stream.

    The daemon always reads, so that a process is never held up by nobody wanting to see what it writes.

    Args:
        clock: readiness.
        keep: bytes kept per stream, of its beginning and of its end.
    """

    def __init__(self, clock: Clock, keep: int) -> None:
        self._clock = clock
        self._streams = (Stretch(keep), Stretch(keep))
        self._open: dict[int, Stretch] = {}
        self._listeners: list[Callable[[], None]] = []

    def attach(self, fds: tuple[int, int]) -> None:
        """A run begins. This owns the descriptors from now on: the reading ends of its stdout and stderr."""
        for fd, stream in zip(fds, self._streams, strict=True):
            self._open[fd] = stream
            self._clock.watch(fd, self._read, fd)

    def detach(self) -> None:
        """The run is over: take in what is left, which is no more than one turn's worth, as a pipe holds no more. That
        somebody else may hold the other ends is no reason to wait.
        """
        for fd in list(self._open):
            self._read(fd)
            self._close(fd)

    def output(self) -> Output:
        """What is kept so far."""
        out, err = self._streams
        return Output(out.kept(), err.kept())

    def when_news(self, listener: Callable[[], None]) -> None:
        """Call once, when something was written."""
        self._listeners.append(listener)

    def tell(self) -> None:
        """Call those who wait for news."""
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()

    def _read(self, fd: int) -> None:
        """Take in what is there, or a good part of it."""
        news = False
        for _ in range(TURN):
            try:
                data = os.read(fd, CHUNK)
            except BlockingIOError:
                break
            if not data:
                self._close(fd)
                break
            self._open[fd].add(data)
            news = True
        if news:
            self.tell()

    def _close(self, fd: int) -> None:
        if self._open.pop(fd, None) is not None:
            self._clock.unwatch(fd)
            os.close(fd)
