"""A daemon's stand-in: a real ROUTER in a thread of the test, answering what the test tells it to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from stoker.cli.main import main
from stoker.errors import StokerError
from stoker.protocol.codec import decode_head, encode_error, encode_reply

Reply = dict[str, Any] | tuple[dict[str, Any], list[bytes]] | StokerError | list[tuple[dict[str, Any], list[bytes]]]


class FakeDaemon:
    """Answers by method; a list is a streamed reply. Remembers every request but hello."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.replies: dict[str, Reply | Callable[[dict[str, Any]], Reply]] = {
            "hello": {"events": "", "limits": {}},
            "bye": {},
        }
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.hello: dict[str, Any] = {}
        self._context = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.linger = 0
        self._router.bind(f"ipc://{path}")
        self._stop, self._stopped = self._context.socket(zmq.PAIR), self._context.socket(zmq.PAIR)
        self._stopped.bind("inproc://stop")
        self._stop.connect("inproc://stop")
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def params(self, method: str) -> dict[str, Any]:
        """The parameters of the one request of this method."""
        found = [params for name, params in self.requests if name == method]
        assert len(found) == 1, self.requests
        return found[0]

    def close(self) -> None:
        self._stop.send(b"")
        self._thread.join()
        for socket in (self._router, self._stop, self._stopped):
            socket.close(0)
        self._context.term()

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._stopped, zmq.POLLIN)
        while self._stopped not in dict(poller.poll()):
            identity, *frames = self._router.recv_multipart()
            head, _ = decode_head(frames)
            for answer in self._answers(head):
                self._router.send_multipart([identity, *map(bytes, answer)])

    def _answers(self, head: dict[str, Any]) -> list[list[Any]]:
        method, params, number = head["method"], head.get("params", {}), head["id"]
        if method == "hello":
            self.hello = params
        else:
            self.requests.append((method, params))
        reply = self.replies.get(method, StokerError(f"the test has no reply to {method}"))
        reply = reply(params) if callable(reply) else reply
        if isinstance(reply, StokerError):
            return [encode_error(number, reply.to_wire())]
        parts = reply if isinstance(reply, list) else [reply if isinstance(reply, tuple) else (reply, [])]
        return [
            encode_reply(number, result, payload, more=place < len(parts))
            for place, (result, payload) in enumerate(parts, 1)
        ]


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    """A stand-in that ``STOKER_SOCKET`` leads to."""
    fake = FakeDaemon(tmp_path / "control.sock")
    monkeypatch.setenv("STOKER_SOCKET", fake.path)
    yield fake
    fake.close()


@pytest.fixture
def stoker(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs one command line in this process: its exit code, stdout and stderr."""

    def run(*argv: str) -> tuple[int, str, str]:
        code = main(argv)
        told = capfd.readouterr()
        assert "Traceback" not in told.err
        return code, told.out, told.err

    return run
