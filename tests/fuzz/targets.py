"""What a peer, or whoever writes a file that is read, can reach with bytes of its own making.

Each target takes any bytes. What it refuses it refuses with a StokerError; anything else that comes out is a bug. The
tests call them with what hypothesis makes up, and ``python -m tests.fuzz`` with what atheris is led to.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from stoker.errors import StokerError
from stoker.protocol import codec, endpoint, guards, keyfile, profile_text, trace, typed
from stoker.protocol.framing import PREAMBLE, Intake, Unfit
from stoker.protocol.profile import Trace
from stoker.session import Exchange, Session
from stokerd.config import load

HEAD = 1 << 16
"""Bytes of a head, as small as a daemon could be told to have it."""


def messages(data: bytes) -> None:
    """A head as the daemon takes it: the short way and the long way find the same, or both find nothing."""
    quick = typed.quick_request(data)
    try:
        head, _ = codec.decode_head([b"", data], limit=HEAD)
        request = typed.decode_request(head)
    except StokerError:
        assert quick is None, "the short way takes what the long way refuses"
        return
    assert quick is None or quick[:2] == (typed.request_id(head), request)


def replies(data: bytes) -> None:
    """A message as the client takes it."""
    session = Session()
    exchange = Exchange()
    session.request("ping", {}, (), exchange)
    with contextlib.suppress(StokerError):
        session.receive([b"", data, b"payload"])


def frames(data: bytes) -> None:
    """The stream of the direct channel, cut into pieces; the first byte says how."""
    intake = Intake(message_bytes=1 << 16, head_bytes=1 << 12, frames=9, patience=4, preamble=True)
    stream, step = PREAMBLE + data[1:], 1 + (data[0] if data else 0)
    for at in range(0, len(stream), step):
        rest = memoryview(stream)[at : at + step]
        while rest:
            room = intake.room()
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            intake.arrived.append(count)
            rest = rest[count:]
            if not _take(intake):
                return


def _take(intake: Intake) -> bool:
    while True:
        try:
            if intake.next() is None:
                return True
        except Unfit as why:
            if why.fatal:
                return False
            continue
        intake.delivered()


def profiles(data: bytes) -> None:
    """The text of a load profile."""
    with contextlib.suppress(StokerError):
        profile_text.parse(data.decode("utf-8", "replace"))


def traces(data: bytes) -> None:
    """A file that a profile replays."""
    with contextlib.suppress(StokerError):
        trace.points(data.decode("utf-8", "replace"), Trace("it"))


def a_guard(data: bytes) -> None:
    """The text of a burner's guard."""
    with contextlib.suppress(StokerError):
        guards.parse(data.decode("utf-8", "replace"))


def endpoints(data: bytes) -> None:
    """What names a daemon."""
    with contextlib.suppress(StokerError):
        endpoint.parse(data.decode("utf-8", "replace"))


def keys(data: bytes) -> None:
    """A key file: nothing but a key comes out, and it is never quoted."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(StokerError):
        found = keyfile.parse(text, what="it")
        assert keyfile.is_key(found.public)
        assert keyfile.parse(keyfile.form(found, name="it"), what="it") == found


def configurations(data: bytes) -> None:
    """A configuration file."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        with contextlib.suppress(StokerError):
            load(Path(file.name), {"HOME": "/nonexistent"})


TARGETS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each
    for each in (messages, replies, frames, profiles, traces, a_guard, endpoints, keys, configurations)
}
SEEDS: dict[str, tuple[bytes, ...]] = {
    "messages": (
        codec.pack({"v": 1, "id": 7, "method": "ping", "params": {}}),
        codec.pack({"id": 1, "method": "submit", "params": {"jobs": [{"call": {"function": "m:f", "args": [1]}}]}}),
        codec.pack({"id": 1, "method": "start", "params": {"kind": "burner", "name": "b", "load": 5.0}}),
    ),
    "replies": (
        codec.pack({"id": 1, "result": {"time": 1.0}}),
        codec.pack({"id": None, "error": {"code": "busy", "message": "x", "data": {}}}),
        codec.pack({"push": "alive"}),
    ),
    "profiles": (b"ramp 0->80 over 5m, hold 10m; repeat forever", b"sine 10..90 period 10s", b"noise 50+-5 seed 7"),
    "traces": (b"t,load\n0,5\n1,10\n", b'{"t": 0, "load": 5}\n{"t": 1, "load": 6}\n'),
    "a_guard": (b"load>8:pause", b"temp>85/75@10s:abort", b"probe:curl -fs localhost:abort"),
    "endpoints": (b"tcp://[::1]:7000", b"ipc:///run/x.sock", b"/run/x.sock"),
    "keys": (keyfile.form(keyfile.KeyFile("0" * 40, "1" * 40), name="it").encode(),),
    "configurations": (
        b'[daemon]\nsocket = "/run/s.sock"\n[pool.default]\nworkers = "auto"\n[burner.b]\nload = 5.0\n',
        b'[process.p]\nargv = ["true"]\n[security]\npickle = false\n',
    ),
}
"""Where a search begins."""
