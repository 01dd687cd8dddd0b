"""The XPUB socket beside the control socket: every event as two frames, topic and ``[seq, time, topic, map]``.

A subscriber that is too slow loses events, and sees it: the numbers have a gap. Nothing is packed while nobody listens.
"""

from __future__ import annotations

import zmq

from stoker.protocol import codec, typed
from stoker.protocol.events import Event
from stokerd.clock import Clock

HIGH_WATER = 10_000
"""Events that libzmq holds for one subscriber before it drops."""


class Publisher:
    """A listener of the bus."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], clock: Clock) -> None:
        self._clock = clock
        self.socket = context.socket(zmq.XPUB)
        self.socket.set(zmq.SNDHWM, HIGH_WATER)
        self.socket.set(zmq.LINGER, 200)
        self._fd = int(self.socket.get(zmq.FD))
        self._topics: set[bytes] = set()

    def serve(self) -> None:
        """Begin to note who listens."""
        self._clock.watch(self._fd, self._look)
        self._look()

    def _look(self) -> None:
        while int(self.socket.get(zmq.EVENTS)) & zmq.POLLIN:
            word = self.socket.recv(zmq.NOBLOCK)
            if word[:1] == b"\x01":
                self._topics.add(word[1:])
            elif word[:1] == b"\x00":
                self._topics.discard(word[1:])

    def publish(self, seq: int, time: float, event: Event) -> None:
        """Send one event to whoever listens for it."""
        self._look()
        if not self._topics:
            return
        topic = event.topic.encode()
        packed = codec.pack([seq, time, event.topic, typed.to_map(event)])
        self.socket.send(topic, zmq.NOBLOCK | zmq.SNDMORE)
        self.socket.send(packed, zmq.NOBLOCK)
        self._look()

    def close(self) -> None:
        """Close the socket."""
        self._clock.unwatch(self._fd)
        self.socket.close()
