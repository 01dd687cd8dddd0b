"""What a burner's process hears from the daemon and says to it, on real sockets."""

from __future__ import annotations

import math
import mmap
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from stokerd.burners.burn import BELL, COMPLAINT, Ear, main
from stokerd.burners.kinds import Refusal
from stokerd.burners.page import PAGE_BYTES, Order, Page
from stokerd.forkserver.handles import Handles

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.settimeout(30)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_rest_ends_with_a_ring(pair: Pair) -> None:
    ring = threading.Timer(0.05, pair[0].send, (BELL,))
    ring.start()
    Ear(pair[1]).rest(math.inf)
    ring.join()


def test_a_rest_ends_by_itself(pair: Pair) -> None:
    Ear(pair[1]).rest(0.01)
    Ear(pair[1]).rest(-1.0)


def test_a_ring_before_the_rest_is_heard_once(pair: Pair) -> None:
    ear = Ear(pair[1])
    pair[0].send(BELL * 3)
    ear.rest(math.inf)
    began = time.monotonic()
    ear.rest(0.05)
    assert time.monotonic() - began >= 0.05


def test_more_rings_than_the_socket_holds_do_not_block_and_are_heard(pair: Pair) -> None:
    sent = 0
    pair[0].setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            sent += pair[0].send(BELL)
    Ear(pair[1]).rest(math.inf)
    assert sent


def test_a_rest_ends_the_process_when_the_daemon_is_gone(pair: Pair) -> None:
    pair[0].close()
    with pytest.raises(SystemExit):
        Ear(pair[1]).rest(math.inf)


def test_a_complaint_carries_its_reason_and_its_hint(pair: Pair) -> None:
    Ear(pair[1]).complain(Refusal("no room", "ask for less"))
    assert pair[0].recv(4096) == COMPLAINT + b"no room\0ask for less"


def test_a_bug_is_a_complaint_too_and_a_long_one_is_cut(pair: Pair) -> None:
    Ear(pair[1]).complain(ValueError("x" * 10_000))
    said = pair[0].recv(65536)
    assert said.startswith(COMPLAINT + b"ValueError: xxx")
    assert len(said) < 2000


def test_nobody_has_to_listen(pair: Pair) -> None:
    pair[0].close()
    Ear(pair[1]).say(b".")


def test_a_process_that_cannot_burn_says_why_and_ends_with_1(pair: Pair) -> None:
    memory = mmap.mmap(-1, PAGE_BYTES)
    args = {"generator": "call", "params": {"call": "no_such_module:work"}, "phase": 0.0}
    with pytest.raises(SystemExit) as ended:
        main(args, Handles(pair[1], memory))
    assert ended.value.code == 1
    assert b"no_such_module" in pair[0].recv(4096)


def test_without_a_channel_or_a_page_there_is_nothing_to_obey(pair: Pair) -> None:
    with pytest.raises(SystemExit, match="needs a channel and a page"):
        main({}, Handles(None, None))


def test_a_process_at_rest_uses_no_cpu_and_ends_at_its_deadline(pair: Pair) -> None:
    memory = mmap.mmap(-1, PAGE_BYTES)
    page = Page(memory)
    page.give(Order(1, 0.0, time.monotonic() + 0.6))
    if (pid := os.fork()) == 0:
        try:
            pair[0].close()
            main({"generator": "spin", "params": {}, "phase": 0.0}, Handles(pair[1], memory))
        finally:
            os._exit(0)
    assert pair[0].recv(1) == b"."
    _, status = os.waitpid(pid, 0)
    newest = page.newest()
    assert status == 0
    assert newest is not None
    assert newest.tick < 20  # at 100 ticks a second it would have been 60
