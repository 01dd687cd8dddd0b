"""The control law and the loop around it, on a clock that only burning and sleeping move."""

from __future__ import annotations

import mmap
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stokerd.burners.burn import run
from stokerd.burners.control import CLAMP, PERIOD, Grid, Ledger
from stokerd.burners.diary import OBSERVED_TICKS, Clocks
from stokerd.burners.kinds import Load
from stokerd.burners.page import PAGE_BYTES, Order, Page, Record
from stokerd.burners.reading import read

CHUNK = 50e-6


class Machine:
    """A core that gives a process ``share(wall)`` of itself; a chunk takes 50 µs of CPU time."""

    def __init__(self, share=lambda wall: 1.0) -> None:
        self.wall, self.cpu, self.share = 1000.0, 5.0, share
        self.page = Page(mmap.mmap(-1, PAGE_BYTES))
        self.records: list[Record] = []
        self.observed = self.rests = 0
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
        self.burn(Grid(0.3))
        self._wall()
        return self.records

    def burn(self, grid: Grid, credit: float = 0.0) -> None:
        load = Load(self.chunk, clock=lambda: self.cpu, credit=lambda: credit, work=lambda: self.cpu * 2)
        clocks = Clocks(self._wall, self.sleep, self.rest)
        run(self.page, load, clocks, grid, self._note)

    def rest(self, seconds: float) -> None:
        """Nothing to burn: woken by the next order, which rings."""
        self.rests += 1
        due = self.script[0][0] if self.script else float("inf")
        self.sleep(min(seconds, max(0.0, due - self.wall)))

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
    machine.burn(Grid())
    assert machine.wall <= 1000.5 + 2 * PERIOD


def test_nothing_is_burnt_before_there_is_an_order() -> None:
    machine = Machine()
    order = Order(1, 1.0, 1001.2)
    machine.script = [(1001.0, order)]
    machine.burn(Grid())
    assert machine.records[0].wall >= 1001.0
    assert machine.records[0].cpu == 0


def test_a_process_with_nothing_to_burn_rests_until_there_is_a_new_order_or_its_deadline() -> None:
    machine = Machine()
    machine.script = [
        (1000.0, Order(1, 0.0, 1100.0)),
        (1050.0, Order(2, 0.5, 1100.0)),
        (1051.0, Order(3, 0.0, 1100.0)),
    ]
    machine.burn(Grid())
    machine._wall()
    ticks = [record.wall for record in machine.records]
    assert machine.rests == 2
    assert not [wall for wall in ticks if 1000.2 < wall < 1049.9 or 1051.2 < wall < 1099.9]
    assert machine.wall == pytest.approx(1100.0, abs=2 * PERIOD)
    assert machine.observed == 3


def test_a_rest_is_neither_owed_nor_saved_up() -> None:
    machine = Machine()
    machine.script = [(1000.0, Order(1, 0.0, 1012.0)), (1010.0, Order(2, 0.5, 1012.0))]
    machine.burn(Grid())
    machine._wall()
    woken = [record for record in machine.records if record.epoch == 2]
    target, achieved, _ = shares(woken[0], woken[-1])
    assert target == pytest.approx(0.5)
    assert achieved == pytest.approx(0.5, abs=1e-3)
    assert woken[-1].forgiven == 0


def test_what_is_owed_is_burnt_before_a_rest() -> None:
    machine = Machine(share=lambda wall: 0.5)
    machine.run((0, 0.9), (1.0, 0.0), seconds=3)
    assert machine.records[-1].debt <= 0
    assert machine.rests > 0


def test_a_process_that_was_stopped_for_an_hour_catches_up_the_clamp_and_no_more() -> None:
    machine = Machine()
    stopped = []

    def sleep(seconds: float) -> None:
        if machine.wall > 1001 and not stopped:
            stopped.append(machine.wall)
            seconds = 3600.0
        Machine.sleep(machine, seconds)

    machine.sleep = sleep  # type: ignore[method-assign]
    records = machine.run((0, 0.5), seconds=3605)
    after = [record for record in records if record.wall > 4600]
    _, achieved, _ = shares(after[0], after[-1])
    assert (achieved - 0.5) * (after[-1].wall - after[0].wall) == pytest.approx(CLAMP, abs=PERIOD)
    assert records[-1].forgiven == pytest.approx(1800 - CLAMP, abs=0.02)


def test_chunks_longer_than_the_clamp_keep_the_target_where_they_have_credit_for_it() -> None:
    machine = Machine()

    def chunk() -> None:
        machine.cpu += 0.2
        machine.wall += 0.2

    machine.chunk = chunk  # type: ignore[method-assign]
    machine.script = [(1000.0, Order(1, 0.25, 1060.0))]
    machine.burn(Grid(), credit=0.15)
    last = machine.page.newest()
    assert last is not None
    assert last.cpu / (last.wall - 1000.0) == pytest.approx(0.25, abs=0.01)
    assert last.forgiven == pytest.approx(0.0, abs=0.01)


def test_without_credit_what_such_chunks_burn_too_much_is_forgiven_and_reported() -> None:
    machine = Machine()

    def chunk() -> None:
        machine.cpu += 0.2
        machine.wall += 0.2

    machine.chunk = chunk  # type: ignore[method-assign]
    machine.script = [(1000.0, Order(1, 0.25, 1060.0))]
    machine.burn(Grid())
    last = machine.page.newest()
    assert last is not None
    assert last.cpu / (last.wall - 1000.0) > 0.4
    assert last.forgiven < -5


def test_what_got_done_is_recorded_with_every_tick() -> None:
    records = Machine().run((0, 0.5), seconds=1)
    assert [record.work - records[0].work for record in records] == pytest.approx(
        [(record.cpu - records[0].cpu) * 2 for record in records]
    )


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
