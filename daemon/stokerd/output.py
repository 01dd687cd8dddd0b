"""What a child writes to stdout and stderr: read from pipes as it comes, kept within bounds, cut by job.

Pipes and not files, because programs open ``/dev/stderr`` to write to it: of a file that would cut off what was there.
The reader never waits and always reads, so a writer is never held up for longer than a turn of the loop.

Where one process writes for many jobs, it puts a *mark* behind the output of each job that wrote anything: a short
string that nobody else can guess, in one atomic write. So the cut is exact to the byte, whoever wrote: C code and
children too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from stokerd.clock import Clock

CHUNK = 64 * 1024
TURN = 16
"""Chunks read from one pipe in one turn of the loop: a flood must not keep the loop from the rest."""
SEQ_BYTES = 8
"""A mark is followed by the number of the job that it ends, little-endian."""


T = TypeVar("T")


@dataclass(slots=True, frozen=True)
class Kept:
    """What is kept of ``size`` bytes: all of it in ``head``, or its beginning and its end."""

    head: bytes
    tail: bytes
    size: int

    @property
    def dropped(self) -> int:
        """How many bytes between head and tail were not kept."""
        return self.size - len(self.head) - len(self.tail)

    def since(self, offset: int) -> bytes:
        """What comes after ``offset`` bytes; a line tells of what was dropped in between."""
        tail_at = self.size - len(self.tail)
        if offset >= tail_at:
            return self.tail[offset - tail_at :]
        if not self.dropped:
            return self.head[offset:] + self.tail
        return self.head[offset:] + b"\n[... %d bytes dropped ...]\n" % self.dropped + self.tail


EMPTY = Kept(b"", b"", 0)


@dataclass(slots=True, frozen=True)
class Output:
    """stdout and stderr of one job or process."""

    out: Kept = EMPTY
    err: Kept = EMPTY


class Stretch:
    """Output that is being written.

    Args:
        keep: bytes that are kept: as much of the beginning as of the end.
    """

    __slots__ = ("_half", "_head", "_tail", "size")

    def __init__(self, keep: int) -> None:
        self._half = keep // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.size = 0

    def add(self, data: bytes) -> None:
        """Take in what was written."""
        self.size += len(data)
        if (room := self._half - len(self._head)) > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        if len(self._tail) > 2 * self._half:  # not at every write: dropping from the front moves all the rest
            del self._tail[: -self._half]

    def kept(self) -> Kept:
        """What is kept of it so far."""
        return Kept(bytes(self._head), bytes(self._tail[-self._half :]), self.size)


class Stream:
    """One pipe.

    Args:
        fd: its reading end, non-blocking.
        keep: bytes kept per stretch.
        mark: what ends a stretch; empty: nothing does.
    """

    def __init__(self, fd: int, keep: int, mark: bytes = b"") -> None:
        self.fd = fd
        self.open = True
        self.total = 0
        """Bytes ever read, marks included."""
        self.current = Stretch(keep)
        self._keep, self._mark = keep, mark
        self._rest = b""
        self._ended: dict[int, Kept] = {}

    def read(self) -> int:
        """Take in what is there, or a good part of it; returns how many bytes."""
        total = 0
        for _ in range(TURN):
            try:
                data = os.read(self.fd, CHUNK)
            except BlockingIOError:
                break
            if not data:
                self.open = False
                break
            total += len(data)
            self.total += len(data)
            self._feed(data)
            if len(data) < CHUNK:
                break
        return total

    def take(self, seq: int) -> Kept:
        """The stretch that the mark of job ``seq`` ends; the mark has been written already."""
        while seq not in self._ended and self.read():
            pass
        kept = self._ended.pop(seq, EMPTY)
        for other in [other for other in self._ended if other < seq]:
            del self._ended[other]  # the output of a job that nobody asked about
        return kept

    def finish(self) -> None:
        """The writer is gone: take in what is left, and what was held back as the beginning of a mark."""
        while self.read():
            pass
        self.current.add(self._rest)
        self._rest = b""

    def _feed(self, data: bytes) -> None:
        if not self._mark:
            self.current.add(data)
            return
        data = self._rest + data
        self._rest = b""
        while (at := data.find(self._mark)) >= 0 and len(data) >= at + len(self._mark) + SEQ_BYTES:
            after = at + len(self._mark) + SEQ_BYTES
            self.current.add(data[:at])
            self._ended[int.from_bytes(data[after - SEQ_BYTES : after], "little")] = self.current.kept()
            self.current = Stretch(self._keep)
            data = data[after:]
        held = self._held_back(data, at)
        self.current.add(data[: len(data) - held])
        self._rest = data[len(data) - held :]

    def _held_back(self, data: bytes, at: int) -> int:
        """How many bytes at the end may belong to a mark that has not come whole."""
        if at >= 0:
            return len(data) - at
        for size in range(min(len(self._mark) - 1, len(data)), 0, -1):
            if data.endswith(self._mark[:size]):
                return size
        return 0


class Ledger(Protocol):
    """Who is told of reading."""

    def begin(self) -> None:
        """The pipes are about to be read."""

    def end(self, total: int) -> None:
        """They have been; ``total`` is how many bytes have ever been."""


class Capture:
    """Both streams of a child. Owns the descriptors.

    Args:
        fds: reading ends of the pipes behind stdout and stderr.
        keep: bytes kept per stretch and stream.
        mark: see :class:`Stream`.
        ledger: told before and after the pipes are read, for a writer that must know whether anything was written.
    """

    def __init__(
        self,
        fds: tuple[int, int],
        clock: Clock,
        *,
        keep: int,
        mark: bytes = b"",
        ledger: Ledger | None = None,
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._streams = (Stream(fds[0], keep, mark), Stream(fds[1], keep, mark))
        self._listeners: list[Callable[[], None]] = []
        for stream in self._streams:
            clock.watch(stream.fd, self._on_readable, stream)

    def when_news(self, listener: Callable[[], None]) -> None:
        """Call once, when something was written or the writer is gone."""
        self._listeners.append(listener)

    def take(self, seq: int) -> Output:
        """The output of job ``seq``, whose marks have been written."""
        return self._announced(lambda: Output(*(stream.take(seq) for stream in self._streams)))

    def peek(self) -> Output:
        """What has been written since the last mark."""
        out, err = self._streams
        return Output(out.current.kept(), err.current.kept())

    def finish(self) -> Output:
        """The writer is gone: all that is left."""
        for stream in self._streams:
            stream.finish()
        return self.peek()

    def close(self) -> None:
        """Read no more."""
        for stream in self._streams:
            self._clock.unwatch(stream.fd)
            os.close(stream.fd)
        self._tell()

    def _on_readable(self, stream: Stream) -> None:
        self._announced(stream.read)
        if not stream.open:
            self._clock.unwatch(stream.fd)
        self._tell()

    def _announced(self, read: Callable[[], T]) -> T:
        if self._ledger is None:
            return read()
        self._ledger.begin()
        found = read()
        self._ledger.end(sum(stream.total for stream in self._streams))
        return found

    def _tell(self) -> None:
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()
