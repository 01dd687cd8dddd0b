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
        self._tap: Callable[[bytes, bytes], object] | None = None
        self._sinks: tuple[Callable[[bytes], object], Callable[[bytes], object]] | None = None

    def copy_to(self, sinks: tuple[Callable[[bytes], object], Callable[[bytes], object]] | None) -> None:
        """Have what is written from now on handed to these too: what is stdout's, and what is stderr's."""
        self._sinks = sinks

    def resize(self, keep: int) -> None:
        """Keep so many bytes per stream from now on."""
        for stream in self._streams:
            stream.resize(keep)

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes that were written to both streams, and bytes of them that are not kept."""
        return sum(each.size for each in self._streams), sum(each.dropped for each in self._streams)

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

    def last_line(self) -> str:
        """The last line with something in it, of stderr before stdout; for a message, at most 200 characters."""
        for stream in reversed(self._streams):
            kept = stream.kept()
            lines = (kept.tail or kept.head)[-4096:].decode("utf-8", "replace").split("\n")
            if written := [line.strip() for line in lines if line.strip()]:
                return written[-1][-200:]
        return ""

    def follow(self, tap: Callable[[bytes, bytes], object] | None) -> None:
        """Hand on what was written, to stdout and to stderr, and from now on whatever is as soon as it is read.

        Args:
            tap: who is told; None: nobody any more.
        """
        self._tap = tap
        written = self.output()
        if tap is not None and (written.out.size or written.err.size):
            tap(written.out.since(0), written.err.since(0))

    def when_news(self, listener: Callable[[], None]) -> None:
        """Call once, when something was written."""
        self._listeners.append(listener)

    def forget(self, listener: Callable[[], None]) -> None:
        """Do not call it any more."""
        self._listeners = [other for other in self._listeners if other != listener]

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
            stream = self._open[fd]
            stream.add(data)
            if self._tap is not None:
                self._tap(*((data, b"") if stream is self._streams[0] else (b"", data)))
            if self._sinks is not None:
                self._sinks[stream is self._streams[1]](data)
            news = True
        if news:
            self.tell()

    def _close(self, fd: int) -> None:
        if self._open.pop(fd, None) is not None:
            self._clock.unwatch(fd)
            os.close(fd)
