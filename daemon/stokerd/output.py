"""What was written to stdout and stderr, kept within bounds: the beginning and the end, and how much lay between."""

from __future__ import annotations

from dataclasses import dataclass

CHUNK = 64 * 1024
TURN = 16
"""Chunks read from one pipe in one turn of the loop: a flood must not keep the loop from the rest."""


@dataclass(slots=True, frozen=True)
class Kept:
    """What is kept of one stretch of ``size`` bytes: all of it in ``head``, or its beginning and its end."""

    head: bytes
    tail: bytes
    size: int

    @property
    def dropped(self) -> int:
        """How many bytes between head and tail were not kept."""
        return self.size - self.kept_bytes

    @property
    def kept_bytes(self) -> int:
        """How many bytes are kept."""
        return len(self.head) + len(self.tail)

    def since(self, offset: int) -> bytes:
        """What comes after ``offset`` bytes of the stretch; a line tells of what was dropped in between."""
        if offset >= self.size:
            return b""
        tail_at = self.size - len(self.tail)
        if offset >= tail_at:
            return self.tail[offset - tail_at :]
        if not self.dropped:
            return self.head[offset:] + self.tail
        return self.head[offset:] + b"\n[... %d bytes dropped ...]\n" % self.dropped + self.tail


EMPTY = Kept(b"", b"", 0)


@dataclass(slots=True, frozen=True)
class Output:
    """stdout and stderr of one job."""

    out: Kept
    err: Kept

    @property
    def kept_bytes(self) -> int:
        """How many bytes are kept of both."""
        return self.out.kept_bytes + self.err.kept_bytes


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

    def resize(self, keep: int) -> None:
        """Keep so many bytes from now on; of the beginning what there is stays."""
        self._half = keep // 2

    def add(self, data: bytes) -> None:
        """Take in what was written."""
        self.size += len(data)
        if (room := self._half - len(self._head)) > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        if len(self._tail) > 2 * self._half:  # not at every write: dropping from the front moves all the rest
            del self._tail[: -self._half]

    @property
    def dropped(self) -> int:
        """How many bytes are not kept."""
        return self.size - len(self._head) - min(len(self._tail), self._half)

    def kept(self) -> Kept:
        """What is kept of it so far."""
        return Kept(bytes(self._head), bytes(self._tail[-self._half :]), self.size)
