"""Peers of the control socket that say whatever a test wants, in whatever form."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from typing import Any, Self

import msgpack
import zmq

from stoker.protocol.framing import PREAMBLE, Intake, enclose

DEADLINE = 30_000
"""Milliseconds after which an answer is taken to be missing."""


class Peer:
    """A DEALER (or REQ) socket, frame by frame.

    Args:
        endpoint: of the control socket.
        kind: ``zmq.DEALER`` or ``zmq.REQ``; the latter adds the delimiter itself.
        options: of the socket, set before it connects.
    """

    def __init__(self, endpoint: str, kind: int = zmq.DEALER, options: dict[int, int] | None = None) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(kind)
        self.socket.linger = 0
        self.socket.rcvtimeo = self.socket.sndtimeo = DEADLINE
        for option, value in (options or {}).items():
            self.socket.set(option, value)
        self._delimiter = [b""] if kind == zmq.DEALER else []
        self.socket.connect(endpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.destroy(linger=0)

    def send(self, *frames: bytes) -> None:
        """Exactly these frames."""
        self.socket.send_multipart(frames)

    def post(self, method: str, number: int | str = 1, payload: Sequence[bytes] = (), **params: Any) -> None:
        """A request, without waiting for its answer."""
        head = {"v": 1, "id": number, "method": method, "params": params}
        self.send(*self._delimiter, msgpack.packb(head), *payload)

    def receive(self) -> tuple[dict[str, Any], list[bytes]]:
        """Head and payload frames of the next message."""
        frames = self.socket.recv_multipart()
        if self._delimiter:
            assert frames.pop(0) == b""
        head = msgpack.unpackb(frames[0], strict_map_key=False)
        assert isinstance(head, dict)
        return head, frames[1:]

    def ask(self, method: str, number: int | str = 1, payload: Sequence[bytes] = (), **params: Any) -> dict[str, Any]:
        """A request, and its answer's head."""
        self.post(method, number, payload, **params)
        head, _ = self.receive()
        assert head["id"] == number
        return head

    def result(self, method: str, payload: Sequence[bytes] = (), **params: Any) -> Any:
        """The result of a request that must succeed."""
        head = self.ask(method, payload=payload, **params)
        assert "result" in head, head
        return head["result"]

    def error(self, method: str, payload: Sequence[bytes] = (), **params: Any) -> dict[str, Any]:
        """The error of a request that must fail."""
        head = self.ask(method, payload=payload, **params)
        assert "error" in head, head
        error: dict[str, Any] = head["error"]
        return error

    def one_answer(self, *frames: bytes) -> dict[str, Any]:
        """The one answer to these frames: what is asked afterwards is answered next, and by its own id."""
        self.send(*frames)
        if self._delimiter:
            self.post("ping", "afterwards")
        head, _ = self.receive()
        if not self._delimiter:
            self.post("ping", "afterwards")
        after, _ = self.receive()
        assert after["id"] == "afterwards"
        assert "result" in after
        return head


class DirectPeer:
    """A peer of the direct channel, byte by byte.

    Args:
        path: of the direct channel.
        preamble: what it says first.
        buffer: bytes of its receive buffer; None: the system's.
    """

    def __init__(self, path: str, preamble: bytes = PREAMBLE, buffer: int | None = None) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE / 1000)
        if buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.connect(path)
        self.socket.sendall(preamble)
        self._intake = Intake()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Exactly these bytes; a peer that has hung up already is no matter."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def post(self, method: str, number: int | str = 1, payload: Sequence[bytes] = (), **params: Any) -> None:
        """A request, without waiting for its answer."""
        self.send(request(method, number, payload, **params))

    def receive(self) -> tuple[dict[str, Any], list[bytes]] | None:
        """Head and payload frames of the next message; None where the peer has hung up."""
        while (frames := self._intake.next()) is None:
            room = self._intake.room()
            try:
                count = self.socket.recv_into(room)
            except ConnectionResetError:
                return None
            if not count:
                return None
            self._intake.arrived.append(count)
        self._intake.delivered()
        head = msgpack.unpackb(frames[0], strict_map_key=False)
        assert isinstance(head, dict)
        return head, [bytes(frame) for frame in frames[1:]]

    def ask(self, method: str, number: int | str = 1, payload: Sequence[bytes] = (), **params: Any) -> dict[str, Any]:
        """A request, and its answer's head."""
        self.post(method, number, payload, **params)
        answer = self.receive()
        assert answer is not None
        assert answer[0]["id"] == number
        return answer[0]


def request(method: str, number: int | str = 1, payload: Sequence[bytes] = (), **params: Any) -> bytes:
    """A request as the direct channel has it."""
    head = {"v": 1, "id": number, "method": method, "params": params}
    return b"".join(enclose([msgpack.packb(head), *payload]))
