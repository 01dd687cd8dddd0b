"""Large data through memory that is shared with the daemon's workers: this program's end of it.

Nothing is done before something large has gone or come: then the daemon is asked (``share``), without waiting, and from
its answer on, what large jobs are called with is laid in a segment of this program's own, and what they return is read
where the worker has laid it. Where that can't be, for want of memory or of a direct channel, it goes by the socket.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stoker.errors import StokerError
from stoker.functions import flatten_value, pack_value
from stoker.protocol import segments
from stoker.protocol.codec import Frame
from stoker.protocol.framing import Descriptor

if TYPE_CHECKING:
    from stoker.connection import Connection

PAUSE = 1.0
"""Seconds for which nothing is laid in shared memory after the daemon had none left."""


class Parcel:
    """What a job is called with, laid in a segment.

    Args:
        segment: where.
        head: what is sent in its place.
    """

    __slots__ = ("head", "segment")

    def __init__(self, segment: segments.Segment, head: bytes) -> None:
        self.segment, self.head = segment, head

    def unpacked(self) -> bytes:
        """The same as a plain pickle; the segment is free then."""
        return segments.inline(self.segment.hold(), self.head)


class Arrived:
    """What a job has returned, in a segment of its worker's."""

    __slots__ = ("_area", "_parcel", "_shelf")

    def __init__(self, area: Any, parcel: Frame, shelf: segments.Shelf) -> None:
        self._area, self._parcel, self._shelf = area, parcel, shelf

    def load(self) -> Any:
        """The value, which is read where it lies; copied out where very many are held."""
        if self._shelf.crowded:
            return segments.load(bytearray(self._area), self._parcel)
        return segments.load(self._area, self._parcel)


class Sharing:
    """See the module. One per connection; it begins anew when that connects anew.

    Args:
        connection: to the daemon.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._claiming = threading.Lock()
        self._generation = -1
        self._told: set[int] = set()
        self._pending: dict[int, Any] = {}
        """What has come and is being handed over."""
        self._paused = 0.0
        self.settled = False
        self._begin()

    def _begin(self) -> None:
        self._limit = 0
        self._arena = segments.Arena(lambda: self._limit - self._arena.nbytes, on_drop=self._told.discard)
        self._shelf = segments.Shelf()
        self._told.clear()

    # --- whether it is

    @property
    def on(self) -> bool:
        """Whether memory is shared at present."""
        return self._limit > 0 and self._generation == self._connection.generation

    def want(self) -> None:
        """Something large has gone or come by the socket. Called with the connection's lock held."""
        connection = self._connection
        if self._generation == connection.generation or not segments.can_share() or not connection.pass_descriptors():
            return
        self._generation = connection.generation
        self._begin()
        segments.watch_forks()
        try:
            connection.send("share", {}, (), self)
        except StokerError:
            self._generation = -1

    def part(self, result: dict[str, Any], payload: Sequence[Frame]) -> None:
        """See :class:`stoker.session.Completion`."""

    def finish(self, result: dict[str, Any], payload: Sequence[Frame]) -> None:  # noqa: ARG002 - as every completion
        """It may be."""
        self._limit = result.get("bytes", 0)

    def fail(self, error: StokerError) -> None:
        """It may not: an older daemon, or none any more."""

    def drop(self) -> None:
        """Share nothing any more: the connection is closed, or, in a forked child, all of it is the parent's."""
        self._claiming = threading.Lock()
        self._generation = -1
        self._begin()

    # --- out

    def pack(self, value: Any) -> bytes | Parcel:
        """What a job is called with, as it travels.

        Raises:
            CannotPack: it can't.
        """
        stream, buffers = flatten_value(value)
        if not buffers and len(stream) < segments.LARGE:
            return stream
        segment = self._claim(segments.needed(stream, buffers))
        if segment is None:
            return pack_value(value) if buffers else stream
        try:
            return Parcel(segment, segments.lay(segment, stream, buffers))
        except BaseException:
            segment.free()
            raise

    def _claim(self, size: int) -> segments.Segment | None:
        if self._paused and time.monotonic() < self._paused:
            return None
        with self._claiming:
            return self._arena.claim(size)

    def enclosed(self, segment: segments.Segment) -> tuple[Frame, ...]:
        """What has to go along with the first message that names a segment. Called with the connection's lock held."""
        if segment.number in self._told:
            return ()
        self._told.add(segment.number)
        return (Descriptor(segment.fd),)

    def untell(self, segment: segments.Segment) -> None:
        """The daemon does not know it any more."""
        self._told.discard(segment.number)

    def pause(self, segment: segments.Segment) -> None:
        """The daemon has no room for it."""
        self._paused = time.monotonic() + PAUSE
        with self._claiming:
            self._arena.drop(segment)

    # --- in

    def arrived(self, number: int, payload: Sequence[Frame]) -> Arrived:
        """What a job has returned. Doing it twice is fine, until :meth:`handed_over`.

        Raises:
            OSError: its memory can't be mapped.
            KeyError: it could not be before.
        """
        descriptor = payload[-1]
        if isinstance(descriptor, Descriptor) and not self._shelf.knows(number):
            self._shelf.learn(number, descriptor.fd)
            os.close(descriptor.fd)
        area = self._pending[number] = self._shelf.find(number).hold()
        return Arrived(area, payload[0], self._shelf)

    def handed_over(self, number: int) -> None:
        """Whoever waits for it has it."""
        self._pending.pop(number, None)
