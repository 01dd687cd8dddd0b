"""The daemon's end of a worker's socketpair: in order, not before its time, and never a wait."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.clocks import HandClock

from stoker.errors import Unavailable
from stokerd.pool import messages
from stokerd.pool.wire import BUFFER, SMALL, Wire
from stokerd.promise import Promise


class Ends:
    """A wire and the far end of its socketpair."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.far.setblocking(False)
        self.heard: list[tuple[int, bytes]] = []
        self.doubts = 0
        self.wire = Wire(self.near, self.clock, self.hear, self.doubt)

    def hear(self, header: messages.Header, buffer: bytearray, start: int, end: int) -> None:
        self.heard.append((header.op, bytes(buffer[start:end])))

    def doubt(self) -> None:
        self.doubts += 1

    def arrived(self) -> bytes:
        """What has come at the far end."""
        whole = b""
        while True:
            try:
                part = self.far.recv(1 << 20)
            except BlockingIOError:
                return whole
            if not part:
                return whole
            whole += part

    def close(self) -> None:
        self.near.close()
        self.far.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


def send(ends: Ends, text: bytes, after: Promise[None] | None = None) -> None:
    ends.wire.send(text[:1], memoryview(text[1:]), after)


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_messages_keep_their_order_however_their_promises_are_settled(held, random):
    ends = Ends()
    try:
        promises: list[Promise[None]] = []
        gates: list[Promise[None] | None] = []
        for number, waits in enumerate(held):
            gates.append(Promise() if waits else None)
            send(ends, b"%03d;" % number, gates[-1])
        promises = [gate for gate in gates if gate is not None]
        got = b""
        for promise in random.sample(promises, len(promises)):
            got += ends.arrived()
            first = next(number for number, gate in enumerate(gates) if gate is not None and not gate.settled)
            assert got == b"".join(b"%03d;" % number for number in range(first))
            assert ends.wire.waiting
            promise.resolve(None)
        assert got + ends.arrived() == b"".join(b"%03d;" % number for number in range(len(held)))
        assert not ends.wire.waiting
    finally:
        ends.close()


def test_a_message_leaves_at_once_where_its_promise_is_settled(ends):
    promise: Promise[None] = Promise()
    promise.resolve(None)
    send(ends, b"now", promise)
    assert ends.arrived() == b"now"


def test_a_message_is_not_kept_back_for_ever_by_a_disk_that_refuses(ends):
    promise: Promise[None] = Promise()
    send(ends, b"late", promise)
    promise.reject(Unavailable("full"))
    assert ends.arrived() == b"late"


def test_nothing_is_sent_after_it_was_closed(ends):
    promise: Promise[None] = Promise()
    send(ends, b"held", promise)
    ends.wire.close()
    promise.resolve(None)
    assert ends.arrived() == b""
    assert not ends.clock.watched
    assert not ends.clock.watched_for_room


@pytest.mark.parametrize("size", [SMALL - 1, SMALL, 3_000_000])
def test_what_the_socket_does_not_take_at_once_arrives_whole_and_in_order(ends, size):
    parts = [bytes([number]) * size for number in range(1, 4)]
    for part in parts:
        ends.wire.send(part[:10], memoryview(part)[10:])
    got = ends.arrived()
    while ends.wire.waiting:
        assert ends.clock.look()
        got += ends.arrived()
    assert got + ends.arrived() == b"".join(parts)
    assert not ends.clock.watched_for_room


def test_to_a_worker_that_has_gone_nothing_is_sent_and_nobody_complains(ends):
    ends.far.close()
    send(ends, b"too late")
    assert not ends.wire.waiting


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=20), st.lists(st.integers(1, 200), min_size=1))
@settings(max_examples=100, deadline=None)
def test_messages_are_heard_whole_however_they_are_cut(bodies, cuts):
    ends = Ends()
    try:
        stream = b"".join(messages.pack(messages.PROGRESS, size=len(body)) + body for body in bodies)
        at = turn = 0
        while at < len(stream):
            cut = cuts[turn % len(cuts)]
            ends.far.send(stream[at : at + cut])
            at, turn = at + cut, turn + 1
            ends.wire.read()
        assert ends.heard == [(messages.PROGRESS, body) for body in bodies]
        assert not ends.doubts
    finally:
        ends.close()


def test_a_message_that_is_larger_than_the_buffer_is_heard(ends):
    body = b"\0" * 4 + b"x" * (3 * BUFFER)
    stream = messages.pack(messages.RESULTS, size=len(body), seq=1, count=1) + body
    while stream:
        stream = stream[ends.far.send(stream) :]
        ends.wire.read()
    assert ends.heard == [(messages.RESULTS, body)]


GARBAGE = [
    b"\xff" * 200,
    b"GET / HTTP/1.1\r\n" * 10,
    messages.pack(messages.RUN),
    messages.pack(messages.RESULTS, size=4, count=0),
    messages.pack(messages.RESULTS, size=3, count=1),
    messages.pack(messages.PROGRESS, size=messages.MAX_TOLD + 1),
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_ends_in_doubt_once_and_what_came_before_was_heard(ends, garbage):
    ends.far.send(messages.pack(messages.READY) + garbage)
    ends.wire.read()
    assert ends.heard == [(messages.READY, b"")]
    assert ends.doubts == 1
    ends.far.send(messages.pack(messages.READY) + garbage)
    ends.wire.read()
    ends.wire.distrust()
    assert len(ends.heard) == 1
    assert ends.doubts == 1
    assert not ends.clock.watched


def test_the_end_of_a_worker_is_no_garbage(ends):
    ends.far.close()
    ends.wire.read()
    assert not ends.doubts
    assert not ends.clock.watched
