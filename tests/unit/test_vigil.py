"""How long the loop stays awake: with a hand-turned clock, and events that come when the test says."""

from __future__ import annotations

import os
import select
import time

import pytest

from stokerd.vigil import FIRST, LONGEST_REST, REST, SPARE, WEIGH, IdleTime, Vigil

MOST = 0.0004
LOOK = 0.000002
"""Seconds that one look takes."""
EVENT = [(7, select.EPOLLIN)]


class Rig:
    """A vigil whose events come so many seconds after each wait begins."""

    def __init__(self, *, crowded: bool = False, known: bool = True) -> None:
        self.now = 100.0
        self.comes_at = 0.0
        self.looks = self.sleeps = 0
        self.crowded = crowded
        self.idle = 0.0
        self.vigil = Vigil(self.poll, (lambda: self.idle) if known else (lambda: None), lambda: self.now)
        self.vigil.set(MOST)

    def poll(self, patience: float | None) -> list[tuple[int, int]]:
        if patience == 0:
            self.looks += 1
            self.now += LOOK
            return EVENT if self.now >= self.comes_at else []
        self.sleeps += 1
        if patience is not None and self.now + patience < self.comes_at:
            self.now += patience
            return []
        self.now = max(self.now, self.comes_at)
        return EVENT

    def wait(self, after: float, patience: float | None = None) -> list[tuple[int, int]]:
        began = self.now
        self.comes_at = began + after
        self.looks = self.sleeps = 0
        found = self.vigil.wait(patience)
        self.idle += (SPARE / 2 if self.crowded else 2 * SPARE) * (self.now - began)
        return found


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


def test_it_stays_awake_where_events_follow_close_upon_each_other():
    rig = Rig()
    for _ in range(5):
        assert rig.wait(0.0003) == EVENT
    assert rig.wait(0.0003) == EVENT
    assert rig.sleeps == 0
    assert rig.looks > 10


def test_the_window_is_no_longer_than_it_has_to_be():
    rig = Rig()
    rig.wait(FIRST / 2)
    rig.wait(10.0)
    assert rig.looks * LOOK == pytest.approx(FIRST, abs=2 * LOOK)


@pytest.mark.parametrize("after", [2 * MOST, 0.01, 5.0])
def test_it_sleeps_where_they_do_not(after: float):
    rig = Rig()
    for _ in range(5):
        rig.wait(0.0003)
    rig.wait(after)  # this once it was awake in vain
    for _ in range(3):
        assert rig.wait(after) == EVENT
        assert (rig.looks, rig.sleeps) == (0, 1)


def test_patience_is_kept_to_awake_or_asleep():
    rig = Rig()
    for _ in range(5):
        rig.wait(0.0003)
    began = rig.now
    assert rig.wait(1.0, patience=0.0001) == []
    assert rig.now - began == pytest.approx(0.0001, abs=2 * LOOK)
    began = rig.now
    assert rig.wait(1.0, patience=0.01) == []
    assert rig.now - began == pytest.approx(0.01, abs=2 * LOOK)


def test_who_may_not_wait_looks_once():
    rig = Rig()
    for _ in range(5):
        rig.wait(0.0003)
    assert rig.wait(1.0, patience=0) == []
    assert (rig.looks, rig.sleeps) == (1, 0)


def awake(rig: Rig, seconds: float) -> float:
    """The share of waits, for so long, in which it was awake."""
    until, waits, looked = rig.now + seconds, 0, 0
    while rig.now < until:
        rig.wait(0.0003)
        waits += 1
        looked += rig.looks > 0
    return looked / waits


def test_where_others_want_the_core_it_sleeps_and_looks_again_more_and_more_seldom():
    rig = Rig()
    assert awake(rig, 1.0) > 0.9
    rig.crowded = True
    awake(rig, 2 * WEIGH)
    assert awake(rig, 1.0) < (WEIGH + 0.01) / (WEIGH + REST)
    assert awake(rig, 60.0) < 2 * WEIGH / LONGEST_REST
    rig.crowded = False
    awake(rig, LONGEST_REST + 1.0)
    assert awake(rig, 1.0) > 0.9


@pytest.mark.parametrize("most", [0.0, MOST])
def test_it_always_sleeps_where_it_is_told_to_or_can_not_know_whether_others_want_the_core(most: float):
    rig = Rig(known=most == 0.0)
    rig.vigil.set(most)
    for _ in range(5):
        assert rig.wait(0.0001) == EVENT
        assert (rig.looks, rig.sleeps) == (0, 1)


@pytest.mark.parametrize("cores", [1, 4])
def test_it_always_sleeps_where_there_is_one_core_or_it_may_not_use_all(monkeypatch: pytest.MonkeyPatch, cores: int):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    rig = Rig()
    for _ in range(5):
        rig.wait(0.0001)
        assert (rig.looks, rig.sleeps) == (0, 1)


def test_the_kernel_s_count_of_idle_time_only_grows():
    idle = IdleTime()
    before = idle.read()
    assert before is not None
    assert before > 0
    time.sleep(0)
    after = idle.read()
    assert after is not None
    assert after >= before
