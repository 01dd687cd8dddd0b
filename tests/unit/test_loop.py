"""The daemon's loop, with real descriptors, timers and signals."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from stokerd.loop import CLUTTER, Loop
from stokerd.vigil import Vigil

DEADLINE = 20.0


class Harness:
    """A loop that ends when what is awaited has happened, or fails when it does not."""

    def __init__(self) -> None:
        self.bugs: list[Exception] = []
        self.loop = Loop(self.bugs.append)
        self.calls: list[object] = []

    def note(self, what: object) -> None:
        self.calls.append(what)

    def run(self) -> None:
        late = self.loop.later(DEADLINE, self._late)
        self.loop.run()
        late.cancel()
        assert "late" not in self.calls

    def _late(self) -> None:
        self.calls.append("late")
        self.loop.stop()


@pytest.fixture
def house() -> Iterator[Harness]:
    harness = Harness()
    yield harness
    harness.loop.close()


@pytest.fixture
def pipe() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        yield near, far


def test_timers_ring_in_the_order_of_their_times_and_never_early(house: Harness) -> None:
    begun = time.monotonic()
    house.loop.later(0.02, house.note, 2)
    house.loop.later(0.01, house.note, 1)
    house.loop.later(0.03, lambda: (house.note(time.monotonic() - begun >= 0.03), house.loop.stop()))
    house.run()
    assert house.calls == [1, 2, True]


def test_a_cancelled_timer_does_not_ring_and_cancelling_a_rung_one_does_nothing(house: Harness) -> None:
    rung = house.loop.later(0, house.note, "rung")
    house.loop.later(0, house.note, "cancelled").cancel()
    house.loop.later(0.001, lambda: (rung.cancel(), house.loop.stop()))
    house.run()
    assert house.calls == ["rung"]


def test_many_cancelled_timers_leave_the_heap_and_the_others_stay(house: Harness) -> None:
    house.loop.later(0.01, lambda: (house.note("kept"), house.loop.stop()))
    for _ in range(4 * CLUTTER):
        house.loop.later(3600, house.note, "cancelled").cancel()
    assert len(house.loop._timers) <= 2 * CLUTTER + 2
    house.run()
    assert house.calls == ["kept"]


def test_soon_is_the_next_turn_and_not_this_one(house: Harness) -> None:
    def first() -> None:
        house.loop.soon(lambda: (house.note("second"), house.loop.stop()))
        house.note("first")

    house.loop.soon(first)
    house.loop.soon(house.note, "beside")
    house.loop.soon(house.note, "cancelled").cancel()
    house.run()
    assert house.calls == ["first", "beside", "second"]


def test_a_descriptor_is_told_of_while_it_can_be_read_and_not_after_unwatch(
    house: Harness, pipe: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pipe

    def read() -> None:
        house.note(near.recv(1))
        if len(house.calls) == 3:
            house.loop.unwatch(near.fileno())
            house.loop.later(0.01, house.loop.stop)

    house.loop.watch(near.fileno(), read)
    far.send(b"abcd")
    house.run()
    assert house.calls == [b"a", b"b", b"c"]


def test_reading_and_writing_are_watched_apart(house: Harness, pipe: tuple[socket.socket, socket.socket]) -> None:
    near, far = pipe
    fd = near.fileno()

    def writable() -> None:
        house.note("room")
        house.loop.unwatch_write(fd)
        far.send(b"x")

    house.loop.watch(fd, lambda: (house.note(near.recv(1)), house.loop.stop()))
    house.loop.watch_write(fd, writable)
    house.run()
    assert house.calls == ["room", b"x"]


def test_the_end_of_a_peer_reaches_whoever_reads(house: Harness, pipe: tuple[socket.socket, socket.socket]) -> None:
    near, far = pipe
    house.loop.watch(near.fileno(), lambda: (house.note(near.recv(1)), house.loop.stop()))
    far.close()
    house.run()
    assert house.calls == [b""]


def test_who_was_unwatched_in_this_turn_is_not_called_in_it_though_its_number_is_given_to_another(
    house: Harness,
) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    for _, far in pairs:
        far.send(b"x")

    def read(number: int) -> None:
        house.note(number)
        other = pairs[1 - number][0]
        fd = other.fileno()
        house.loop.unwatch(fd)
        other.close()
        fresh, silent = socket.socketpair()  # one of them gets the number that was free a moment ago
        pairs.append((fresh, silent))
        house.loop.watch(fresh.fileno(), house.note, "nothing has come for it")
        house.loop.unwatch(pairs[number][0].fileno())
        house.loop.later(0.01, house.loop.stop)

    for number in range(2):
        house.loop.watch(pairs[number][0].fileno(), read, number)
    house.run()
    assert len(house.calls) == 1
    for pair in pairs:
        for end in pair:
            end.close()


def test_a_descriptor_that_was_closed_before_it_was_unwatched_harms_nobody(house: Harness) -> None:
    near, far = socket.socketpair()
    fd = near.fileno()
    house.loop.watch(fd, house.note, "gone")
    near.close()
    fresh = os.dup2(far.fileno(), fd)
    house.loop.watch(fresh, lambda: (house.note("replaced"), house.loop.stop()))
    house.run()
    house.loop.unwatch(fresh)
    house.loop.watch(fresh, lambda: (house.note("new"), house.loop.stop()))
    house.run()
    assert house.calls == ["replaced", "new"]  # its peer has gone, which can be read
    house.loop.unwatch(fd)
    os.close(fd)
    far.close()


def test_what_a_call_raises_is_told_and_the_loop_goes_on(
    house: Harness, pipe: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pipe

    def broken(what: str) -> None:
        raise ValueError(what)

    def read() -> None:
        near.recv(1)
        broken("reader")

    house.loop.watch(near.fileno(), read)
    far.send(b"x")
    house.loop.soon(broken, "soon")
    house.loop.later(0, broken, "timer")
    house.loop.later(0.02, house.loop.stop)
    house.run()
    assert sorted(str(bug) for bug in house.bugs) == ["reader", "soon", "timer"]


def test_a_signal_is_noted_at_once_and_dealt_with_by_the_loop(house: Harness) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    try:
        house.loop.on_signal(signal.SIGUSR1, lambda: (house.note("signal"), house.loop.stop()))
        signal.raise_signal(signal.SIGUSR1)
        assert house.calls == []
        house.run()
        assert house.calls == ["signal"]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_an_idle_loop_does_not_turn(house: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = []
    poll = select.epoll()
    monkeypatch.setattr(house.loop, "vigil", Vigil(_Counting(poll, turns).poll))
    house.loop.later(0.05, house.loop.stop)
    house.loop.run()
    assert len(turns) == 1
    poll.close()


class _Counting:
    def __init__(self, epoll: select.epoll, turns: list[float | None]) -> None:
        self._epoll, self._turns = epoll, turns

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        self._turns.append(timeout)
        return self._epoll.poll(timeout)

    def close(self) -> None:
        self._epoll.close()
