"""Floors: what the kernel, libzmq and the memory allow, with no job, no queue and no pickle.

The *called* ones make a call of it, in the fewest lines of Python: the worker unpickles a function and its argument,
calls it and pickles the answer; a broker unpacks a head, has a record of the job while it runs, and packs a head for
the answer. No state, no fairness, no accounts, and whoever dies has nobody to tell of it.
"""

from __future__ import annotations

import os
import pickle
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from benchmarks.peers.peer import LARGE, Missing, Peer
from benchmarks.peers.tasks import cube

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


def serve_calls(channel: socket.socket) -> None:
    """A worker, until the other end is closed."""
    while message := channel.recv(ROOM):
        function, args = pickle.loads(message)  # noqa: S301 - our own
        channel.send(pickle.dumps(function(*args), 5))


class TwoHopsCalledFloor(Floor):
    """Client and worker, over a pair of Unix sockets: a pool with one worker, and nothing of what makes it one."""

    def start(self) -> None:
        self._ours, theirs = socket.socketpair()

        def work() -> None:
            self._ours.close()
            serve_calls(theirs)

        self.forked(work)
        theirs.close()

    def call(self, x: int) -> Any:
        self._ours.send(pickle.dumps((cube, (x,)), 5))
        return pickle.loads(self._ours.recv(ROOM))  # noqa: S301 - our own


class Broker:
    """What is between a client and one worker.

    Args:
        back: to the worker.
    """

    def __init__(self, back: socket.socket) -> None:
        import msgpack

        self._pack, self._unpack = msgpack.packb, msgpack.unpackb
        self._back = back
        self._jobs: dict[int, tuple[bytes, dict[str, Any]]] = {}
        self._number = 0

    def submitted(self, who: bytes, head: bytes, call: bytes) -> None:
        """Have it called."""
        self._number += 1
        self._jobs[self._number] = who, self._unpack(head)
        self._back.send(call)

    def answered(self) -> tuple[bytes, bytes, bytes]:
        """Whom to answer, and head and value of the answer."""
        value = self._back.recv(ROOM)
        who, head = self._jobs.pop(self._number)
        return who, self._pack({"id": head["id"], "result": {"job": self._number}}), value


class FourHopsCalledFloor(Floor):
    """Client, broker, worker and back, over Unix sockets."""

    def start(self) -> None:
        import msgpack

        self._pack, self._number = msgpack.packb, 0
        self._ours, front = socket.socketpair()
        worker, back = socket.socketpair()

        def broke() -> None:
            self._ours.close()
            worker.close()
            broker = Broker(back)
            poll = select.epoll()
            for channel in (front, back):
                poll.register(channel.fileno(), select.EPOLLIN)
            while True:
                for descriptor, _ in poll.poll():
                    if descriptor == back.fileno():
                        _, head, value = broker.answered()
                        front.send(bytes((len(head),)) + head + value)
                    elif message := front.recv(ROOM):
                        broker.submitted(b"", message[1 : 1 + message[0]], message[1 + message[0] :])
                    else:
                        return

        def work() -> None:
            for other in (self._ours, front, back):
                other.close()
            serve_calls(worker)

        self.forked(broke)
        self.forked(work)
        for other in (front, worker, back):
            other.close()

    def call(self, x: int) -> Any:
        self._number += 1
        head = self._pack({"id": self._number, "method": "submit"})
        self._ours.send(bytes((len(head),)) + head + pickle.dumps((cube, (x,)), 5))
        message = self._ours.recv(ROOM)
        return pickle.loads(message[1 + message[0] :])  # noqa: S301 - our own


class FourHopsZeroMQFloor(Floor):
    """The same where client and broker speak ZeroMQ over ipc, as any client in any language does."""

    def start(self) -> None:
        import msgpack

        self._pack, self._number = msgpack.packb, 0
        url = f"ipc://{self.scratch}/four.sock"
        worker, back = socket.socketpair()

        def broke() -> None:
            import zmq

            worker.close()
            broker = Broker(back)
            with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
                router.bind(url)
                front = int(router.get(zmq.FD))
                poll = select.epoll()
                for descriptor in (front, back.fileno()):
                    poll.register(descriptor, select.EPOLLIN)
                while True:
                    for descriptor, _ in poll.poll():
                        if descriptor == back.fileno():
                            router.send_multipart(broker.answered())
                    while int(router.get(zmq.EVENTS)) & zmq.POLLIN:  # the descriptor tells of changes, and once
                        who, head, call = router.recv_multipart()
                        if not head:
                            return
                        broker.submitted(who, head, call)

        def work() -> None:
            back.close()
            serve_calls(worker)

        self.forked(broke)
        self.forked(work)
        worker.close()
        back.close()
        import zmq

        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.connect(url)

    def call(self, x: int) -> Any:
        self._number += 1
        head = self._pack({"id": self._number, "method": "submit"})
        self._socket.send_multipart((head, pickle.dumps((cube, (x,)), 5)))
        return pickle.loads(self._socket.recv_multipart()[1])  # noqa: S301 - our own

    def stop(self) -> None:
        self._socket.send_multipart((b"", b""))
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
