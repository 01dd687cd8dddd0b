"""The ROUTER socket: frames in, frames out, nobody's meaning.

libzmq's descriptor is edge-like: after any send or receive its events must be looked at again before sleeping. So every
turn in which something was sent ends with a drain that goes on until a look finds nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import zmq

from stoker.protocol.codec import Frame
from stokerd.clock import Clock
from stokerd.control.dispatch import Dispatcher
from stokerd.control.sessions import Sessions

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


class Server:
    """See the module."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], clock: Clock, *, largest_frame: int) -> None:
        self._clock = clock
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
        session = self._sessions.get(peer)
        frames: list[Frame] = []
        while self.socket.get(zmq.RCVMORE):
            if session is None or len(frames) >= 2:
                frame = self.socket.recv(zmq.NOBLOCK, copy=False)
                if session is None:
                    session = self._sessions.meet(peer, _address(frame))
                frames.append(frame.bytes if len(frame) < LARGE else frame.buffer)
            else:
                frames.append(self.socket.recv(zmq.NOBLOCK))
        if session is not None:
            self._dispatcher.take(session, frames, partial(self.send, peer))

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
                self._clock.soon(self._sessions.close, peer, "it closed its connection")
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
            self._sessions.close(peer, "it does not read its answers")

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


def _address(frame: zmq.Frame) -> str:
    try:
        return str(frame.get("Peer-Address"))
    except zmq.ZMQError:
        return ""
