"""The direct channel: a Unix stream socket beside the control socket, for local clients that can do without ZeroMQ.

The same messages, sessions, roles and limits as :mod:`stokerd.control.server`, in the framing of
:mod:`stoker.protocol.framing`. What differs is what a socket of one's own allows: the kernel tells of the peer's end at
once, who does not read its answers is not listened to for the time being, and who never will is hung up on.

Fairness: a turn takes a bounded number of messages from one peer, and then the loop goes round.
"""

from __future__ import annotations

import array
import contextlib
import errno
import itertools
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from stoker.errors import TooManySessions
from stoker.protocol import codec
from stoker.protocol.codec import Frame
from stoker.protocol.framing import (
    OWN,
    Descriptor,
    Intake,
    Unfit,
    close_descriptors,
    enclose,
    pair,
    single,
    without_descriptors,
)
from stokerd.clock import Clock
from stokerd.config_tables import LimitsConfig
from stokerd.control.dispatch import Dispatcher, Send
from stokerd.control.sessions import MAX_ANONYMOUS, Sessions
from stokerd.headroom import is_scarce

TURN = 64
"""Messages taken from one peer in one turn of the loop."""
PATIENCE = 4
"""A message of more than this many times ``limits.message_bytes`` ends its connection; smaller ones are answered."""
DEAF = 4 * 1024 * 1024
"""Bytes of answers that wait for a peer to read them; beyond, nothing more is taken from it."""
MAX_HELD = 256 * 1024 * 1024
"""Bytes of answers that wait for a peer to read them; beyond, it is given up."""
SEND_BUFFER = 1 << 20
"""Bytes that the kernel is asked to take in for a peer; it grants what ``net.core.wmem_max`` allows."""
ACCEPT = 64
"""Connections accepted in one turn."""
ACCEPT_AGAIN = 0.5
"""Seconds for which nobody is accepted when the system has no descriptor left."""
LINGER = 0.5
"""Seconds that answers get to leave at the end."""
PIECES = 64
"""Pieces handed to the kernel in one call; it takes 1024."""

PASSED = 64
"""Descriptors passed in one call, and received in one; the kernel takes 253."""

_BESIDE = socket.CMSG_SPACE(4 * PASSED)
_QUIET = socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT


class _Peer:
    """One connection."""

    __slots__ = (
        "address",
        "answer",
        "closed",
        "descriptors",
        "fd",
        "held",
        "intake",
        "key",
        "mute",
        "out",
        "paused",
        "socket",
        "writing",
    )

    def __init__(self, key: int, connected: socket.socket, address: str, intake: Intake) -> None:
        self.key = key
        self.socket = connected
        self.fd = connected.fileno()
        self.address = address
        self.intake = intake
        self.answer: Send
        """Sends it one message."""
        self.out: deque[Frame] = deque()
        self.held = 0
        self.writing = False
        """True while the socket has no room, and is watched for it."""
        self.paused = False
        """True while nothing is taken from it, because it does not read."""
        self.mute = False
        """True when it has hung up, and what it sent before is still being taken."""
        self.closed = False
        self.descriptors: list[int] = []
        """Those that leave with the next bytes; they are ours to close."""

    def let_go(self) -> None:
        """Close what has not left, and what has come and nobody has asked for."""
        for fd in (*self.descriptors, *self.intake.unclaimed):
            os.close(fd)
        self.descriptors.clear()
        self.intake.descriptors = None


class DirectServer:
    """See the module.

    Args:
        listening: the descriptor of the listening socket, which stays its owner's; None: there is none, nobody comes.
        clock: for readiness.
        limits: what a peer may send.
    """

    def __init__(self, listening: int | None, clock: Clock, limits: LimitsConfig) -> None:
        self._clock, self._limits = clock, limits
        self._listening = None if listening is None else socket.socket(fileno=os.dup(listening))
        self._most = limits.sessions + MAX_ANONYMOUS
        self._peers: dict[int, _Peer] = {}
        self._numbers = itertools.count(1)
        self._draining = False
        self._written: dict[_Peer, None] = {}
        """Who has answers to be sent at the end of this turn."""
        self._sessions: Sessions
        self._dispatcher: Dispatcher
        self._touched: Callable[[], None]

    def __len__(self) -> int:
        return len(self._peers)

    def serve(self, sessions: Sessions, dispatcher: Dispatcher, touched: Callable[[], None]) -> None:
        """Begin to accept; ``touched`` is called whenever messages have come."""
        self._sessions, self._dispatcher, self._touched = sessions, dispatcher, touched
        if self._listening is not None:
            self._listening.setblocking(False)
            self._clock.watch(self._listening.fileno(), self._accept)

    def close(self) -> None:
        """Hang up; what has been answered gets half a second to leave."""
        if self._listening is not None:
            self._clock.unwatch(self._listening.fileno())
            self._listening.close()
            self._listening = None
        deadline = time.monotonic() + LINGER
        for peer in list(self._peers.values()):
            self._see_off(peer, deadline)
            self._drop(peer)

    def _see_off(self, peer: _Peer, deadline: float) -> None:
        with contextlib.suppress(OSError):
            for piece in peer.out:
                peer.socket.settimeout(max(deadline - time.monotonic(), 0.001))
                peer.socket.sendall(piece)

    # --- who comes and goes

    def _accept(self) -> None:
        if self._listening is None:
            return
        for _ in range(ACCEPT):
            try:
                if is_scarce():
                    raise OSError(errno.EMFILE, "descriptors are kept for what is there")
                connected, _name = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:  # no descriptor or memory is left: readiness would be told of again and again
                self._clock.unwatch(self._listening.fileno())
                self._clock.later(ACCEPT_AGAIN, self._accept_again)
                return
            self._welcome(connected)

    def _accept_again(self) -> None:
        if self._listening is not None:
            self._clock.watch(self._listening.fileno(), self._accept)

    def _welcome(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        limits = self._limits
        intake = Intake(
            message_bytes=limits.message_bytes,
            head_bytes=limits.head_bytes,
            frames=limits.frames + 1,
            patience=PATIENCE,
            preamble=True,
        )
        peer = _Peer(next(self._numbers), connected, _credentials(connected), intake)
        if len(self._peers) >= self._most:
            full = TooManySessions(
                f"{len(self._peers)} connections are open, and no more are allowed",
                hint="close some, or raise limits.sessions",
                data={"limit": self._most},
            )
            with contextlib.suppress(OSError):
                connected.send(b"".join(enclose(codec.encode_error(None, full.to_wire())[1:])), _QUIET)
            connected.close()
            return
        peer.answer = partial(self.send, peer)
        self._peers[peer.key] = peer
        self._clock.watch(peer.fd, self._read, peer)

    def _drop(self, peer: _Peer) -> None:
        """Forget a peer; its session has been closed, or will be."""
        if peer.closed:
            return
        peer.closed = True
        del self._peers[peer.key]
        self._clock.unwatch(peer.fd)
        if peer.writing:
            self._clock.unwatch_write(peer.fd)
        peer.out.clear()
        peer.held = 0
        peer.let_go()
        peer.socket.close()
        peer.answer = _to_nobody  # which would else keep the peer, and the peer it

    def _gone(self, peer: _Peer, why: str) -> None:
        if not peer.closed:
            self._drop(peer)
            self._sessions.close(peer.key, why)

    # --- in

    def _read(self, peer: _Peer) -> None:
        """The descriptor can be read: once, so that whoever sends without pause does not keep the others waiting."""
        if peer.closed or peer.paused:
            return
        intake = peer.intake
        idle = intake.idle
        try:
            if intake.descriptors is not None:
                data, count = _receive_beside(peer.socket, intake, intake.descriptors, idle=idle)
            else:
                data = peer.socket.recv(OWN) if idle else b""
                count = len(data) if idle else peer.socket.recv_into(intake.room())
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if not count:
            self._gone(peer, "it closed its connection")
        elif not idle:
            intake.arrived.append(count)
            self._take(peer)
        elif (frame := single(data)) is not None:  # most are of this kind
            self._touched()
            self._take_one(peer, (b"", frame))
        elif (frames := pair(data)) is not None:
            self._touched()
            self._take_one(peer, (b"", *frames))
        else:
            intake.adopt(data)
            self._take(peer)

    def _take(self, peer: _Peer) -> None:
        """Take what has come in whole, as far as this turn goes."""
        if peer.closed or peer.paused:
            return
        self._draining = more = True
        self._touched()
        try:
            more = self._take_messages(peer)
        finally:
            self._draining = False
            if more and not peer.closed:
                # by the end of the turn, or a bug: the rest has its turn, and the descriptor rests until then
                self._clock.unwatch(peer.fd)
                self._clock.soon(self._resume, peer)
            while self._written:
                self._flush(self._written.popitem()[0])

    def _take_messages(self, peer: _Peer) -> bool:
        """True where there may be more."""
        for _ in range(TURN):
            try:
                frames = peer.intake.next()
            except Unfit as why:
                if not self._refuse(peer, why):
                    return False
                continue
            if frames is None:
                return False
            peer.intake.delivered()
            self._take_one(peer, [b"", *frames])
            if peer.intake.descriptors is not None:
                close_descriptors(frames)  # whoever wanted one has it from the frame by now
            if peer.held > DEAF:
                self._flush(peer)
            if peer.closed or peer.paused:
                return False
        return True

    def _take_one(self, peer: _Peer, frames: Sequence[Frame]) -> None:
        session = self._sessions.get(peer.key)
        if session is None:
            session = self._sessions.meet(peer.key, peer.address)
            session.pass_descriptors = partial(_expect_descriptors, peer)
        self._dispatcher.take(session, frames, peer.answer)

    def _resume(self, peer: _Peer) -> None:
        """Go on with what was left."""
        if peer.closed or peer.paused:
            return
        self._clock.watch(peer.fd, self._read, peer)
        self._take(peer)

    def _refuse(self, peer: _Peer, why: Unfit) -> bool:
        """Say why a message is not taken; False where the conversation is over."""
        self._dispatcher.refuse([b"", *why.frames], why.error, peer.answer)
        if why.fatal:
            self._flush(peer)
            self._gone(peer, "what it sends is no message")
        return not why.fatal

    # --- out

    def send(self, peer: _Peer, frames: Sequence[Frame]) -> None:
        """Send one message, delimiter first; at the end of the turn, with others, while messages are being taken."""
        if peer.closed or peer.mute:
            return
        if isinstance(frames[-1], Descriptor):
            frames, fds = without_descriptors(frames)
            peer.descriptors += map(os.dup, fds)
            pieces = enclose(frames[1:], len(fds))
        else:
            pieces = enclose(frames[1:])
        if not peer.out and not peer.descriptors and not self._draining and len(pieces) == 1:
            self._send_now(peer, pieces[0])
            return
        peer.out += pieces
        peer.held += sum(map(len, pieces))
        if self._draining:
            self._written[peer] = None
        else:
            self._flush(peer)

    def _send_now(self, peer: _Peer, piece: Frame) -> None:
        try:
            count = peer.socket.send(piece, _QUIET)
        except BlockingIOError:
            count = 0
        except OSError:
            self._mute(peer)
            return
        if count < len(piece):
            peer.out.append(memoryview(piece)[count:])
            peer.held += len(piece) - count
            self._await_room(peer)

    def _flush(self, peer: _Peer) -> None:
        """Send what waits for a peer, as far as it has room."""
        if peer.closed or peer.writing:
            self._weigh(peer)
            return
        self._send_waiting(peer)

    def _send_waiting(self, peer: _Peer) -> None:
        out = peer.out
        try:
            while out:
                if peer.descriptors:
                    count = self._send_beside(peer)
                elif len(out) == 1:
                    count = peer.socket.send(out[0], _QUIET)
                else:
                    count = peer.socket.sendmsg(list(itertools.islice(out, PIECES)), (), _QUIET)
                peer.held -= count
                while out and count >= len(out[0]):
                    count -= len(out.popleft())
                if count:
                    out[0] = memoryview(out[0])[count:]
        except BlockingIOError:
            self._await_room(peer)
        except OSError:
            self._mute(peer)
        else:
            self._have_room(peer)

    def _send_beside(self, peer: _Peer) -> int:
        """Send what waits with the descriptors that go with it; they may be ahead of their message, never behind."""
        fds = peer.descriptors[:PASSED]
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        count = peer.socket.sendmsg(list(itertools.islice(peer.out, PIECES)), beside, _QUIET)
        del peer.descriptors[: len(fds)]
        for fd in fds:
            os.close(fd)
        return count

    def _mute(self, peer: _Peer) -> None:
        """It has hung up; its end is seen when all that it sent before has been read."""
        peer.mute = True
        peer.let_go()
        peer.out.clear()
        peer.held = 0
        self._have_room(peer)

    def _await_room(self, peer: _Peer) -> None:
        if not peer.writing:
            peer.writing = True
            self._clock.watch_write(peer.fd, self._send_waiting, peer)
        self._weigh(peer)

    def _have_room(self, peer: _Peer) -> None:
        if peer.writing:
            peer.writing = False
            self._clock.unwatch_write(peer.fd)
        if peer.paused:
            peer.paused = False
            self._clock.soon(self._resume, peer)

    def _weigh(self, peer: _Peer) -> None:
        """What follows from how much waits for a peer."""
        if peer.closed:
            return
        if peer.held > MAX_HELD:
            peer.out.clear()
            self._clock.soon(self._gone, peer, "it does not read its answers")
        elif peer.held > DEAF and not peer.paused:
            peer.paused = True
            self._clock.unwatch(peer.fd)


def _expect_descriptors(peer: _Peer) -> None:
    """From now on it may pass some, and be passed some."""
    if peer.intake.descriptors is None:
        peer.intake.descriptors = []


def _receive_beside(
    connected: socket.socket, intake: Intake, descriptors: list[int], *, idle: bool
) -> tuple[bytes, int]:
    """What there is to be read, and how much it is; the descriptors beside it are added to the others."""
    data = b""
    if idle:
        data, beside, _flags, _from = connected.recvmsg(OWN, _BESIDE)
        count = len(data)
    else:
        count, beside, _flags, _from = connected.recvmsg_into((intake.room(),), _BESIDE)
    if beside:
        descriptors += _passed(beside)
    return data, count


def _passed(beside: Sequence[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors that came with some bytes."""
    fds = array.array("i")
    for level, kind, data in beside:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


def _to_nobody(_frames: Sequence[Frame]) -> None:
    """Sends nothing."""


def _credentials(connected: socket.socket) -> str:
    """Who is at the other end, in the words in which libzmq tells of it."""
    pid, uid, gid = struct.unpack("=iII", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return f"localhost:{uid}:{gid}:{pid}"
