"""Floors: what the kernel, libzmq and the memory allow, with no job, no queue and no pickle."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from benchmarks.peers.peer import LARGE, Missing, Peer

MESSAGE = bytes(64)
ROOM = 4096


class Floor(Peer):
    """A ping-pong with a forked process, which ends with this one's end of the channel."""

    def submit(self, function: Callable[..., Any], x: Any) -> Any:
        raise Missing

    def forked(self, work: Callable[[], None]) -> None:
        if os.fork() == 0:
            try:
                work()
            finally:
                os._exit(0)


class PipeFloor(Floor):
    """Two pipes."""

    def start(self) -> None:
        there, self._out = os.pipe()
        self._back, back = os.pipe()

        def serve() -> None:
            os.close(self._out)
            os.close(self._back)
            while message := os.read(there, ROOM):
                os.write(back, message)

        self.forked(serve)
        os.close(there)
        os.close(back)

    def call(self, x: int) -> bytes:
        os.write(self._out, MESSAGE)
        return os.read(self._back, ROOM)


class SocketPairFloor(Floor):
    """A pair of Unix sockets."""

    def start(self) -> None:
        self._ours, theirs = socket.socketpair()

        def serve() -> None:
            self._ours.close()
            while message := theirs.recv(ROOM):
                theirs.send(message)

        self.forked(serve)
        theirs.close()

    def call(self, x: int) -> bytes:
        self._ours.send(MESSAGE)
        return self._ours.recv(ROOM)


class FourHopsFloor(Floor):
    """Client, broker, worker and back, over Unix sockets: the way of a job that crosses a daemon."""

    def start(self) -> None:
        self._ours, front = socket.socketpair()
        worker, back = socket.socketpair()

        def broker() -> None:
            self._ours.close()
            worker.close()
            other = {front.fileno(): (front, back), back.fileno(): (back, front)}
            poll = select.epoll()
            for descriptor in other:
                poll.register(descriptor, select.EPOLLIN)
            while True:
                for descriptor, _ in poll.poll():
                    source, target = other[descriptor]
                    if not (message := source.recv(ROOM)):
                        return
                    target.send(message)

        def work() -> None:
            for mine in (self._ours, front, back):
                mine.close()
            while message := worker.recv(ROOM):
                worker.send(message)

        self.forked(broker)
        self.forked(work)
        for other in (front, worker, back):
            other.close()

    def call(self, x: int) -> bytes:
        self._ours.send(MESSAGE)
        return self._ours.recv(ROOM)


class ZeroMQFloor(Floor):
    """DEALER and ROUTER over ipc."""

    def start(self) -> None:
        url = f"ipc://{self.scratch}/floor.sock"

        def serve() -> None:
            import zmq

            with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
                router.bind(url)
                while (message := router.recv_multipart())[-1]:
                    router.send_multipart(message)

        self.forked(serve)
        import zmq

        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.connect(url)

    def call(self, x: int) -> bytes:
        self._socket.send(MESSAGE)
        return self._socket.recv()

    def stop(self) -> None:
        self._socket.send(b"")
        self._context.destroy(linger=1000)


class Copies:
    """The floor of large data: a copy from memory to memory."""

    def __init__(self) -> None:
        self._source = os.urandom(LARGE)
        self._target = memoryview(bytearray(LARGE))

    def copy(self, count: int) -> dict[str, float]:
        """Bytes a second, each counted once."""
        begin = time.perf_counter()
        for _ in range(count):
            self._target[:] = self._source
        return {"rate": LARGE * count / (time.perf_counter() - begin)}

    numpy = bytes = copy


class CopyFloor(Floor):
    """memcpy."""

    def measures(self) -> Copies:
        return Copies()
