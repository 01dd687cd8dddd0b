"""The ROUTER socket: frames in, frames out, nobody's meaning.

libzmq's descriptor is edge-like: after any send or receive its events must be looked at again before sleeping. So every
turn in which something was sent ends with a drain that goes on until a look finds nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import zmq

from stoker.protocol.codec import Frame
from stoker.protocol.roles import Role
from stokerd.clock import Clock
from stokerd.control.auth import revoked
from stokerd.control.caller import Session
from stokerd.control.dispatch import Dispatcher
from stokerd.control.sessions import PeerKey, Sessions

LARGE = 64 * 1024
"""From this size on, not copying a frame is cheaper than copying it."""
TURN = 256
"""Messages taken in one turn of the loop, so that workers' results and timers have theirs."""
HIGH_WATER = 100_000
"""Replies that libzmq holds for one peer before it refuses more."""
RETRY = 0.02
"""Seconds between tries to send to a peer that is not reading."""
MAX_HELD = 256 * 1024 * 1024
"""Bytes of replies held for one peer that does not read them; then it is given up."""


class Owner(Protocol):
    """Whose key it is."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def role(self) -> Role: ...  # noqa: D102


class Server:
    """See the module.

    Args:
        largest_frame: bytes; one above this ends its connection.
        place: what its peers are told from those of other sockets by; empty: the control socket.
        role: what everybody may do here; None: what their users or keys may.
        owner: whose a public key is; None: here are no keys.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        clock: Clock,
        *,
        largest_frame: int,
        place: str = "",
        role: Role | None = None,
        owner: Callable[[str], Owner | None] | None = None,
    ) -> None:
        self._clock = clock
        self._place, self._role, self._owner = place, role, owner
        self.socket = context.socket(zmq.ROUTER)
        self.socket.set(zmq.ROUTER_MANDATORY, 1)
        self.socket.set(zmq.ROUTER_HANDOVER, 1)
        self.socket.set(zmq.SNDHWM, HIGH_WATER)
        self.socket.set(zmq.RCVHWM, HIGH_WATER)
        self.socket.set(zmq.LINGER, 500)
        self.socket.set(zmq.BACKLOG, 1024)
        # A frame above this ends its connection without an answer; the limit that is answered lies well below.
        self.socket.set(zmq.MAXMSGSIZE, largest_frame)
        self._fd = int(self.socket.get(zmq.FD))
        self._sessions: Sessions
        self._dispatcher: Dispatcher
        self._touched: Callable[[], None]
        self._draining = False
        self._scheduled = False
        self._closed = False
        self._held: dict[bytes, deque[Sequence[Frame]]] = {}
        self._held_bytes: dict[bytes, int] = {}

    def serve(self, sessions: Sessions, dispatcher: Dispatcher, touched: Callable[[], None]) -> None:
        """Begin to answer; ``touched`` is called whenever messages have come."""
        self._sessions, self._dispatcher, self._touched = sessions, dispatcher, touched
        self._clock.watch(self._fd, self.drain)
        self.drain()

    def close(self) -> None:
        """Close the socket; what is on its way gets half a second to leave."""
        self._closed = True
        self._clock.unwatch(self._fd)
        self.socket.close()

    # --- in

    def drain(self) -> None:
        """Take what has come."""
        self._scheduled = False
        if self._draining or self._closed:
            return
        self._draining = more = True
        self._touched()
        try:
            for _ in range(TURN):
                more = bool(int(self.socket.get(zmq.EVENTS)) & zmq.POLLIN)
                if not more:
                    return
                self._receive()
        finally:
            self._draining = False
            if more:  # the descriptor tells of what is new, and not of what was left: by the end of the turn, or a bug
                self._schedule()

    def _receive(self) -> None:
        peer = self.socket.recv(zmq.NOBLOCK)
        key = self._key(peer)
        session = self._sessions.get(key)
        # A peer may choose its routing id, another's for instance, and only the ids that libzmq gives begin with zero.
        unknown = session is None or peer[0] != 0 or self._owner is not None
        frames: list[Frame] = []
        while self.socket.get(zmq.RCVMORE):
            if unknown or len(frames) >= 2:
                frame = self.socket.recv(zmq.NOBLOCK, copy=False)
                if unknown:
                    session, unknown = self._whose(key, session, frame), False
                frames.append(frame.bytes if len(frame) < LARGE else frame.buffer)
            else:
                frames.append(self.socket.recv(zmq.NOBLOCK))
        if session is not None:
            self._dispatcher.take(session, frames, partial(self.send, peer))
        elif frames:
            self._dispatcher.refuse(frames, revoked(), partial(self.send, peer))

    def _whose(self, key: PeerKey, session: Session | None, frame: zmq.Frame) -> Session | None:
        """The session of whoever has sent this; a new one where it is not theirs. None: their key was taken away."""
        address, public = _property(frame, "Peer-Address"), ""
        owner: Owner | None = None
        if self._owner is not None:
            public = _property(frame, "User-Id")
            owner = self._owner(public)
        if session is not None:
            if session.public == public and (owner is not None if self._owner else session.address == address):
                return session
            self._sessions.close(key, "another peer has taken its routing id")
        if self._owner is None:
            return self._sessions.meet(key, address, self._role)
        return self._sessions.meet(key, address, owner.role, key=owner.name, public=public) if owner else None

    # --- out

    def send(self, peer: bytes, frames: Sequence[Frame]) -> None:
        """Send one message to a peer; a peer that is gone is noted as gone."""
        if self._closed:
            return
        if peer in self._held:
            self._hold(peer, frames)
        elif not self._try_to_send(peer, frames):
            self._hold(peer, frames)
            self._clock.later(RETRY, self._send_held, peer)
        if not self._draining:
            self._schedule()

    def _try_to_send(self, peer: bytes, frames: Sequence[Frame]) -> bool:
        send = self.socket.send
        try:
            send(peer, zmq.NOBLOCK | zmq.SNDMORE)
        except zmq.Again:
            return False
        except zmq.ZMQError as why:
            if why.errno == zmq.EHOSTUNREACH:
                self._clock.soon(self._sessions.close, self._key(peer), "it closed its connection")
                return True
            raise
        last = len(frames) - 1
        for at, frame in enumerate(frames):
            large = len(frame) >= LARGE
            send(frame, zmq.NOBLOCK | (zmq.SNDMORE if at < last else 0), copy=not large)
        return True

    def _hold(self, peer: bytes, frames: Sequence[Frame]) -> None:
        self._held.setdefault(peer, deque()).append(frames)
        held = self._held_bytes[peer] = self._held_bytes.get(peer, 0) + sum(map(len, frames))
        if held > MAX_HELD:
            self._release(peer)
            self._sessions.close(self._key(peer), "it does not read its answers")

    def _key(self, peer: bytes) -> PeerKey:
        return (self._place, peer) if self._place else peer

    def _send_held(self, peer: bytes) -> None:
        held = self._held.get(peer)
        while held:
            if self._closed or not self._try_to_send(peer, held[0]):
                self._clock.later(RETRY, self._send_held, peer)
                return
            held.popleft()
        self._release(peer)
        self._schedule()

    def _release(self, peer: bytes) -> None:
        self._held.pop(peer, None)
        self._held_bytes.pop(peer, None)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._clock.soon(self.drain)


def _property(frame: zmq.Frame, name: str) -> str:
    try:
        return str(frame.get(name))
    except zmq.ZMQError:
        return ""
