"""A stand-in for the daemon over a real ROUTER and a direct channel, which does what the jobs' *names* tell it.

Run as a program: ``python fake_daemon.py URL``; prints a line when it listens. Jobs run inside it, one after the other.
What a real daemon does only on a bad day, it does on order: ``never`` (no result), ``forgotten`` (the function is
unknown the first time), ``split`` (a reply per job, backwards), ``killed`` (the worker died), ``die`` (end like a
SIGKILL), ``nonsense`` (not the protocol).
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import socket
import sys
import traceback
from array import array
from pathlib import Path
from typing import Any

import msgpack
import zmq

from stoker.protocol.endpoint import direct_path
from stoker.protocol.framing import Intake, enclose

ERROR = 1 << 31


class FakeDaemon:
    def __init__(self, url: str) -> None:
        self.router = zmq.Context().socket(zmq.ROUTER)
        for option in (zmq.SNDHWM, zmq.RCVHWM):
            self.router.setsockopt(option, 0)
        self.router.bind(url)
        where = Path(direct_path(url.removeprefix("ipc://")))
        where.unlink(missing_ok=True)
        self.direct = socket.socket(socket.AF_UNIX)
        self.direct.bind(str(where))
        self.direct.listen()
        self.intakes: dict[socket.socket, Intake] = {}
        self.functions: dict[str, Any] = {}
        self.next_id = 1
        self.forgot: set[str] = set()
        self.values: dict[int, bytes] = {}
        self.held: dict[int, tuple[bytes, int]] = {}
        self.uploads = self.submits = 0

    def serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self.router, zmq.POLLIN)
        poller.register(self.direct, zmq.POLLIN)
        while True:
            for ready, _ in poller.poll():
                if ready is self.router:
                    peer, _, head, *payload = self.router.recv_multipart()
                    self.answer(peer, head, payload)
                elif ready == self.direct.fileno():
                    connected = self.direct.accept()[0]
                    self.intakes[connected] = Intake(preamble=True)
                    poller.register(connected, zmq.POLLIN)
                else:
                    connected = next(each for each in self.intakes if each.fileno() == ready)
                    if not self.read(connected):
                        poller.unregister(connected)
                        connected.close()
                        del self.intakes[connected]

    def read(self, connected: socket.socket) -> bool:
        intake = self.intakes[connected]
        try:
            count = connected.recv_into(intake.room())
        except ConnectionResetError:
            return False
        intake.arrived.append(count)
        while (frames := intake.next()) is not None:
            intake.delivered()
            self.answer(connected, frames[0], [bytes(frame) for frame in frames[1:]])
        return count > 0

    def answer(self, peer, head, payload) -> None:
        request = msgpack.unpackb(head)
        answer = getattr(self, "on_" + request["method"], None)
        if answer is None:
            self.refuse(peer, request["id"], "unknown-method", "there is no such method")
        else:
            answer(peer, request["id"], request["params"], payload)

    def send(self, peer, *frames: bytes) -> None:
        """To whichever kind of peer it is; a direct one has no delimiter."""
        if isinstance(peer, bytes):
            self.router.send_multipart([peer, b"", *frames])
            return
        try:
            peer.sendall(b"".join(enclose(frames)))
        except OSError:
            return  # it has hung up, and is read to its end

    def reply(self, peer, number, result, payload=(), *, more=False) -> None:
        head = {"id": number, "result": result} | ({"more": True} if more else {})
        self.send(peer, msgpack.packb(head), *payload)

    def refuse(self, peer, number, code, message) -> None:
        self.send(peer, msgpack.packb({"id": number, "error": {"code": code, "message": message}}))

    def on_hello(self, peer, number, params, payload) -> None:
        if params.get("client") == "unwanted":
            self.refuse(peer, number, "too-many-sessions", "full")
            return
        limits = {"message_bytes": 4_000_000}
        self.reply(
            peer, number, {"version": "fake", "session": "s", "pid": os.getpid(), "limits": limits, "events": ""}
        )

    def on_ping(self, peer, number, params, payload) -> None:
        if params.get("silent"):
            return
        result = {"time": 1.0, "pid": os.getpid(), "version": "fake", "uploads": self.uploads, "submits": self.submits}
        self.reply(peer, number, result, payload)

    def on_upload(self, peer, number, params, payload) -> None:
        self.uploads += 1
        self.functions[params["function"]] = pickle.loads(payload[0])
        self.reply(peer, number, {"function": params["function"]})

    def on_submit(self, peer, number, params, payload) -> None:
        self.submits += 1
        spec = params["jobs"][0]
        work, name = spec["pickle"], spec["name"]
        count = len(work["lengths"]) // 4
        first, self.next_id = self.next_id, self.next_id + count
        if name == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "nonsense":
            self.send(peer, b"what", b"is this")
            return
        if name == "forgotten" and work["function"] not in self.forgot:
            self.forgot.add(work["function"])
            self.functions.pop(work["function"], None)
        if work["function"].startswith("sha256:") and work["function"] not in self.functions:
            self.refuse(peer, number, "unknown-function", "upload it")
            return
        ids = {"jobs": [{"id": first, "count": count, "state": "queued"}]}
        if not params.get("stream"):
            for row, packed in enumerate(self.results(work, payload[0])):
                self.values[first + row] = packed[0]
            self.reply(peer, number, ids)
            return
        if name == "never" or "wait" in params:
            self.reply(peer, number, ids, more=True)
        if name == "never":
            self.held[first] = (peer, number)
            return
        if name == "killed":
            error = {"code": "worker-died", "message": "the worker died by SIGKILL", "data": {"signal": 9}}
            part = {"spec": 0, "id": first, "first": 0, "count": count, "state": "worker-died", "error": error}
            self.reply(peer, number, part)
            return
        self.stream(peer, number, first, self.results(work, payload[0]), split=name == "split")

    def stream(self, peer, number, first, results, *, split: bool) -> None:
        groups = [(row, [result]) for row, result in enumerate(results)][::-1] if split else [(0, results)]
        for place, (row, group) in enumerate(groups):
            marks = array("I", [len(packed) | mark for packed, mark in group]).tobytes()
            part = {"spec": 0, "id": first + row, "first": row, "count": len(group), "lengths": marks}
            payload = b"".join(packed for packed, _ in group)
            self.reply(peer, number, part, (payload,), more=place + 1 < len(groups))

    def results(self, work, data) -> list[tuple[bytes, int]]:
        function = self.functions.get(work["function"]) or find(work["function"])
        results, start = [], 0
        for length in array("I", work["lengths"]):
            results.append(run(function, work["shape"], data[start : start + length]))
            start += length
        return results

    def on_result(self, peer, number, params, payload) -> None:
        packed = self.values[params["id"]]
        self.reply(peer, number, {"job": {"id": params["id"], "state": "done", "payload": 0}}, (packed,))

    def on_cancel(self, peer, number, params, payload) -> None:
        cancelled = [job for job in params["ids"] if job in self.held]
        for job in cancelled:
            waiting, request = self.held.pop(job)
            error = {"code": "job-cancelled", "message": "cancelled"}
            part = {"spec": 0, "id": job, "first": 0, "count": 1, "state": "cancelled", "error": error}
            self.reply(waiting, request, part)
        ended = [job for job in params["ids"] if job not in cancelled]
        self.reply(peer, number, {"cancelled": cancelled, "already_ended": ended})


def find(reference: str) -> Any:
    module, _, name = reference.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def run(function, shape: str, packed: bytes) -> tuple[bytes, int]:
    given = pickle.loads(packed)
    try:
        if shape == "call":
            value = function(*given[0], **given[1])
        elif shape == "item":
            value = function(given)
        else:
            value = [function(item) for item in given]
        return pickle.dumps(value), 0
    except Exception as why:
        error = {
            "code": "job-failed",
            "message": str(why),
            "type": type(why).__name__,
            "traceback": traceback.format_exc(),
            "pickle": pickle.dumps(why),
        }
        return msgpack.packb(error), ERROR


if __name__ == "__main__":
    daemon = FakeDaemon(sys.argv[1])
    print("listening", flush=True)  # noqa: T201 - its parent waits for it
    daemon.serve()
