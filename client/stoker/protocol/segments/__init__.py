"""Segments: memory that processes share for large data, and what lies in them.

A segment is an anonymous file in memory (memfd) that is sealed against shrinking, so that whoever has it mapped can't
be hurt by whoever made it. It begins with a page of *words*; the data follows. Its maker fills it and names it; a
*parcel*, a few bytes that travel with a message, says what of a pickle lies where in it. Whoever reads it reads in
place, and the last view that is gone frees it: one store in the page, and no message. Then its maker fills it again,
while it is warm: new pages cost several times what copying costs.

The words, each written whole:

- :data:`USED` is 1 from before it is filled until the last view of it is gone.
- :data:`RETIRED` is 1 when it must not be filled again. Its maker writes ``USED`` first and looks at ``RETIRED``
  second; who retires it writes ``RETIRED`` first and looks at ``USED`` a millisecond later. So nothing is taken from
  under what is being filled.
- :data:`SHARED` is 1 when a process was forked that has views of it, of which nobody knows when they are gone: what
  they show stays.

Both ends are here, client's and worker's. The worker's runs in any interpreter, by this file alone: standard library
only, and nothing newer than Python 3.8.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import pickle
import struct
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

HEAD = 4096
"""Bytes before the data: a page of its own, so that the rest can be given back to the system."""
ALIGNED = 64
"""Every buffer begins at a multiple of it: a cache line, and all that vector instructions ask for."""
LARGE = 64 * 1024
"""Bytes from which shared memory is used: it is about as quick as a socket there, and ever quicker beyond."""
SCANNED = 64
"""Elements of a list, tuple or map that are looked at for large bytes."""
MOST = 64
"""Segments that one process makes: each takes two descriptors of it."""
HELD = 16
"""Segments that one process reads in place at a time. What comes beyond them is copied out, so that who holds very many
results leaves their makers something to fill."""
SPARE = 4
"""A segment is used for what fills at least one part in so many of it."""

USED, RETIRED, SHARED = 0, 1, 2

_COUNT, _PLACE = struct.Struct("<I"), struct.Struct("<QQ")
_SEALS = 0x0001 | 0x0002 | 0x0004  # F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW of <linux/fcntl.h>
_ADD_SEALS, _GET_SEALS = 1033, 1034
SEALED = 0x0002
_POPULATE = getattr(mmap, "MAP_POPULATE", 0x8000)
_REMOVE = getattr(mmap, "MADV_REMOVE", 9)


def can_share() -> bool:
    """Whether this system and this interpreter have what it takes."""
    if not hasattr(os, "memfd_create"):
        return False
    try:
        import ctypes  # noqa: F401 - left out of some builds
    except ImportError:
        return False
    return True


def is_sealed(fd: int) -> bool:
    """Whether a descriptor is that of a file in memory that can't be made smaller."""
    try:
        return bool(fcntl.fcntl(fd, _GET_SEALS) & SEALED)
    except OSError:
        return False


def available() -> int:
    """Bytes of memory that can be had without taking them from anybody, as far as the system tells."""
    try:
        with open("/proc/meminfo", "rb") as told:  # noqa: PTH123 - as short as it can be
            for line in told:
                if line.startswith(b"MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 1 << 62


class Segment:
    """One, mapped into this process.

    Args:
        number: its name between the two who speak of it.
        fd: its descriptor, which stays the caller's unless ``keep`` says that it is this object's from now on.
    """

    __slots__ = ("__weakref__", "_area", "fd", "memory", "number", "size", "words")

    def __init__(self, number: int, fd: int, *, keep: bool) -> None:
        self.number = number
        self.fd = -1
        whole = os.fstat(fd).st_size
        self.size = whole - HEAD
        self.memory = mmap.mmap(fd, whole, flags=mmap.MAP_SHARED | _POPULATE)
        self.words = memoryview(self.memory)[:ALIGNED].cast("Q")
        self._area: Callable[[], Any] | None = None
        if keep:
            self.fd = fd

    @classmethod
    def make(cls, number: int, size: int) -> Segment:
        """A new one, in use, with room for ``size`` bytes.

        Raises:
            OSError: the system has no memory or descriptor left.
        """
        fd = os.memfd_create("stoker", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, HEAD + size)
            fcntl.fcntl(fd, _ADD_SEALS, _SEALS)
            made = cls(number, fd, keep=True)
        except BaseException:
            os.close(fd)
            raise
        made.words[USED] = 1
        return made

    def __del__(self) -> None:
        fd = getattr(self, "fd", -1)
        if fd >= 0:
            self.fd = -1
            os.close(fd)

    @property
    def retired(self) -> bool:
        """True when it must not be filled again."""
        return self.words[RETIRED] != 0

    @property
    def used(self) -> bool:
        """True while somebody fills or reads it."""
        return self.words[USED] != 0

    @property
    def held(self) -> bool:
        """True while this process has a view of it."""
        return self._area is not None and self._area() is not None

    def claim(self) -> bool:
        """Begin to fill it; False where somebody has retired it."""
        self.words[USED] = 1
        if self.words[RETIRED]:
            self.words[USED] = 0
            return False
        return True

    def free(self) -> None:
        """Nobody reads it any more."""
        self.words[USED] = 0

    def discard(self) -> None:
        """Give its memory back; whoever else has it finds out by itself."""
        self.words[RETIRED] = 1
        if self.words[SHARED]:
            return
        with contextlib.suppress(OSError, ValueError):  # not on this kernel: it goes with the last who has it
            self.memory.madvise(_REMOVE, HEAD)

    def hold(self) -> Any:
        """What keeps it in use: an object with all of its data; when the last view of that is gone, it is free."""
        area = self._area() if self._area is not None else None
        if area is None:
            import ctypes

            area = (ctypes.c_char * self.size).from_buffer(self.memory, HEAD)
            words = self.words

            def gone(_: object) -> None:
                words[USED] = 0

            self._area = weakref.ref(area, gone)
            _live[id(self)] = self
        return area

    def leave_as_is(self) -> None:
        """A process is about to be forked that will have the same views: what they show must never change."""
        if self.held:
            self.words[SHARED] = self.words[RETIRED] = 1


_live: weakref.WeakValueDictionary[int, Segment] = weakref.WeakValueDictionary()


def watch_forks() -> None:
    """From now on, what is viewed while a process is forked is never filled again."""
    global _watching  # noqa: PLW0603 - once per process
    if not _watching:
        _watching = True
        os.register_at_fork(before=_before_fork)


def _before_fork() -> None:
    for segment in list(_live.values()):
        segment.leave_as_is()


_watching = False


class Arena:
    """The segments that this process makes and fills, again and again. Not thread-safe.

    Args:
        room: gives how many more bytes it may make.
        most: how many segments.
        on_drop: told of each that is given up, by its number.
    """

    def __init__(
        self, room: Callable[[], int], most: int = MOST, on_drop: Callable[[int], object] = lambda _number: None
    ) -> None:
        self._room, self._most, self._on_drop = room, most, on_drop
        self._segments: dict[int, Segment] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._segments)

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        return sum(segment.size for segment in self._segments.values())

    def claim(self, size: int) -> Segment | None:
        """One with room for ``size`` bytes, in use from now on; None where there is none to be had."""
        found = self._fitting(size)
        return found if found is not None else self._new(size)

    def _fitting(self, size: int) -> Segment | None:
        best: Segment | None = None
        for segment in list(self._segments.values()):
            if segment.retired:
                self.drop(segment)
            elif (
                size <= segment.size <= SPARE * size and not segment.used and (best is None or segment.size < best.size)
            ):
                best = segment
        if best is None or best.claim():
            return best
        self.drop(best)
        return self._fitting(size)

    def _new(self, size: int) -> Segment | None:
        whole = -(-(size + size // 16) // HEAD) * HEAD
        self._make_room(whole)
        if len(self._segments) >= self._most or whole > self._room() or whole > available() // 2:
            return None
        try:
            made = Segment.make(self._next, whole)
        except (OSError, ValueError):  # no descriptor, no memory
            return None
        self._next += 1
        self._segments[made.number] = made
        return made

    def _make_room(self, size: int) -> None:
        """Give up free ones that did not fit, the oldest first, as far as needed."""
        for segment in list(self._segments.values()):
            if len(self._segments) < self._most and size <= self._room():
                return
            if not segment.used:
                self.drop(segment)

    def drop(self, segment: Segment) -> None:
        """Never use it again."""
        if self._segments.pop(segment.number, None) is not None:
            if not segment.used:
                segment.discard()
            self._on_drop(segment.number)

    def find(self, number: int) -> Segment | None:
        """The one of this number."""
        return self._segments.get(number)


class Shelf:
    """The segments of others that this process has mapped, by the number that they came under."""

    def __init__(self) -> None:
        self._segments: OrderedDict[int, Segment] = OrderedDict()

    def __len__(self) -> int:
        return len(self._segments)

    def learn(self, number: int, fd: int) -> None:
        """Take in one; the descriptor stays the caller's.

        Raises:
            OSError: it can't be mapped.
        """
        # one that is retired and still in use may be on its way here with another value in it
        gone = [one for one in self._segments.values() if one.retired and not one.used and not one.held]
        for old in gone:
            del self._segments[old.number]
        self._segments[number] = Segment(number, fd, keep=False)

    def find(self, number: int) -> Segment:
        """The one of this number.

        Raises:
            KeyError: there is none.
        """
        return self._segments[number]

    def knows(self, number: int) -> bool:
        """Whether it is there."""
        return number in self._segments

    def forget(self, number: int) -> None:
        """It is not spoken of any more; views of it stay what they are."""
        self._segments.pop(number, None)

    @property
    def crowded(self) -> bool:
        """True where so many are viewed that what comes next is better copied."""
        return len(self._segments) > HELD and sum(segment.held for segment in self._segments.values()) > HELD


# --- what lies in them


class _Bulk:
    """Large bytes, as something that :mod:`pickle` puts beside the pickle and not into it."""

    __slots__ = ("data",)

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, tuple[Any]]:
        return type(self.data), (pickle.PickleBuffer(self.data),)


def _exposed(value: Any, depth: int, seen: dict[int, Any]) -> Any:
    """The same value, with large bytes in it replaced by :class:`_Bulk`: at most ``depth`` levels down."""
    kind = type(value)
    if kind is bytes or kind is bytearray:
        if len(value) < LARGE:
            return value
        if id(value) not in seen:  # the same object twice stays one object
            seen[id(value)] = _Bulk(value)
        return seen[id(value)]
    if not depth or kind not in (tuple, list, dict) or not 0 < len(value) <= SCANNED:
        return value
    if kind is dict:
        news = [_exposed(item, depth - 1, seen) for item in value.values()]
        if all(map(_is, news, value.values())):
            return value
        return dict(zip(value, news))  # noqa: B905 - strict is newer than some interpreters
    news = [_exposed(item, depth - 1, seen) for item in value]
    if all(map(_is, news, value)):
        return value
    return tuple(news) if kind is tuple else news


def _is(one: Any, other: Any) -> bool:
    return one is other


def flatten(value: Any, depth: int, dump: Callable[..., bytes] = pickle.dumps) -> tuple[bytes, list[memoryview]]:
    """A pickle, and the large buffers that belong beside it.

    Args:
        value: what is pickled.
        depth: how many levels of lists, tuples and maps are searched for large bytes.
        dump: as :func:`pickle.dumps`.

    Raises:
        Exception: as ``dump``.
    """
    buffers: list[memoryview] = []

    def aside(buffer: Any) -> bool:
        try:
            raw: memoryview = buffer.raw()
        except BufferError:  # not in one piece
            return True
        if raw.nbytes < LARGE:
            return True
        buffers.append(raw)
        return False

    stream = dump(_exposed(value, depth, {}), protocol=5, buffer_callback=aside)
    return stream, buffers


def needed(stream: bytes, buffers: list[memoryview]) -> int:
    """Bytes of a segment that :func:`lay` needs for them."""
    return sum(-(-buffer.nbytes // ALIGNED) * ALIGNED for buffer in buffers) + (
        len(stream) if len(stream) >= LARGE else 0
    )


def lay(segment: Segment, stream: bytes, buffers: list[memoryview]) -> bytes:
    """Copy them into a segment; returns the parcel."""
    places: list[bytes] = []
    at = HEAD
    with memoryview(segment.memory) as room:
        for buffer in buffers:
            room[at : at + buffer.nbytes] = buffer
            places.append(_PLACE.pack(at - HEAD, buffer.nbytes))
            at += -(-buffer.nbytes // ALIGNED) * ALIGNED
        if len(stream) >= LARGE:
            room[at : at + len(stream)] = stream
            places.append(_PLACE.pack(at - HEAD, len(stream)))
            stream = b""
    return b"".join((_COUNT.pack(len(places)), *places, stream))


def spread(area: Any, parcel: Any) -> tuple[Any, list[memoryview]]:
    """The pickle and its buffers, as views.

    Args:
        area: the segment's data, see :meth:`Segment.hold`; or a copy of it.
        parcel: what :func:`lay` returned.

    Raises:
        ValueError: the parcel makes no sense.
    """
    try:
        (count,) = _COUNT.unpack_from(parcel)
        views = []
        with memoryview(area) as whole:
            data = whole.cast("B") if whole.format != "B" else whole[:]
        for number in range(count):
            at, size = _PLACE.unpack_from(parcel, _COUNT.size + number * _PLACE.size)
            if at + size > data.nbytes:
                raise ValueError("a parcel that reaches beyond its segment")
            views.append(data[at : at + size])
    except struct.error as why:
        raise ValueError(f"not a parcel: {why}") from None
    stream = bytes(memoryview(parcel)[_COUNT.size + count * _PLACE.size :])
    return (stream or views.pop()), views


def load(area: Any, parcel: Any) -> Any:
    """The value that a parcel stands for: what is large in it lies where it lay, and can be written to.

    Raises:
        Exception: as :func:`pickle.loads`; ValueError: the parcel makes no sense.
    """
    stream, buffers = spread(area, parcel)
    return pickle.loads(stream, buffers=buffers)  # noqa: S301 - it comes from this user's own program


class _Inline:
    __slots__ = ("buffers", "stream")

    def __init__(self, stream: Any, buffers: list[Any]) -> None:
        self.stream, self.buffers = stream, buffers

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, ...]:
        import functools

        return functools.partial(pickle.loads, buffers=self.buffers), (self.stream,)


def inline(area: Any, parcel: Any) -> bytes:
    """A plain pickle of the same value, with everything in it: for where no memory is shared."""
    stream, buffers = spread(area, parcel)
    return pickle.dumps(_Inline(bytes(stream), [bytearray(buffer) for buffer in buffers]), 5)
