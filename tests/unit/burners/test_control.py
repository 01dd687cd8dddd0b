"""The control law and the loop around it, on a clock that only burning and sleeping move."""

from __future__ import annotations

import mmap
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stokerd.burners.burn import OBSERVED_TICKS, Clocks, run
from stokerd.burners.control import CLAMP, PERIOD, Grid, Ledger
from stokerd.burners.page import PAGE_BYTES, Order, Page, Record
from stokerd.burners.reading import read

CHUNK = 50e-6


class Machine:
    """A core that gives a process ``share(wall)`` of itself; a chunk takes 50 µs of CPU time."""

    def __init__(self, share=lambda wall: 1.0) -> None:
        self.wall, self.cpu, self.share = 1000.0, 5.0, share
        self.page = Page(mmap.mmap(-1, PAGE_BYTES))
        self.records: list[Record] = []
        self.observed = 0
        self.script: list[tuple[float, Order]] = []

    def chunk(self) -> None:
        self.cpu += CHUNK
        self.wall += CHUNK / self.share(self.wall)

    def sleep(self, seconds: float) -> None:
        self.wall += seconds
        self._wall()

    def _wall(self) -> float:
        while self.script and self.wall >= self.script[0][0]:
            self.page.give(self.script.pop(0)[1])
        newest = self.page.newest()
        if newest is not None and (not self.records or self.records[-1].tick != newest.tick):
            self.records.append(newest)
        return self.wall

    def run(self, *script: tuple[float, float], seconds: float) -> list[Record]:
        """Targets from when on, seconds from the start; returns a record for each tick."""
        end = self.wall + seconds
        self.script = [(self.wall + at, Order(n, target, end)) for n, (at, target) in enumerate(script, 1)]
        run(self.page, self.chunk, Clocks(self._wall, lambda: self.cpu, self.sleep), Grid(0.3), self._note)
        self._wall()
        return self.records

    def _note(self) -> None:
        self.observed += 1


def shares(first: Record, last: Record) -> tuple[float, float, float]:
    """Target, achieved and shortfall as the control law defines them."""
    wall = last.wall - first.wall
    return (
        (last.wanted - first.wanted) / wall,
        (last.cpu - first.cpu) / wall,
        (last.forgiven - first.forgiven + last.debt - first.debt) / wall,
    )


@pytest.mark.parametrize("load", [0.01, 0.1, 0.33, 0.5, 0.6, 0.9, 0.99])
def test_a_free_core_gets_the_target_to_within_one_chunk(load: float) -> None:
    records = Machine().run((0, load), seconds=3)
    burnt = records[-1].cpu - records[0].cpu
    assert burnt == pytest.approx(load * (records[-1].wall - records[0].wall), abs=2 * CHUNK)


def test_a_target_of_100_burns_all_of_the_core() -> None:
    records = Machine().run((0, 1.0), seconds=2)
    assert shares(records[0], records[-1])[1] == pytest.approx(1.0, abs=1e-3)


def test_a_target_of_0_burns_nothing_and_is_observed_by_its_ticks() -> None:
    machine = Machine()
    records = machine.run((0, 0.0), seconds=0.5)
    assert records[-1].cpu == 0
    assert machine.observed == 1


@pytest.mark.parametrize(("before", "after"), [(0.2, 0.8), (0.8, 0.2), (1.0, 0.0), (0.0, 1.0)])
def test_a_step_settles_within_two_ticks(before: float, after: float) -> None:
    records = Machine().run((0, before), (1.0, after), seconds=2)
    step = next(record for record in records if record.epoch == 2)
    assert step.wall - 1001.0 <= 2 * PERIOD
    for record in records[step.tick + 1 :]:
        achieved = (record.cpu - records[record.tick - 2].cpu) / (record.wall - records[record.tick - 2].wall)
        assert achieved == pytest.approx(after, abs=2 * CHUNK / PERIOD)


def test_half_a_core_suffices_for_half_a_target() -> None:
    records = Machine(share=lambda wall: 0.5).run((0, 0.5), seconds=2)
    target, achieved, shortfall = shares(records[0], records[-1])
    assert achieved == pytest.approx(target, abs=CLAMP / 2 + 1e-3)
    assert achieved + shortfall == pytest.approx(target)


def test_what_a_starved_process_cannot_catch_up_is_forgiven_and_reported() -> None:
    records = Machine(share=lambda wall: 0.25).run((0, 0.75), seconds=2)
    target, achieved, shortfall = shares(records[20], records[-1])
    assert achieved == pytest.approx(0.25, abs=0.01)
    assert shortfall == pytest.approx(0.5, abs=0.01)
    assert achieved + shortfall == pytest.approx(target)
    assert records[-1].forgiven == pytest.approx(1.0, abs=0.1)


def test_after_a_famine_at_most_the_clamp_is_caught_up() -> None:
    records = Machine(share=lambda wall: 0.05 if wall < 1001 else 1.0).run((0, 0.5), seconds=2)
    famine = next(record for record in records if record.wall >= 1001)
    _, achieved, _ = shares(famine, records[-1])
    seconds = records[-1].wall - famine.wall
    assert (achieved - 0.5) * seconds == pytest.approx(CLAMP, abs=PERIOD)


def test_missed_edges_are_skipped_and_the_grid_does_not_move() -> None:
    grid = Grid(0.3)
    assert grid.after(10.0) == pytest.approx(10.003)
    assert grid.after(10.003) == pytest.approx(10.013)
    assert grid.after(10.0479) == pytest.approx(10.053)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1),  # target
            st.floats(1e-4, 3),  # wall seconds
            st.floats(0, 1),  # share of them that was burnt
        ),
        min_size=2,
        max_size=60,
    )
)
def test_achieved_and_shortfall_add_up_to_the_target_whatever_happens(steps) -> None:
    ledger, now, used = Ledger(7.0, 3.0), 7.0, 3.0
    ledger.settle(now, used)
    first = Record(1, 1, 1, 0, ledger.at, ledger.cpu, ledger.wanted, ledger.forgiven)
    asked = 0.0
    for target, seconds, share in steps:
        ledger.target = target
        asked += target * seconds
        now, used = now + seconds, used + seconds * share
        ledger.settle(now, used)
        assert abs(ledger.debt) <= CLAMP + 1e-9
    last = Record(2, 1, 1, 0, ledger.at, ledger.cpu, ledger.wanted, ledger.forgiven)
    target, achieved, shortfall = shares(first, last)
    assert achieved + shortfall == pytest.approx(target, abs=1e-9)
    assert target * (now - 7.0) == pytest.approx(asked)
    assert achieved * (now - 7.0) == pytest.approx(used - 3.0)


def test_a_noisy_core_below_the_fair_share_leaves_no_error_behind() -> None:
    noise = random.Random(5)
    records = Machine(share=lambda wall: noise.uniform(0.3, 1.0)).run((0, 0.3), seconds=5)
    target, achieved, _ = shares(records[0], records[-1])
    assert achieved == pytest.approx(target, abs=1e-3)


def test_the_process_ends_by_itself_at_its_deadline() -> None:
    records = Machine().run((0, 0.5), seconds=1)
    assert records[-1].wall == pytest.approx(1001.0, abs=2 * PERIOD)


def test_the_process_ends_at_the_tick_after_the_stop_flag() -> None:
    machine = Machine()
    machine.script = [(1000.0, Order(1, 0.5, float("inf"))), (1000.5, Order(1, 0.5, float("inf"), stop=True))]
    run(machine.page, machine.chunk, Clocks(machine._wall, lambda: machine.cpu, machine.sleep), Grid(), machine._note)
    assert machine.wall <= 1000.5 + 2 * PERIOD


def test_nothing_is_burnt_before_there_is_an_order() -> None:
    machine = Machine()
    order = Order(1, 1.0, 1001.2)
    clocks = Clocks(machine._wall, lambda: machine.cpu, machine.sleep)
    machine.script = [(1001.0, order)]
    run(machine.page, machine.chunk, clocks, Grid(), machine._note)
    assert machine.records[0].wall >= 1001.0
    assert machine.records[0].cpu == 0


def test_every_new_target_is_observed_once_after_its_first_ticks() -> None:
    machine = Machine()
    records = machine.run((0, 0.2), (0.5, 0.8), (1.0, 0.8), seconds=2)
    assert machine.observed == 3
    seen = [next(r for r in records if r.observed == epoch) for epoch in (1, 2, 3)]
    assert [r.tick - r.since for r in seen] == [OBSERVED_TICKS] * 3


def test_a_load_that_burns_nothing_is_never_observed() -> None:
    machine = Machine()
    machine.chunk = lambda: machine.sleep(CHUNK)  # type: ignore[method-assign]
    machine.run((0, 0.5), seconds=1)
    assert machine.observed == 0


def test_the_figures_of_the_last_second_add_up_and_show_the_new_target_only() -> None:
    machine = Machine()
    machine.run((0, 0.2), (1.0, 0.8), seconds=1.5)
    reading = read(machine.page, machine.wall)
    assert reading is not None
    assert reading.target == pytest.approx(0.8)
    assert reading.achieved == pytest.approx(0.8, abs=0.01)
    assert reading.achieved + reading.shortfall == pytest.approx(reading.target)
    assert 0.4 < reading.seconds <= 0.52


def test_the_figures_reach_back_one_second_and_no_further() -> None:
    machine = Machine(share=lambda wall: 0.1 if wall < 1002 else 1.0)
    machine.run((0, 0.5), seconds=3.5)
    reading = read(machine.page, machine.wall)
    assert reading is not None
    assert reading.seconds == pytest.approx(1.0, abs=PERIOD)
    assert reading.achieved == pytest.approx(0.5, abs=0.01)
    assert reading.cpu_seconds == pytest.approx(0.2 + 0.75 + CLAMP, abs=0.02)


def test_a_process_that_fell_silent_reads_as_falling_short() -> None:
    machine = Machine()
    machine.run((0, 0.6), seconds=2)
    later = read(machine.page, machine.wall + 0.5)
    assert later is not None
    assert later.silent == pytest.approx(0.5, abs=PERIOD)
    assert later.target == pytest.approx(0.6)
    assert later.achieved == pytest.approx(0.3, abs=0.02)
    assert later.achieved + later.shortfall == pytest.approx(later.target)
    dead = read(machine.page, machine.wall + 5)
    assert dead is not None
    assert (dead.target, dead.achieved, dead.shortfall) == pytest.approx((0.6, 0.0, 0.6))
