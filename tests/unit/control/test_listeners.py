"""Who listens to the bus, and who leaves when nothing happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.clocks import HandClock

from stoker.protocol.events import DaemonDraining, Event, SessionClosed
from stokerd.bus import Bus
from stokerd.idle import IdleExit
from stokerd.journal import Journal

EVENT = DaemonDraining(grace=1.0)


def test_events_are_numbered_and_told_to_every_listener_in_order() -> None:
    told: list[tuple[str, int, float, Event]] = []
    bus = Bus(lambda: 12.5)
    bus.listen(lambda seq, time, event: told.append(("a", seq, time, event)))
    bus.listen(lambda seq, time, event: told.append(("b", seq, time, event)))
    assert [bus.emit(EVENT), bus.emit(EVENT)] == [1, 2]
    assert bus.seq == 2
    assert told == [(name, seq, 12.5, EVENT) for seq in (1, 2) for name in "ab"]


def test_a_listener_that_fails_costs_nobody_the_event() -> None:
    told: list[int] = []
    bugs: list[Exception] = []
    bus = Bus(lambda: 0.0, bugs.append)

    def trips(_seq: int, _time: float, _event: Event) -> None:
        raise ValueError("tripped")

    bus.listen(trips)
    bus.listen(lambda seq, _time, _event: told.append(seq))
    assert bus.emit(EVENT) == 1
    assert told == [1]
    assert [str(bug) for bug in bugs] == ["tripped"]


# --- the journal


def filled(size: int, count: int) -> Journal:
    journal = Journal(size)
    for seq in range(1, count + 1):
        journal.note(seq, float(seq), EVENT)
    return journal


@pytest.mark.parametrize(
    ("count", "after", "limit", "found", "gap"),
    [
        (0, 0, 10, [], False),
        (3, 0, 10, [1, 2, 3], False),
        (3, 2, 10, [3], False),
        (3, 3, 10, [], False),
        (3, 99, 10, [], False),
        (8, 0, 10, [4, 5, 6, 7, 8], True),
        (8, 3, 10, [4, 5, 6, 7, 8], False),
        (8, 2, 10, [4, 5, 6, 7, 8], True),
        (5, 0, 2, [4, 5], True),
        (5, 3, 2, [4, 5], False),
    ],
)
def test_the_journal_tells_the_newest_events_and_whether_some_are_missing(
    count: int, after: int, limit: int, found: list[int], gap: bool
) -> None:
    events, missing = filled(5, count).since(after, limit)
    assert [seq for seq, _, _ in events] == found
    assert missing is gap


def test_of_a_topic_the_journal_tells_as_many_as_are_asked_for() -> None:
    journal = Journal(10)
    for seq in range(1, 9):  # every other one is of another topic
        journal.note(seq, 1.0, EVENT if seq % 2 else SessionClosed(session="s", reason="r"))
    for topic in ("session.closed", "session"):
        found, missing = journal.since(0, 3, topic)
        assert ([seq for seq, _, _ in found], missing) == ([4, 6, 8], True)
        assert journal.since(0, 4, topic)[1] is False
    assert journal.since(0, 4, "nothing") == ([], False)


@given(st.integers(1, 20), st.integers(0, 50), st.integers(0, 60), st.integers(1, 30))
def test_without_a_gap_nothing_is_missing(size: int, count: int, after: int, limit: int) -> None:
    events, missing = filled(size, count).since(after, limit)
    numbers = [seq for seq, _, _ in events]
    assert missing is (numbers != list(range(after + 1, count + 1)))
    assert len(numbers) <= min(size, limit)


# --- leaving


class Rig:
    def __init__(self, seconds: float) -> None:
        self.clock = HandClock()
        self.busy = False
        self.left: list[float] = []
        self.idle = IdleExit(self.clock, seconds, lambda: self.busy, lambda: self.left.append(self.clock.now))
        self.start = self.clock.now


def test_it_leaves_when_nobody_asked_for_anything_for_so_long() -> None:
    rig = Rig(10)
    rig.clock.turn(9.9)
    assert not rig.left
    rig.clock.turn(0.1)
    assert rig.left == [rig.start + 10]
    rig.clock.turn(100)
    assert len(rig.left) == 1


def test_a_question_puts_it_off_by_the_whole_time() -> None:
    rig = Rig(10)
    rig.clock.turn(6)
    rig.idle.touch()
    rig.clock.turn(9.9)
    assert not rig.left
    rig.clock.turn(0.2)
    assert rig.left == [rig.start + 16]


def test_while_busy_it_stays_and_afterwards_waits_again() -> None:
    rig = Rig(10)
    rig.busy = True
    rig.clock.turn(35)
    rig.busy = False
    assert not rig.left
    rig.clock.turn(10)
    assert rig.left == [rig.start + 40]


def test_zero_means_never_and_costs_no_timer() -> None:
    rig = Rig(0)
    assert rig.clock.pending() == 0
    rig.clock.turn(1e9)
    assert not rig.left
