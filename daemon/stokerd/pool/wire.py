"""The daemon's end of a worker's socketpair: messages out in order, messages in as they come, and never a wait."""

from __future__ import annotations

import array
import os
import socket
from collections import deque
from collections.abc import Callable

from stokerd.clock import Clock
from stokerd.pool import messages
from stokerd.promise import Promise

BUFFER = 256 * 1024
SMALL = 32 * 1024
"""Below this, joining buffers and one send beat sendmsg."""


Hear = Callable[[messages.Header, bytearray, int, int], None]
"""Takes a message: its header, and where in the buffer its body begins and ends. The buffer is reused afterwards."""


class Wire:
    """See the module.

    Args:
        channel: non-blocking; whoever made it closes it.
        clock: readiness.
        hear: called with every message.
        doubt: called once, when what comes makes no sense: nothing more is read.
    """

    def __init__(self, channel: socket.socket, clock: Clock, hear: Hear, doubt: Callable[[], None]) -> None:
        self._channel, self._clock, self._hear, self._doubt = channel, clock, hear, doubt
        self._buffer = bytearray(BUFFER)
        self._have = 0
        self._backlog = bytearray()
        self._held: deque[tuple[Promise[None] | None, bytes, memoryview, int]] = deque()
        self._beside: list[int] = []
        """Descriptors that leave with the next bytes."""
        self.passed: deque[int] | None = None
        """Descriptors that have come, for whoever is told of them; None: none are looked for."""
        self._reading = False
        self.distrusted = False
        """What came made no sense."""
        self.written_at = 0.0
        """When the last of what had to wait was written, monotonic."""
        clock.watch(channel.fileno(), self.read)

    @property
    def waiting(self) -> bool:
        """Whether there is something that the worker has not been sent yet."""
        return bool(self._backlog or self._held)

    def close(self) -> None:
        """No more is sent or heard."""
        for fd in (*self._beside, *(held[3] for held in self._held if held[3] >= 0), *(self.passed or ())):
            os.close(fd)
        self._beside.clear()
        self.passed = None if self.passed is None else deque()
        self._held.clear()
        self._clock.unwatch(self._channel.fileno())
        self._clock.unwatch_write(self._channel.fileno())

    # --- out

    def send(self, head: bytes, body: memoryview, after: Promise[None] | None = None, fd: int = -1) -> None:
        """Send a message, in order; not before ``after`` is settled. ``fd`` goes with it, and is closed."""
        if self._held or (after is not None and not after.settled):
            self._held.append((after, head, body, fd))
            if after is not None:
                after.when_settled(lambda _: self._release())
        else:
            self._put(head, body, fd)

    def _release(self) -> None:
        while self._held and ((after := self._held[0][0]) is None or after.settled):
            _, head, body, fd = self._held.popleft()
            self._put(head, body, fd)
            self.written_at = self._clock.monotonic()

    def _put(self, head: bytes, body: memoryview, fd: int) -> None:
        if fd >= 0:
            self._beside.append(fd)
        if self._backlog:
            self._backlog += head
            self._backlog += body
            return
        total = len(head) + body.nbytes
        try:
            if self._beside:
                sent = self._send_beside((head, body))
            elif total < SMALL:
                sent = self._channel.send(head + bytes(body))
            else:
                sent = self._channel.sendmsg((head, body))
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # it is dead: its exit is on the way, and puts these jobs back
        if sent < total:
            self._backlog += head[sent:]
            self._backlog += body[max(0, sent - len(head)) :]
            self._clock.watch_write(self._channel.fileno(), self._on_writable)

    def _on_writable(self) -> None:
        try:
            sent = self._send_beside((self._backlog,)) if self._beside else self._channel.send(self._backlog)
        except BlockingIOError:
            return
        except OSError:
            sent = len(self._backlog)
        del self._backlog[:sent]
        if not self._backlog:
            self.written_at = self._clock.monotonic()
            self._clock.unwatch_write(self._channel.fileno())

    def _send_beside(self, pieces: tuple[bytes | bytearray | memoryview, ...]) -> int:
        """Send with descriptors, which may be ahead of their message, never behind it."""
        fds = self._beside[: messages.PASSED]
        sent = self._channel.sendmsg(pieces, [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
        del self._beside[: len(fds)]
        for fd in fds:
            os.close(fd)
        return sent

    # --- in

    def read(self) -> None:
        """Take in all that has come. Called by the loop, and by whoever needs to know at once."""
        if self._reading:
            return
        self._reading = True
        try:
            self._read()
        finally:
            self._reading = False

    def _read(self) -> None:
        while not self.distrusted:
            if len(self._buffer) - self._have < BUFFER // 2:
                self._buffer.extend(bytes(len(self._buffer)))
            try:
                with memoryview(self._buffer) as view:
                    if self.passed is None:
                        got = self._channel.recv_into(view[self._have :])
                    else:
                        got = messages.receive(self._channel, view[self._have :], self.passed)
            except BlockingIOError:
                return
            except OSError:
                got = 0
            if not got:
                self._clock.unwatch(self._channel.fileno())
                return
            room = len(self._buffer) - self._have
            self._have += got
            self._parse()
            if got < room and self.passed is None:  # else a read ends where descriptors are
                return

    def _parse(self) -> None:
        at, head = 0, messages.HEADER.size
        while self._have - at >= head:
            header = messages.Header._make(messages.HEADER.unpack_from(self._buffer, at))
            if not _makes_sense(header):
                self.distrust()
            if self.distrusted:
                self._have = 0
                return
            end = at + head + header.size
            if end > self._have:
                self._make_room(head + header.size)
                break
            self._hear(header, self._buffer, at + head, end)
            at = end
        if at:
            rest = self._have - at
            self._buffer[:rest] = self._buffer[at : self._have]
            self._have = rest
            if not rest and len(self._buffer) > 16 * BUFFER:
                self._buffer = bytearray(BUFFER)

    def distrust(self) -> None:
        """A job has written to a descriptor that was not its own: nothing that comes can be believed any more."""
        if not self.distrusted:
            self.distrusted = True
            self._clock.unwatch(self._channel.fileno())
            self._doubt()

    def _make_room(self, size: int) -> None:
        if (missing := size + BUFFER - len(self._buffer)) > 0:
            self._buffer.extend(bytes(missing))


def _makes_sense(header: messages.Header) -> bool:
    if header.op == messages.RESULTS:
        return header.count > 0 and 4 * header.count <= header.size <= messages.LENGTH + 4 * header.count
    return header.op in messages.FROM_WORKER and header.size <= messages.MAX_TOLD
