"""Shared memory at the worker's end: what jobs are called with is read where it lies, large values are laid down.

Runs under the environment's interpreter: standard library, siblings, and the file that is lent.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections import deque
from collections.abc import Callable
from typing import Any

from stokerd.forkserver.borrowed import borrow
from stokerd.pool import messages

LENT = "stoker_segments"
"""What :mod:`stoker.protocol.segments` is called here: the environment may have a ``stoker`` of its own."""
DEPTH = 2
"""Levels of a value that are searched for large bytes."""


class Laid:
    """A value that lies in a segment.

    Args:
        segment: the worker's own number of it.
        parcel: what is sent in the value's place.
        fd: the segment's descriptor where the daemon does not have it yet; else -1.
    """

    __slots__ = ("fd", "parcel", "segment")

    def __init__(self, segment: int, parcel: bytes, fd: int) -> None:
        self.segment, self.parcel, self.fd = segment, parcel, fd


class Parcels:
    """See the module.

    Args:
        tell: sends the daemon a message.
        room: gives how many bytes may be made.
    """

    def __init__(self, tell: Callable[[bytes], object], room: Callable[[], int]) -> None:
        self._segments: Any = borrow(LENT)
        self._tell = tell
        self._shelf = self._segments.Shelf()
        self._arena = self._segments.Arena(room, on_drop=self._dropped)
        self._told: set[int] = set()
        self._reading: Any = None
        """The segment of the job that is being run, until its arguments have been read."""
        self.passed: deque[int] = deque()
        """Descriptors that have come."""
        self._segments.watch_forks()

    def take(self, header: messages.Header) -> None:
        """A segment to know, or to forget."""
        if header.op == messages.SEGMENT:
            self._learn(header.extra)
        elif not header.count:
            self._shelf.forget(header.extra)
        elif (own := self._arena.find(header.extra)) is not None:
            self._arena.drop(own)

    def _learn(self, number: int) -> None:
        if not self.passed:
            return  # this process has no descriptor left to give it: the job that needs it says so
        fd = self.passed.popleft()
        try:
            with contextlib.suppress(OSError):  # likewise no memory
                self._shelf.learn(number, fd)
        finally:
            os.close(fd)

    def _dropped(self, name: int) -> None:
        self._told.discard(name)
        self._tell(messages.pack(messages.DROPPED, extra=name))

    # --- what a job is called with

    def begin(self, number: int) -> None:
        """A job begins whose arguments lie in this segment.

        Raises:
            OSError: this process could not map it.
        """
        if not self._shelf.knows(number):
            raise OSError(errno.EMFILE, "the shared memory in which the arguments lie can't be mapped")
        self._reading = self._shelf.find(number)

    def load(self, parcel: memoryview) -> Any:
        """Its arguments, where they lie; they are the job's, and may be written to."""
        segment, self._reading = self._reading, None
        return self._segments.load(segment.hold(), parcel)

    def end(self) -> None:
        """It has ended. If its arguments have never been read, nobody else says that the segment is free."""
        segment, self._reading = self._reading, None
        if segment is not None:
            segment.free()

    # --- what it returns

    def flatten(self, value: Any, dump: Callable[..., bytes]) -> tuple[bytes, list[memoryview]]:
        """A pickle, and the large buffers beside it."""
        flat: tuple[bytes, list[memoryview]] = self._segments.flatten(value, DEPTH, dump)
        return flat

    def lay(self, stream: bytes, buffers: list[memoryview]) -> Laid | None:
        """Lay a value down; None where there is no room for it."""
        segment = self._arena.claim(self._segments.needed(stream, buffers))
        if segment is None:
            return None
        try:
            parcel = self._segments.lay(segment, stream, buffers)
        except BaseException:
            segment.free()
            raise
        new = segment.number not in self._told
        self._told.add(segment.number)
        return Laid(segment.number, parcel, segment.fd if new else -1)
