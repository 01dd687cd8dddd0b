"""One Unix stream socket to a daemon on this machine: the direct channel, which a local client takes by itself.

It carries the same messages as the ZeroMQ socket beside it (:mod:`stoker.link`) in the framing of
:mod:`stoker.protocol.framing`, sent and received by the very thread that wants something: libzmq would hand each
message to a thread of its own and back, on either side.

A Ctrl-C tears nothing here: whatever must happen together happens in one expression that is C code all through, in
which no signal handler runs, and the rest can be done twice.
"""

from __future__ import annotations

import array
import contextlib
import itertools
import operator
import os
import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from stoker.errors import ConnectionFailed, DaemonLost, NobodyListening
from stoker.protocol.codec import Frame
from stoker.protocol.endpoint import direct_path
from stoker.protocol.framing import (
    OWN,
    PREAMBLE,
    Descriptor,
    Intake,
    Unfit,
    enclose,
    pair,
    single,
    without_descriptors,
)
from stoker.refusal import lost, of_refusal

LINGER = 500
"""Milliseconds that closing a link waits for what is not yet sent."""
SEND_BUFFER = 1 << 20
"""Bytes that the kernel is asked to take in at once; it grants what ``net.core.wmem_max`` allows."""
PIECES = 64
"""Pieces handed to the kernel in one call; it takes 1024."""

PASSED = 64
"""Descriptors that are received in one call, at most."""

_BESIDE = socket.CMSG_SPACE(4 * PASSED)
_QUIET = socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT


class _Parcel:
    """A message that is on its way out: ``moved`` is how many bytes of it have left, send by send."""

    __slots__ = ("descriptors", "moved", "pieces", "size")

    def __init__(self, pieces: list[Frame], descriptors: Sequence[int] = ()) -> None:
        self.pieces, self.descriptors = pieces, descriptors
        self.size = sum(map(len, pieces))
        self.moved: list[int] = []

    def left(self) -> list[Frame]:
        """What has not left yet."""
        skip = sum(self.moved)
        if not skip:
            return self.pieces[:PIECES]
        rest: list[Frame] = []
        for piece in self.pieces:
            if skip < len(piece):
                rest.append(memoryview(piece)[skip:])
            skip = max(skip - len(piece), 0)
        return rest[:PIECES]

    def beside(self) -> Sequence[tuple[int, int, array.array[int]]]:
        """What leaves with the first of its bytes."""
        if not self.descriptors or any(self.moved):
            return ()
        return ((socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", self.descriptors)),)


def reach(url: str, timeout: float) -> DirectLink:
    """Connect to the direct channel that belongs to a control socket.

    Args:
        url: of the control socket.
        timeout: seconds that connecting may take.

    Raises:
        ConnectionFailed: there is none, or it cannot be used; the control socket may be usable all the same.
    """
    if not url.startswith("ipc://"):
        raise NobodyListening(f"{url} has no direct channel: it is not a path", hint="leave STOKER_TRANSPORT alone")
    path = direct_path(url.removeprefix("ipc://"))
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(timeout)
        made.connect(path)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        made.setblocking(False)
        return DirectLink(url, made)
    except OSError as why:
        made.close()
        raise of_refusal(f"ipc://{path}", why) from None
    except BaseException:
        made.close()
        raise


class DirectLink:
    """A connected socket. Not thread-safe: its owner has the lock.

    Args:
        url: of the control socket that it goes with.
        connected: the socket, which does not block.
    """

    edgy = False
    torn = False

    def __init__(self, url: str, connected: socket.socket) -> None:
        self.url = url
        self._socket = connected
        self._send, self._recv = connected.send, connected.recv
        self._intake = Intake()
        self._passed: list[list[tuple[int, int, bytes]]] = []
        """What came beside the bytes, read by read, where descriptors are passed."""
        self._got: list[bytes] = []
        """What was read while nothing was kept: most often a message."""
        self._out: deque[_Parcel] = deque((_Parcel([PREAMBLE]),))
        self._readable = True
        """False where the last read found less than there was room for: ask no more before poll says so."""
        self._why: ConnectionFailed | None = None
        self._end = select.poll()
        self._end.register(connected.fileno(), 0)
        self.descriptors: tuple[int, ...] = (connected.fileno(),)

    @property
    def unsent(self) -> bool:
        """True while something waits for room in the socket; :meth:`flush` sends it."""
        return bool(self._out)

    def send(self, frames: Sequence[Frame], sent: list[None]) -> None:
        """Send one message, as much of it as the socket takes now; never blocks, never tears.

        Args:
            frames: the message, delimiter first.
            sent: gets an element in the same step.
        """
        if isinstance(frames[-1], Descriptor):
            frames, fds = without_descriptors(frames)
            parcel = _Parcel(enclose(frames[1:], len(fds)), fds)
        else:
            parcel = _Parcel(enclose(frames[1:]))
        out = self._out
        waiting = bool(out)
        deque(itertools.chain(map(out.append, (parcel,)), map(sent.append, (None,))), 0)
        if waiting or len(parcel.pieces) > 1 or parcel.descriptors:
            self.flush()
            return
        moved = parcel.moved
        try:
            moved.extend(map(self._send, parcel.pieces, (_QUIET,)))
        except OSError as why:
            self._failed(why)
        else:
            if moved[0] == parcel.size:
                out.popleft()

    def flush(self) -> None:
        """Send what waits, as far as there is room."""
        self._tidy()
        try:
            while self._out:
                parcel = self._out[0]
                parcel.moved.extend(map(self._socket.sendmsg, (parcel.left(),), (parcel.beside(),), (_QUIET,)))
                if not self._tidy():
                    return
        except OSError as why:
            self._failed(why)

    def _tidy(self) -> bool:
        """Forget the first message if it has left; False where it has not."""
        out = self._out
        while out and sum(out[0].moved) == out[0].size:
            out.popleft()
            return True
        return False

    def _failed(self, why: OSError) -> None:
        if not isinstance(why, BlockingIOError):
            self._note_loss()

    def _note_loss(self) -> None:
        # what had arrived can still be received, and is: this is told only when that is done
        self._why = lost(DaemonLost, f"the daemon at {self.url} went away")
        self._out.clear()

    def look(self, ready: set[int]) -> None:
        """Take note of what poll has found."""
        if self.descriptors[0] in ready:
            self._readable = True

    @property
    def suspect(self) -> bool:
        """True if :meth:`loss` has something to say."""
        return self._why is not None

    @property
    def bounced(self) -> bool:
        """True if the last message cannot have been delivered: the socket refused it."""
        return self._why is not None

    def seek(self) -> None:
        """Have :meth:`receive` ask the socket, though poll was not asked."""
        self._readable = True

    def receive(self) -> Sequence[Frame] | None:
        """The next message, delimiter first; :meth:`delivered` takes it out. None when there is none.

        Raises:
            MalformedMessage: what came is not one.
        """
        if self._intake.idle:
            if not self._got and not (self._readable and self._get()):
                return None
            frame = single(self._got[0])
            if frame is not None:
                return [b"", frame]
            if (frames := pair(self._got[0])) is not None:
                return [b"", *frames]
            self._intake.adopt(self._got[0])
        self._got.clear()
        return self._next()

    def _next(self) -> Sequence[Frame] | None:
        while True:
            try:
                frames = self._intake.next()
            except Unfit as why:
                raise why.error from None
            if frames is not None:
                return [b"", *frames]
            if not self._readable or not self._read():
                return None

    def pass_descriptors(self) -> None:
        """From now on, look for descriptors beside what is read."""
        if self._intake.descriptors is None:
            self._intake.descriptors = []

    def _get(self) -> bool:
        """Read what is there while nothing is kept."""
        passing = self._intake.descriptors is not None
        try:
            if passing:
                self._receive_beside(map(self._socket.recvmsg, (OWN,), (_BESIDE,)), self._got)
            else:
                self._got.extend(map(self._recv, (OWN,)))
        except OSError as why:
            return self._nothing(why)
        if not self._got[0]:
            self._got.clear()
            return self._nothing(None)
        # with descriptors, a read ends where some are, and more may be there
        self._readable = passing or len(self._got[0]) == OWN
        return True

    def _nothing(self, why: OSError | None) -> bool:
        """Nothing could be read: False."""
        if isinstance(why, BlockingIOError):
            self._readable = False
        else:
            self._note_loss()
        return False

    def _read(self) -> bool:
        intake = self._intake
        room = intake.room()
        arrived = intake.arrived
        try:
            if intake.descriptors is None:
                arrived.extend(map(self._socket.recv_into, (room,)))
            else:
                self._receive_beside(map(self._socket.recvmsg_into, ((room,),), (_BESIDE,)), arrived)
        except OSError as why:
            return self._nothing(why)
        if arrived[-1] == 0:
            return self._nothing(None)
        # with descriptors, a read ends where some are, and more may be there
        self._readable = arrived[-1] == len(room) or intake.descriptors is not None
        return True

    def _receive_beside(self, told: Iterator[tuple[Any, ...]], into: list[Any]) -> None:
        """Receive with what comes beside the bytes: all in one expression, see the module.

        Args:
            told: what ``recvmsg`` or ``recvmsg_into`` returns, once.
            into: gets the first of it.
        """
        one, other = itertools.tee(told)
        firsts = map(into.append, map(operator.itemgetter(0), one))
        beside = map(self._passed.append, map(operator.itemgetter(1), other))
        deque(zip(firsts, beside, strict=True), 0)
        if not self._passed[-1]:
            self._passed.pop()  # nothing came beside them
            return
        # All of them anew, from what was noted: it can be done twice.
        fds = array.array("i")
        for came in self._passed:
            for level, kind, data in came:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        self._intake.descriptors = list(fds)

    def delivered(self) -> None:
        """The message that was received last has been dealt with."""
        if self._got:
            self._got.clear()
        else:
            self._intake.delivered()

    def loss(self) -> ConnectionFailed | None:
        """Why the peer is gone; None while it is there. What had arrived before can still be received."""
        if self._why is None and self._end.poll(0):
            self._note_loss()
        self._readable = self._readable or self._why is not None
        return self._why

    def close(self, linger: int = LINGER) -> None:
        """Close; what is not yet sent may take ``linger`` milliseconds more."""
        deadline = time.monotonic() + linger / 1000
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLOUT)
        while linger and self._out and (left := deadline - time.monotonic()) > 0:
            if not poll.poll(left * 1000):
                break
            self.flush()
        self._close_unclaimed()
        self._socket.close()

    def _close_unclaimed(self) -> None:
        for fd in self._intake.unclaimed:
            os.close(fd)
        self._intake.descriptors = None

    def abandon(self) -> None:
        """In a forked child: let go of what is the parent's, whose end must be seen when the parent ends."""
        self._close_unclaimed()
        with contextlib.suppress(OSError):
            os.close(self._socket.detach())
