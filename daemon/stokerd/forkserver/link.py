"""The daemon's end of the socket to a forkserver: never blocks, loses no descriptor."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from stokerd.clock import Clock
from stokerd.forkserver.orders import PACKET_BYTES, pack, unpack

_RETRY_SECONDS = 0.01


class Link:
    """Sends orders, as many at once as the socket takes and the rest when it takes more; reads reports.

    Args:
        clock: time and readiness.
        sock: the packet socket; this owns it.
        on_readable: called when reports can be read.
    """

    def __init__(self, clock: Clock, sock: socket.socket, on_readable: Callable[[], object]) -> None:
        self._clock = clock
        self._socket = sock
        self._waiting: deque[tuple[bytes, list[int], list[int]]] = deque()
        self._open = True
        self._full = False
        sock.setblocking(False)
        clock.watch(sock.fileno(), on_readable)

    def send(self, message: dict[str, Any], lent: Sequence[int] = (), given: Sequence[int] = ()) -> None:
        """Send an order, now or as soon as the socket takes it.

        Args:
            message: the order.
            lent: descriptors that go with it and stay open here until then.
            given: those among them that are closed here once they are sent.

        Raises:
            OSError: no memory file for a long order; nothing was sent, and ``given`` stays open.
        """
        data, spool = pack(message)
        spooled = [] if spool is None else [spool]
        self._waiting.append((data, [*spooled, *lent], [*spooled, *given]))
        if self._open:
            self._flush()
        else:
            self._drop()

    def receive(self, most: int) -> Iterator[dict[str, Any]]:
        """The reports that are there, at most so many. That there will be no more is for the process to say, not for
        the socket.
        """
        for _ in range(most):
            try:
                data = self._socket.recv(PACKET_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._clock.unwatch(self._socket.fileno())
                return
            yield unpack(data, [])[0]

    def shut(self) -> None:
        """Send no more, which tells the forkserver to end; its reports can still be read."""
        self._drop()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Give everything back."""
        if not self._open:
            return
        self._drop()
        self._open = False
        self._clock.unwatch(self._socket.fileno())
        self._socket.close()

    def _drop(self) -> None:
        self._set_full(full=False)
        while self._waiting:
            _close(self._waiting.popleft()[2])

    def _flush(self) -> None:
        while self._open and self._waiting:
            data, descriptors, given = self._waiting[0]
            try:
                socket.send_fds(self._socket, [data], descriptors)
            except BlockingIOError:
                self._set_full(full=True)
                return
            except OSError as why:
                if why.errno == errno.ETOOMANYREFS:  # too many are under way, which no readiness tells of
                    self._clock.later(_RETRY_SECONDS, self._flush)
                    return
            _close(given)
            self._waiting.popleft()
        self._set_full(full=False)

    def _set_full(self, *, full: bool) -> None:
        if full == self._full:
            return
        self._full = full
        if full:
            self._clock.watch_write(self._socket.fileno(), self._flush)
        else:
            self._clock.unwatch_write(self._socket.fileno())


def _close(descriptors: Sequence[int]) -> None:
    for fd in descriptors:
        os.close(fd)
