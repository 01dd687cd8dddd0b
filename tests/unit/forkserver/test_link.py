from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Iterator

import pytest

from stokerd.clock import LoopClock
from stokerd.forkserver.link import Link

DEADLINE = 30.0


class Pair:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.readable = 0
        self.link = Link(LoopClock(self.loop), ours, self._note)

    def _note(self) -> None:
        self.readable += 1
        self.loop.stop()

    def receive(self) -> tuple[dict[str, object], list[int]]:
        """The next packet; the loop runs meanwhile, because the link may have to send the rest."""
        self.theirs.setblocking(False)

        async def readable() -> None:
            arrived = asyncio.Event()
            self.loop.add_reader(self.theirs.fileno(), arrived.set)
            await asyncio.wait_for(arrived.wait(), DEADLINE)
            self.loop.remove_reader(self.theirs.fileno())

        self.loop.run_until_complete(readable())
        data, fds, _, _ = socket.recv_fds(self.theirs, 1 << 16, 8)
        return json.loads(data), fds


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.link.close()
    pair.theirs.close()
    pair.loop.close()


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_more_orders_than_the_socket_takes_arrive_all_and_in_order(pair: Pair) -> None:
    count = 3000
    for index in range(count):
        pair.link.send({"id": index, "text": "x" * 1000})
    assert [pair.receive()[0]["id"] for _ in range(count)] == list(range(count))


def test_more_descriptors_than_may_be_under_way_arrive_all(pair: Pair) -> None:
    for index in range(400):
        fd = os.memfd_create("test")
        pair.link.send({"id": index}, [fd], [fd])
    for index in range(400):
        message, (fd,) = pair.receive()
        os.close(fd)
        assert message == {"id": index}


def test_what_is_given_is_closed_once_sent_and_what_is_lent_is_not(pair: Pair) -> None:
    given, lent = os.memfd_create("given"), os.memfd_create("lent")
    pair.link.send({"id": 1}, [given, lent], [given])
    assert (is_open(given), is_open(lent)) == (False, True)
    os.close(lent)
    for fd in pair.receive()[1]:
        os.close(fd)


def test_what_could_not_be_sent_is_closed_with_the_link(pair: Pair) -> None:
    fds = [os.memfd_create("test") for _ in range(500)]
    for fd in fds:
        pair.link.send({"text": "x" * 10_000}, [fd], [fd])
    assert any(map(is_open, fds))
    pair.link.close()
    assert not any(map(is_open, fds))


def test_sending_to_a_peer_that_is_gone_gives_the_descriptors_back(pair: Pair) -> None:
    pair.theirs.close()
    fd = os.memfd_create("test")
    pair.link.send({"id": 1}, [fd], [fd])
    assert not is_open(fd)


def test_sending_after_the_close_gives_the_descriptors_back(pair: Pair) -> None:
    pair.link.close()
    fd = os.memfd_create("test")
    pair.link.send({"id": 1}, [fd], [fd])
    assert not is_open(fd)


def test_after_shut_the_peer_reads_the_end_and_is_still_heard(pair: Pair) -> None:
    pair.link.shut()
    assert pair.theirs.recv(10) == b""
    pair.theirs.send(b'{"id":1}')
    pair.loop.run_forever()
    assert list(pair.link.receive(sys.maxsize)) == [{"id": 1}]


def test_reports_are_read_up_to_the_number_that_was_asked_for(pair: Pair) -> None:
    for index in range(5):
        pair.theirs.send(json.dumps({"id": index}).encode())
    assert [report["id"] for report in pair.link.receive(3)] == [0, 1, 2]
    assert [report["id"] for report in pair.link.receive(3)] == [3, 4]


def test_a_peer_that_is_gone_is_no_longer_listened_to(pair: Pair) -> None:
    pair.theirs.close()
    pair.loop.run_forever()
    assert list(pair.link.receive(10)) == []
    seen = pair.readable
    pair.loop.call_later(0.01, pair.loop.stop)
    pair.loop.run_forever()
    assert pair.readable == seen
