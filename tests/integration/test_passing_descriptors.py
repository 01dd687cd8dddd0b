"""Descriptors beside the messages of the direct channel: taken where they are segments, else refused and closed."""

from __future__ import annotations

import array
import os
import pickle
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgpack
import pytest
from tests.daemons import RunningDaemon
from tests.peers import DirectPeer

from stoker.protocol import segments
from stoker.protocol.endpoint import direct_path
from stoker.protocol.framing import enclose
from stoker.protocol.segments import LARGE, Segment


class SharingPeer(DirectPeer):
    """A peer that shares memory with the daemon."""

    def __init__(self, daemon: RunningDaemon) -> None:
        super().__init__(direct_path(str(daemon.path)))
        assert "result" in self.ask("hello", client="a peer")
        assert self.ask("share")["result"]["bytes"] > 0

    def pass_on(self, fds: Sequence[int], *, announced: int | None = None, parcel: bytes = b"x", **spec: Any) -> Any:
        """Submit ``len`` with these descriptors; the answer's head."""
        work = {"function": "builtins:len", "lengths": len(parcel).to_bytes(4, "little"), **spec}
        params = {"jobs": [{"pickle": work}], "stream": True}
        head = msgpack.packb({"v": 1, "id": 5, "method": "submit", "params": params})
        message = b"".join(enclose([head, parcel], len(fds) if announced is None else announced))
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([message], beside)
        return self.last_answer()

    def last_answer(self) -> Any:
        """The head of what comes last of a stream."""
        while (answer := self.receive()) is not None and answer[0].get("more"):
            pass
        assert answer is not None
        return answer[0]


@pytest.fixture(scope="module")
def daemon(module_daemon: RunningDaemon) -> RunningDaemon:
    """One for all of these."""
    return module_daemon


@pytest.fixture
def peer(daemon: RunningDaemon) -> Iterator[SharingPeer]:
    """One."""
    with SharingPeer(daemon) as made:
        yield made


def open_files(daemon: RunningDaemon) -> list[str]:
    links = []
    for name in os.listdir(f"/proc/{daemon.pid}/fd"):
        try:
            links.append(str(Path(f"/proc/{daemon.pid}/fd/{name}").readlink()))
        except FileNotFoundError:
            continue
    return [link for link in links if "strange" in link or link.endswith("/null")]


def test_a_segment_is_passed_once_and_named_afterwards(peer: SharingPeer) -> None:
    segment = Segment.make(1, LARGE)
    value = ((b"a" * (LARGE - 64),), {})
    stream, buffers = segments.flatten(value, 3)
    parcel = segments.lay(segment, stream, buffers)
    for fds in ([segment.fd], []):
        segment.words[segments.USED] = 1
        answer = peer.pass_on(fds, parcel=parcel, segment=1)
        assert "error" not in answer, answer
        assert answer["result"].get("state", "done") == "done", answer
        assert not segment.used


def test_a_descriptor_that_is_no_segment_is_refused_and_closed(peer: SharingPeer, daemon: RunningDaemon) -> None:
    for fd in (os.memfd_create("strange"), os.open("/dev/null", os.O_RDWR)):
        before = len(open_files(daemon))
        assert peer.pass_on([fd], segment=1)["error"]["code"] == "invalid-params"
        assert len(open_files(daemon)) == before
        os.close(fd)


def test_descriptors_that_nobody_asked_for_are_closed(peer: SharingPeer, daemon: RunningDaemon) -> None:
    before = len(open_files(daemon))
    fd = os.memfd_create("strange")
    payload = pickle.dumps((([],), {}))
    assert "result" in peer.pass_on([fd, fd, fd], parcel=payload)
    assert len(open_files(daemon)) == before
    os.close(fd)


def test_descriptors_that_are_announced_and_do_not_come_are_missed(peer: SharingPeer) -> None:
    assert peer.pass_on([], announced=1, segment=1)["error"]["code"] == "malformed-message"
    assert "result" in peer.ask("ping")


def test_descriptors_of_a_message_that_is_not_taken_are_closed(peer: SharingPeer, daemon: RunningDaemon) -> None:
    before = len(open_files(daemon))
    fd = os.memfd_create("strange")
    assert peer.pass_on([fd], announced=2)["error"]["code"] == "malformed-message"
    assert len(open_files(daemon)) == before
    os.close(fd)


def test_a_segment_that_was_never_passed_is_not_known(peer: SharingPeer) -> None:
    answer = peer.pass_on([], segment=7)
    assert answer["error"]["code"] == "unknown-segment"
    assert answer["error"]["retryable"]


@pytest.mark.parametrize("options", [{"retries": 1}, {"key": "k"}, {"ttl": 5.0}, {"on_crash": "requeue"}])
def test_a_job_that_may_need_its_arguments_again_can_have_no_segment(
    peer: SharingPeer, options: dict[str, Any]
) -> None:
    segment = Segment.make(1, LARGE)
    work = {"function": "builtins:len", "lengths": b"\1\0\0\0", "segment": 1}
    head = {"v": 1, "id": 5, "method": "submit", "params": {"jobs": [{"pickle": work, **options}], "stream": True}}
    message = b"".join(enclose([msgpack.packb(head), b"x"], 1))
    peer.socket.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [segment.fd]))])
    assert peer.last_answer()["error"]["code"] == "invalid-params"


def test_nothing_is_shared_with_who_has_no_session_or_speaks_zeromq(daemon: RunningDaemon) -> None:
    with DirectPeer(direct_path(str(daemon.path))) as peer:
        assert peer.ask("share")["result"]["bytes"] == 0
    assert daemon.result("share")["bytes"] == 0


def test_a_parcel_that_makes_no_sense_fails_its_job_only(peer: SharingPeer) -> None:
    segment = Segment.make(1, LARGE)
    answer = peer.pass_on([segment.fd], parcel=b"\xff" * 40, segment=1)
    assert answer["result"]["state"] == "failed"
    assert not segment.used
    assert "result" in peer.ask("ping")
