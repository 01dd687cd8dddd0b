"""The depot: whose segments are whose, and what becomes of them when somebody dies."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.clocks import HandClock

from stoker.errors import InvalidParams, NoSharedMemory, UnknownSegment
from stoker.protocol.segments import HEAD, LARGE, RETIRED, USED, Segment
from stokerd.depot import IDLE, SETTLE, Depot, Lot


class Worker:
    """Hears what a worker would."""

    def __init__(self) -> None:
        self.room = -1
        self.forgotten: list[Lot] = []

    def grant(self, room: int) -> None:
        """See :class:`~stokerd.depot.Party`."""
        self.room = room

    def forget_segment(self, lot: Lot) -> None:
        """See :class:`~stokerd.depot.Party`."""
        self.forgotten.append(lot)


class House:
    """A depot, a clock, and segments as clients and workers make them."""

    def __init__(self, limit: int = 100 * LARGE, most: int = 100) -> None:
        self.clock = HandClock()
        self.depot = Depot(self.clock, limit, most)
        self.made: list[Segment] = []

    def lot(self, maker: str, name: int = 1) -> tuple[Segment, Lot]:
        """One that somebody has made and passed."""
        segment = Segment.make(name, LARGE)
        self.made.append(segment)
        return segment, self.depot.adopt(maker, name, os.dup(segment.fd))


@pytest.fixture
def house() -> Iterator[House]:
    """One."""
    made = House()
    yield made
    made.depot.close()
    assert made.depot.nbytes == 0


def test_it_counts_what_there_is(house: House) -> None:
    _, lot = house.lot("s1")
    assert house.depot.nbytes == lot.size == LARGE + HEAD
    assert house.depot.find("s1", 1) is lot
    with pytest.raises(UnknownSegment):
        house.depot.find("s2", 1)


def test_what_is_no_segment_is_refused_and_closed(house: House) -> None:
    fd = os.memfd_create("not sealed")
    os.ftruncate(fd, 2 * HEAD)
    with pytest.raises(InvalidParams):
        house.depot.adopt("s1", 1, fd)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


def test_beyond_its_limit_it_takes_no_more_from_clients() -> None:
    house = House(limit=3 * LARGE)
    house.lot("s1", 1)
    house.lot("s1", 2)
    with pytest.raises(NoSharedMemory):
        house.lot("s1", 3)
    house.depot.close()


def test_workers_are_granted_what_is_left_together_no_more(house: House) -> None:
    one, other = Worker(), Worker()
    house.depot.join("w1", one)
    assert one.room == house.depot.limit
    house.depot.join("w2", other)
    house.lot("w1")
    assert one.room == other.room == (house.depot.limit - LARGE - HEAD) // 2


def test_what_is_not_used_makes_room_where_others_want_some() -> None:
    house = House(limit=3 * LARGE)
    for name in (1, 2):
        segment, _ = house.lot("s1", name)
        segment.free()
    house.clock.turn(2)
    with pytest.raises(NoSharedMemory):
        house.lot("s2", 1)
    house.clock.turn(2 * SETTLE)
    house.lot("s2", 2)
    assert all(segment.retired for segment in house.made[:2])
    house.depot.close()


def test_what_nobody_uses_is_given_back_after_a_while(house: House) -> None:
    segment, lot = house.lot("s1")
    segment.free()
    house.clock.turn(IDLE)
    house.clock.turn(SETTLE)
    assert segment.retired
    assert lot.fd == -1
    assert len(house.depot) == 0
    assert os.fstat(segment.fd).st_blocks * 512 <= 2 * HEAD


def test_what_somebody_has_begun_to_fill_when_it_is_retired_is_still_taken(house: House) -> None:
    segment, lot = house.lot("s1")
    segment.free()
    house.clock.turn(IDLE)
    segment.words[USED] = 1
    house.clock.turn(SETTLE)
    assert house.depot.find("s1", 1) is lot


def test_what_is_used_is_left_alone_however_long(house: House) -> None:
    _, lot = house.lot("s1")
    house.clock.turn(10 * IDLE)
    assert house.depot.find("s1", 1) is lot
    assert not lot.word(RETIRED)


def test_what_a_dead_client_made_goes_with_it_but_not_from_under_a_job(house: House) -> None:
    _, idle = house.lot("s1", 1)
    _, wanted = house.lot("s1", 2)
    turn = wanted.lend()
    house.depot.leave("s1")
    assert idle.fd == -1
    assert wanted.fd >= 0
    house.depot.ended(wanted, turn)
    assert wanted.fd == -1


def test_what_a_dead_client_held_is_retired_and_its_maker_told(house: House) -> None:
    worker = Worker()
    house.depot.join("w1", worker)
    _, lot = house.lot("w1")
    assert house.depot.pass_on(lot, "s1")
    assert not house.depot.pass_on(lot, "s1")
    house.depot.leave("s1")
    assert lot.word(RETIRED)
    assert worker.forgotten == [lot]
    house.depot.dropped("w1", 1)
    assert len(house.depot) == 0


def test_what_a_client_has_freed_stays_its_makers_when_the_client_dies(house: House) -> None:
    house.depot.join("w1", Worker())
    segment, lot = house.lot("w1")
    house.depot.pass_on(lot, "s1")
    segment.free()
    house.depot.leave("s1")
    assert not lot.word(RETIRED)


def test_what_a_dead_worker_may_still_have_had_in_its_hands_is_retired(house: House) -> None:
    _, lot = house.lot("s1")
    house.depot.join("w1", Worker())
    turn = lot.lend()
    lot.known.add("w1")
    lot.begun = lot.answered = True
    house.depot.ended(lot, turn)
    house.depot.leave("w1")
    assert lot.fd == -1
    assert house.made[0].retired


def test_a_job_that_no_worker_has_seen_leaves_its_segment_free(house: House) -> None:
    segment, lot = house.lot("s1")
    turn = lot.lend()
    house.depot.ended(lot, turn)
    assert not segment.used
    assert not segment.retired


def test_a_job_that_is_heard_to_have_ended_late_takes_nothing_from_the_one_after_it(house: House) -> None:
    _, lot = house.lot("s1")
    house.depot.join("w1", Worker())
    before, now = lot.lend(), lot.lend()
    lot.answer(before)
    house.depot.ended(lot, before)
    assert lot.wanted
    assert not lot.answered
    house.depot.leave("w1")
    assert lot.fd >= 0
    lot.answer(now)
    house.depot.ended(lot, now)
    assert not lot.wanted


def test_a_job_whose_worker_died_has_its_segment_retired(house: House) -> None:
    segment, lot = house.lot("s1")
    turn = lot.lend()
    lot.begun = True
    house.depot.ended(lot, turn)
    assert segment.retired


def test_a_value_that_nobody_is_left_to_take_is_free_again(house: House) -> None:
    house.depot.join("w1", Worker())
    segment, lot = house.lot("w1")
    house.depot.unheard(lot)
    assert not segment.used


def test_a_worker_is_told_of_what_it_knows_and_is_gone(house: House) -> None:
    worker = Worker()
    house.depot.join("w1", worker)
    _, lot = house.lot("s1")
    lot.known.add("w1")
    house.depot.leave("s1")
    assert worker.forgotten == [lot]
