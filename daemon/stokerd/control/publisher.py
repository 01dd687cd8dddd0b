"""An XPUB socket: every event as two frames, topic and ``[seq, time, topic, map]``.

A subscriber that is too slow loses events, and sees it: the numbers have a gap. Nothing is packed while nobody listens.
"""

from __future__ import annotations

from collections.abc import Callable

import zmq

from stoker.protocol import codec, typed
from stoker.protocol.events import Event
from stokerd.clock import Clock

HIGH_WATER = 10_000
"""Events that libzmq holds for one subscriber before it drops."""
MAX_TOPIC = 1024
"""Bytes of one subscription, and of a frame of the handshake; a longer one ends its connection."""
MAX_TOPICS = 10_000
"""Different subscriptions of all subscribers; with more the socket is made anew, and they may connect again."""


class Publisher:
    """A listener of the bus.

    Args:
        bind: has a new socket listen where events are to be had.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        clock: Clock,
        bind: Callable[[zmq.Socket[bytes]], object],
    ) -> None:
        self._context, self._clock, self._bind = context, clock, bind
        self._topics: set[bytes] = set()
        self._socket: zmq.Socket[bytes] | None = None
        self._fd = -1
        self.on_topics: Callable[[], object] = lambda: None
        """Called when somebody has begun to listen, or stopped."""

    def open(self) -> None:
        """Listen; subscribers are noted from :meth:`serve` on.

        Raises:
            StokerError: what ``bind`` raises.
        """
        made = self._context.socket(zmq.XPUB)
        made.set(zmq.SNDHWM, HIGH_WATER)
        made.set(zmq.LINGER, 200)
        made.set(zmq.MAXMSGSIZE, MAX_TOPIC)
        try:
            self._bind(made)
        except BaseException:
            made.close()
            raise
        self._socket, self._fd = made, int(made.get(zmq.FD))

    def serve(self) -> None:
        """Begin to note who listens."""
        self._clock.watch(self._fd, self._look)
        self._look()

    def renew(self) -> None:
        """Part with all subscribers: whoever still may connects again."""
        self.close()
        self._topics.clear()
        self.on_topics()
        self.open()
        self.serve()

    def _look(self) -> None:
        had = bool(self._topics)
        while self._socket is not None and int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
            word = self._socket.recv(zmq.NOBLOCK)
            if word[:1] == b"\x01":
                self._topics.add(word[1:])
            elif word[:1] == b"\x00":
                self._topics.discard(word[1:])
            if len(self._topics) > MAX_TOPICS:
                self.renew()
        if had != bool(self._topics):
            self.on_topics()

    def hears(self, _kind: type[Event]) -> bool:
        """Whether anybody listens."""
        return bool(self._topics)

    def publish(self, seq: int, time: float, event: Event) -> None:
        """Send one event to whoever listens for it."""
        if not self._topics or self._socket is None:  # who begins to listen makes the descriptor readable
            return
        topic = event.topic.encode()
        packed = codec.pack([seq, time, event.topic, typed.to_map(event)])
        self._socket.send(topic, zmq.NOBLOCK | zmq.SNDMORE)
        self._socket.send(packed, zmq.NOBLOCK)
        self._look()

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._clock.unwatch(self._fd)
            self._socket.close()
            self._socket = None
