"""Does the control socket answer? Asked the way any client asks: through the socket, past every queue in between.

What systemd is told (READY, WATCHDOG) rests on this and not on a timer: a loop that hangs does not answer.
"""

from __future__ import annotations

from collections.abc import Callable

import zmq

from stoker.protocol import codec
from stokerd.clock import Clock, Timer


class SelfCheck:
    """A client of the daemon inside the daemon; it never says hello, so it is not counted as one.

    Args:
        url: the control socket.
        answered: called after each answer.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], clock: Clock, url: str, answered: Callable[[], None]
    ) -> None:
        self._clock, self._answered = clock, answered
        self._socket = context.socket(zmq.DEALER)
        self._socket.set(zmq.LINGER, 0)
        self._socket.connect(url)
        self._fd = int(self._socket.get(zmq.FD))
        self._timer: Timer | None = None
        self._clock.watch(self._fd, self._look)

    def ask(self) -> None:
        """Ask once."""
        self._socket.send_multipart(codec.encode_request(1, "ping", {}), zmq.NOBLOCK)
        self._look()

    def ask_every(self, seconds: float) -> None:
        """Ask again and again."""
        self.ask()
        self._timer = self._clock.later(seconds, self.ask_every, seconds)

    def _look(self) -> None:
        while int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
            self._socket.recv_multipart(zmq.NOBLOCK)
            self._answered()

    def close(self) -> None:
        """Ask no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._clock.unwatch(self._fd)
        self._socket.close()
