"""Calibration of chunks."""

from __future__ import annotations

import pytest

from stokerd.burners.kinds import CHUNK_SECONDS, KINDS, calibrated


class Core:
    """A core on which one turn takes ``turn`` seconds, and every n-th sample ``slow`` times as long."""

    def __init__(self, turn: float, every: int = 0, slow: float = 1.0) -> None:
        self.now, self.turn, self.every, self.slow, self.samples = 0.0, turn, every, slow, 0
        self.turns = 0

    def clock(self) -> float:
        return self.now

    def work(self, turns: int) -> None:
        self.samples += 1
        self.turns = turns
        disturbed = self.every and self.samples % self.every
        self.now += turns * self.turn * (self.slow if disturbed else 1.0)


@pytest.mark.parametrize("turn", [1e-9, 40e-9, 3e-6])
def test_a_chunk_takes_50_microseconds_on_any_core(turn: float) -> None:
    core = Core(turn)
    calibrated(core.work, core.clock)()
    assert core.turns * turn == pytest.approx(CHUNK_SECONDS, rel=0.05)


def test_a_turn_longer_than_a_chunk_is_a_chunk() -> None:
    core = Core(1e-3)
    calibrated(core.work, core.clock)()
    assert core.turns == 1


def test_a_busy_host_does_not_make_chunks_smaller() -> None:
    core = Core(40e-9, every=4, slow=5.0)
    calibrated(core.work, core.clock)()
    assert core.turns * 40e-9 == pytest.approx(CHUNK_SECONDS, rel=0.05)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_makes_a_chunk_that_burns_cpu_time(name: str) -> None:
    kind = KINDS[name]
    chunk = kind.make()
    before = kind.clock()
    chunk()
    assert kind.clock() > before
    assert kind.unit
