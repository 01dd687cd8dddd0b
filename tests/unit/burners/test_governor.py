"""The law of the governor, on a machine that does what it is told a step later, and counts in steps of 10 ms."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from stokerd.burners.governor import DEBT_SECONDS, SLEW, Governor

STEP = 0.05


def run(
    target: float,
    others: Callable[[float], float],
    *,
    cores: float = 2.0,
    seconds: float = 20.0,
    grain: float = 0.0,
    most: float = 2.0,
) -> list[tuple[float, float]]:
    """Busy and own cores of each step."""
    governor, noise = Governor(), random.Random(3)
    seen, counted, steps = 0.0, 0.0, []
    for number in range(int(seconds / STEP)):
        own = governor.own
        busy = min(cores, own + others(number * STEP))
        seen += busy * STEP
        told = seen + noise.uniform(-grain, grain)
        governor.step(STEP, told - counted, min(own, max(0.0, busy)) * STEP, target, most, cores)
        counted = told
        steps.append((busy, own))
    return steps


def windows(steps: list[tuple[float, float]], seconds: float) -> list[float]:
    """The mean of busy in each stretch of so many seconds, from the third second on."""
    busy, count = [step[0] for step in steps], int(seconds / STEP)
    return [sum(busy[at : at + count]) / count for at in range(int(3 / STEP), len(busy) - count)]


def test_an_idle_machine_is_brought_to_the_target() -> None:
    steps = run(1.2, lambda at: 0.0)
    assert steps[-1] == pytest.approx((1.2, 1.2), abs=1e-6)


def test_what_others_use_is_left_to_them() -> None:
    steps = run(1.2, lambda at: 0.7)
    assert steps[-1] == pytest.approx((1.2, 0.5), abs=1e-6)


def test_a_machine_that_is_fuller_than_asked_for_gets_nothing_more() -> None:
    assert run(1.2, lambda at: 1.5)[-1][1] == 0.0


def test_after_a_time_of_overload_nothing_is_held_back_and_nothing_made_up_for() -> None:
    steps = run(1.2, lambda at: 1.8 if at < 10 else 0.0)
    after = [busy for busy, _ in steps[int(10.5 / STEP) :]]
    assert max(after) <= 1.2 + 0.2
    assert after[-1] == pytest.approx(1.2, abs=1e-6)


def test_a_foreign_load_that_comes_and_goes_leaves_one_point_of_error_at_most_over_five_seconds() -> None:
    for seconds in (2.0, 3.0, 5.0, 8.0):
        steps = run(1.2, lambda at, seconds=seconds: 1.0 if at % seconds >= seconds / 2 else 0.0, seconds=60.0)
        assert max(abs(mean - 1.2) for mean in windows(steps, 5.0)) <= 0.02


def test_counters_in_steps_of_10_ms_make_no_error_over_five_seconds() -> None:
    steps = run(1.2, lambda at: 0.4, grain=0.01, seconds=60.0)
    assert max(abs(mean - 1.2) for mean in windows(steps, 5.0)) <= 0.02


def test_what_is_ordered_never_jumps() -> None:
    steps = run(2.0, lambda at: 0.0)
    own = [step[1] for step in steps]
    assert max(abs(after - before) for before, after in itertools.pairwise(own)) <= SLEW * 2.0 * STEP + 1e-9


def test_a_debt_is_bounded() -> None:
    governor = Governor()
    for _ in range(1000):
        governor.step(STEP, 0.0, 0.0, 1.0, 2.0, 2.0)
        assert abs(governor.debt) <= DEBT_SECONDS * 2.0
        assert 0.0 <= governor.own <= 2.0


def test_no_time_is_no_step() -> None:
    governor = Governor()
    assert governor.step(0.0, 0.0, 0.0, 1.0, 2.0, 2.0) == 0.0
