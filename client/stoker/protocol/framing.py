"""Messages on a byte stream: how the direct channel marks where a message and its frames end.

Whoever connects sends :data:`PREAMBLE` once. Then, in both directions, a message is

    u64 bytes after these sixteen | u32 frames | u16 descriptors | u16 flags | u64 length of each frame | the frames

little-endian, and without the empty delimiter that a ZeroMQ message begins with. Nothing is allocated for what a header
only announces.

Descriptors travel beside the bytes, with the first byte of their message or earlier, in order; the header says how many
belong to it. They are passed only where both ends have agreed to (method ``share``), for a socket that is read without
looking for them loses them. Flags are 0.

Pure: bytes are read into :meth:`Intake.room` by somebody else. What an intake knows changes in single assignments, so
that a signal handler which raises between two of its lines leaves it as it was.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

from stoker.errors import MalformedMessage, MessageTooLarge, StokerError
from stoker.protocol.codec import Frame

PREAMBLE = b"stoker\x00\x01"
"""What a client sends first: the name of the framing, and its version."""

OWN = 64 * 1024
"""Bytes from which a frame is given out as a view of what it was read into; smaller ones are copied out."""

LARGE = 256 * 1024
"""Bytes from which a frame is sent from where it lies; smaller ones are joined with what goes before."""

ROOM = 64 * 1024
"""Bytes of a new buffer, which a peer has only while a message of its is incomplete."""

EAGER = 1 << 20
"""Bytes that are set aside at once for a message that announces as many; more, as they come."""

_HEADER = struct.Struct("<QIHH")
_ONE = struct.Struct("<QIHHQ")
_TWO = struct.Struct("<QIHHQQ")
_UNBOUNDED = 1 << 62
_NOTHING = memoryview(b"")


class Descriptor(bytes):
    """An open file that goes with a message, behind its frames: an empty frame whose content is the file.

    Args:
        fd: its number in this process; whoever sends it keeps it open until it has left.
    """

    fd: int

    def __new__(cls, fd: int) -> Self:
        """Empty, but for the file."""
        made = super().__new__(cls)
        made.fd = fd
        return made

    def close(self) -> None:
        """Close it, unless that has been done."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def without_descriptors(frames: Sequence[Frame]) -> tuple[Sequence[Frame], list[int]]:
    """The frames that are bytes, and the numbers of the descriptors behind them."""
    fds: list[int] = []
    while frames and isinstance(last := frames[-1], Descriptor):
        fds.insert(0, last.fd)
        frames = frames[:-1]
    return frames, fds


def close_descriptors(frames: Sequence[Frame]) -> None:
    """Close the files that came with a message and that nobody has taken."""
    for frame in frames:
        if isinstance(frame, Descriptor):
            frame.close()


class Unfit(Exception):
    """A message that cannot be taken.

    Args:
        error: what to tell its sender.
        frames: its head, where that is known, so that the answer can have its id.
        fatal: nothing that follows can be understood.
    """

    def __init__(self, error: StokerError, frames: Sequence[Frame] = (), *, fatal: bool = False) -> None:
        super().__init__(error.message)
        self.error, self.frames, self.fatal = error, frames, fatal


def enclose(frames: Sequence[Frame], descriptors: int = 0) -> list[Frame]:
    """The bytes of one message, in as few pieces as can be without copying large frames.

    Args:
        frames: head and payload, without a delimiter.
        descriptors: how many travel beside it.
    """
    if len(frames) == 1 and len(frames[0]) < LARGE and not descriptors:
        size = len(frames[0])
        return [_ONE.pack(size + 8, 1, 0, 0, size) + frames[0]]
    if len(frames) == 2 and not descriptors:  # a head and its payload: with the one above, nearly all there are
        head, payload = frames
        if type(payload) is bytes and (first := len(head)) + (second := len(payload)) < LARGE:
            return [_TWO.pack(first + second + 16, 2, 0, 0, first, second) + head + payload]
    frames = [frame.cast("B") if isinstance(frame, memoryview) else frame for frame in frames]
    lengths = list(map(len, frames))
    count = len(lengths)
    begin = struct.pack(f"<QIHH{count}Q", sum(lengths) + 8 * count, count, descriptors, 0, *lengths)
    pieces: list[Frame] = []
    small = [begin]
    for frame, length in zip(frames, lengths, strict=True):
        if length < LARGE:
            small.append(frame)  # type: ignore[arg-type] # join takes any bytes-like object
            continue
        pieces += (b"".join(small), frame)
        small = []
    if small:
        pieces.append(b"".join(small))
    return pieces


def single(data: Frame) -> bytes | None:
    """The frame of a message that consists of one, where ``data`` is that message and nothing else; else None."""
    if len(data) < _ONE.size:
        return None
    size, count, descriptors, flags, length = _ONE.unpack_from(data)
    if count != 1 or size + _HEADER.size != len(data) or length + 8 != size or descriptors or flags:
        return None
    return bytes(data[_ONE.size :])


def pair(data: Frame) -> list[Frame] | None:
    """The two frames of a message that consists of as many, where ``data`` is that message and nothing else."""
    if len(data) < _TWO.size:
        return None
    size, count, descriptors, flags, first, second = _TWO.unpack_from(data)
    if count != 2 or first + second + 16 != size or size + _HEADER.size != len(data) or descriptors or flags:
        return None
    middle = _TWO.size + first
    return [data[_TWO.size : middle], data[middle:]]


class _State(NamedTuple):
    """What an intake has: what lies in ``view`` from ``at`` on has not been given out yet.

    It ends where it ended once, at ``base``, and as many bytes later as came since, read by read. ``passed`` is how
    many descriptors have been given out with what came before.
    """

    view: memoryview
    at: int
    base: int
    counts: list[int]
    passed: int = 0

    def end(self) -> int:
        return self.base + sum(self.counts)


def _moved(kept: memoryview, size: int, passed: int) -> _State:
    """A buffer of its own, with what is kept at its beginning."""
    fresh = memoryview(bytearray(size))
    fresh[: len(kept)] = kept
    return _State(fresh, 0, len(kept), [], passed)


class Intake:
    """Bytes in, messages out.

    Args:
        message_bytes: the largest message that is taken; one up to ``patience`` times as large is read past.
        head_bytes: the largest first frame that is kept of a message that is read past.
        frames: the most frames of a message.
        patience: see above; what is larger still ends the conversation.
        preamble: whether :data:`PREAMBLE` comes first.
    """

    def __init__(
        self,
        *,
        message_bytes: int = _UNBOUNDED,
        head_bytes: int = _UNBOUNDED,
        frames: int = 1 << 32,
        patience: int = 1,
        preamble: bool = False,
    ) -> None:
        self._message_bytes, self._head_bytes, self._frames = message_bytes, head_bytes, frames
        self._limit = message_bytes * patience
        self._expects_preamble = preamble
        self._skip = 0
        """Bytes to come of a message that is read past."""
        self.descriptors: list[int] | None = None
        """Those that have come, in order; None: there can be none."""
        self._state = _State(_NOTHING, 0, 0, [])
        self._next = 0, False, 0
        """Where the message ends that was given last, whether the buffer is its own now, and its descriptors."""

    @property
    def arrived(self) -> list[int]:
        """Where the count of bytes that were read into :meth:`room` is appended, in the same step as they are read."""
        return self._state.counts

    @property
    def idle(self) -> bool:
        """True while nothing is kept and the next byte begins a message."""
        _, at, base, counts, _ = self._state
        return at == base + sum(counts) and not self._skip and not self._expects_preamble

    def adopt(self, data: bytes) -> None:
        """Take in what was read elsewhere, while :attr:`idle`. Doing it twice with the same object is fine."""
        if self._state.view.obj is not data:
            self._state = _State(memoryview(data), 0, len(data), [], self._state.passed)

    @property
    def buffered(self) -> int:
        """Bytes that are set aside."""
        return self._state.view.nbytes

    def room(self) -> memoryview:
        """Where the next bytes belong."""
        view, at, _, _, passed = state = self._state
        end = state.end()
        if at == end:
            own = None if view.readonly else view
            self._state = _State(own or memoryview(bytearray(ROOM)), 0, 0, [], passed)
            return self._state.view
        if end == len(view) or view.readonly or self._need() > len(view) - at:
            self._state = _moved(view[at:end], max(self._need(), (end - at) * 2, ROOM), passed)
        else:
            self._state = _State(view, at, end, [], passed)
        return self._state.view[self._state.base :]

    def _need(self) -> int:
        """Bytes that the message that has begun takes, as far as is known and wise to set aside."""
        view, at, _, _, _ = state = self._state
        left = state.end() - at
        if left < _HEADER.size or self._expects_preamble:
            return _HEADER.size
        announced: int = _HEADER.unpack_from(view, at)[0]
        return _HEADER.size + min(announced, max(EAGER, 4 * left), self._message_bytes)

    def next(self) -> list[Frame] | None:
        """The frames of the next message; None where it has not arrived in whole. :meth:`delivered` takes it out.

        Raises:
            Unfit: it is none, or one that is not taken; the next one is the next.
        """
        if self._skip or self._expects_preamble:
            self._pass()
        view, at, _, _, passed = state = self._state
        left = state.end() - at
        if left < _HEADER.size or self._expects_preamble:
            return None
        size, count, descriptors, flags = _HEADER.unpack_from(view, at)
        if count != 1 or size > self._message_bytes or descriptors or flags:
            self._check(size, count, descriptors, flags, left)
        start = at + _HEADER.size + 8 * count
        if left < _HEADER.size + size:
            if left >= start - at:
                self._lengths(size, count)
            return None
        if count == 1 and size < OWN and not descriptors:  # most are of this kind
            self._lengths(size, 1)
            self._next = at + _HEADER.size + size, False, 0
            return [bytes(view[start : at + _HEADER.size + size])]
        frames: list[Frame] = []
        owned = False
        for length in self._lengths(size, count):
            piece = view[start : start + length]
            if length >= OWN:
                owned = True
                frames.append(piece)
            else:
                frames.append(bytes(piece))
            start += length
        if descriptors and self.descriptors is not None:
            frames += map(Descriptor, self.descriptors[passed : passed + descriptors])
        self._next = start, owned, descriptors
        return frames

    @property
    def unclaimed(self) -> list[int]:
        """Descriptors that have come and were not given out."""
        return [] if self.descriptors is None else self.descriptors[self._state.passed :]

    def delivered(self) -> None:
        """The message that :meth:`next` gave has been dealt with."""
        view, _, base, counts, passed = state = self._state
        at, owned, descriptors = self._next
        passed += descriptors
        if owned:  # its frames are views of this buffer, so nothing may be read over them
            kept = view[at : state.end()]
            self._state = _moved(kept, len(kept), passed)
        elif at == state.end():
            self._state = _State(_NOTHING, 0, 0, [], passed)
        else:
            self._state = _State(view, at, base, counts, passed)

    def _lengths(self, size: int, count: int) -> Sequence[int]:
        """The length of each frame.

        Raises:
            Unfit: they are not lengths of frames of this message.
        """
        lengths = struct.unpack_from(f"<{count}Q", self._state.view, self._state.at + _HEADER.size)
        if sum(lengths) + 8 * count != size:
            self._refuse(size, MalformedMessage("the lengths of the frames do not add up to the size of the message"))
        return lengths

    def _pass(self) -> None:
        """Over what is of no interest."""
        view, at, base, counts, passed = state = self._state
        end = state.end()
        if self._expects_preamble:
            given = bytes(view[at : min(at + len(PREAMBLE), end)])
            if not PREAMBLE.startswith(given):
                raise Unfit(
                    MalformedMessage(
                        "this is not how a conversation begins on the direct channel",
                        hint="it is for stoker's own clients; speak ZeroMQ to the control socket",
                    ),
                    fatal=True,
                )
            if len(given) < len(PREAMBLE):
                return
            at += len(PREAMBLE)
            self._expects_preamble = False
        over = min(self._skip, end - at)
        self._skip -= over
        self._state = _State(view, at + over, base, counts, passed)

    def _check(self, size: int, count: int, descriptors: int, flags: int, left: int) -> None:
        """Raise Unfit for a header that promises what is not taken; return where it does not, or not yet."""
        table = 8 * count
        if size > self._limit or table > size:
            why = (
                self._too_large(size)
                if size > self._limit
                else MalformedMessage(f"{count} frames do not fit into a message of {size} bytes")
            )
            raise Unfit(why, fatal=True)
        if flags or (descriptors and self.descriptors is None):
            self._refuse(
                size,
                MalformedMessage(
                    f"the message announces {descriptors} descriptors and flags {flags:#x}",
                    hint="flags have no meaning yet; ask for `share` before passing descriptors",
                ),
            )
        come = len(self.descriptors or ()) - self._state.passed
        if descriptors > come:
            self._refuse(
                size,
                MalformedMessage(
                    f"{descriptors} descriptors are announced, and {come} have come",
                    hint="the system may have none left: see `ulimit -n`",
                ),
            )
        if count == 0 or count > self._frames:
            self._refuse(size, MalformedMessage(f"{count} frames, from 1 to {self._frames} are allowed"))
        if size <= self._message_bytes:
            return
        if left < _HEADER.size + table:
            if table > self._message_bytes:
                self._refuse(size, self._too_large(size))
            return
        first = self._lengths(size, count)[0]
        if first > self._head_bytes or first + table > self._message_bytes:
            self._refuse(size, self._too_large(size))
        begin = self._state.at + _HEADER.size + table
        if left >= _HEADER.size + table + first:
            self._refuse(size, self._too_large(size), [bytes(self._state.view[begin : begin + first])])

    def _too_large(self, size: int) -> MessageTooLarge:
        return MessageTooLarge(
            f"the message has {size} bytes, at most {self._message_bytes} are allowed",
            hint="send less at once, or raise limits.message_bytes",
            data={"limit": self._message_bytes},
        )

    def _refuse(self, size: int, error: StokerError, frames: Sequence[Frame] = ()) -> None:
        """Read past the message, and say why."""
        if self.descriptors is not None:
            passed = self._state.passed
            count = _HEADER.unpack_from(self._state.view, self._state.at)[2]
            for fd in self.descriptors[passed : passed + count]:
                os.close(fd)
            self._state = self._state._replace(passed=min(passed + count, len(self.descriptors)))
        self._skip = _HEADER.size + size
        self._pass()
        raise Unfit(error, frames)


def messages(intake: Intake) -> Iterator[list[Frame]]:
    """All that have arrived in whole, each of which is delivered when the next one is asked for."""
    while (frames := intake.next()) is not None:
        yield frames
        intake.delivered()
