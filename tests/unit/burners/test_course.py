"""A timeline that is followed in real time, on a clock that is turned by hand."""

from __future__ import annotations

import itertools

import pytest
from tests.clocks import HandClock

from stokerd.burners.course import Course
from stokerd.burners.timeline import constant, followed


class Followed:
    """A course, and what it told."""

    def __init__(self, text: str) -> None:
        self.clock = HandClock()
        self.moves: list[tuple[float, float, bool]] = []
        self.ended = 0
        timeline = followed(text) if text else constant(60)
        self.course = Course(self.clock, timeline, self._moved, self._end)
        self.begin = self.clock.now

    def _moved(self, jump: bool) -> None:
        self.moves.append((round(self.clock.now - self.begin, 6), self.course.target, jump))

    def _end(self) -> None:
        self.ended += 1


def test_before_it_runs_its_first_level_is_asked_for() -> None:
    found = Followed("ramp 30->80 over 10s")
    found.clock.turn(100)
    assert (found.course.target, found.moves, found.clock.pending()) == (30, [], 0)


def test_a_level_for_ever_costs_no_timer() -> None:
    found = Followed("")
    found.course.run()
    assert (found.course.target, found.clock.pending()) == (60, 0)


def test_steps_are_told_when_they_come_as_jumps() -> None:
    found = Followed("hold 10s @60, step 20 for 5s, hold 5s @21")
    found.course.run()
    found.clock.turn(30)
    assert found.moves == [(10, 20, True), (15, 21, False)]
    assert (found.ended, found.clock.pending()) == (1, 0)


def test_a_ramp_is_many_small_moves_and_no_jump() -> None:
    found = Followed("ramp 0->80 over 10s, hold 5s")
    found.course.run()
    found.clock.turn(15)
    assert len(found.moves) > 100
    assert not any(jump for _, _, jump in found.moves)
    targets = [target for _, target, _ in found.moves]
    assert targets == sorted(targets)
    assert targets[-1] == pytest.approx(80)
    assert found.ended == 1


class LateClock(HandClock):
    """Every call comes some milliseconds after it was due."""

    def later(self, seconds, call, *args):
        return super().later(seconds + 0.03, call, *args)


@pytest.mark.parametrize("text", ["ramp 0->80 over 10s", "sine 50±40 period 3s for 10s", "saw 5->90 period 2s for 10s"])
def test_the_sum_of_what_was_asked_is_that_of_the_profile_even_if_the_timer_is_late(text: str) -> None:
    clock = LateClock()
    asked: list[tuple[float, float]] = []
    course = Course(clock, followed(text), lambda jump: asked.append((clock.now, course.target)), lambda: None)
    course.run()
    begin, timeline = clock.now, course.timeline
    asked.append((begin, course.target))
    clock.turn(9.5)
    asked.append((clock.now, 0.0))
    total = sum(level * (later - at) for (at, level), (later, _) in itertools.pairwise(asked))
    assert total == pytest.approx(timeline.area(begin, clock.now), abs=100 * 0.03)  # what the last slice still owes


def test_while_it_stands_nothing_moves_and_then_it_goes_on() -> None:
    found = Followed("ramp 0->80 over 10s, step 5 for 10s")
    found.course.run()
    found.clock.turn(5)
    found.course.stand()
    count = len(found.moves)
    found.clock.turn(1000)
    assert len(found.moves) == count
    assert found.clock.pending() == 0
    assert found.course.target == pytest.approx(40)
    found.course.run()
    found.clock.turn(15)
    assert found.ended == 1


def test_who_was_stopped_for_long_does_not_catch_up() -> None:
    found = Followed("ramp 0->80 over 1h, hold 1m")
    found.course.run()
    found.clock.now += 1800  # the machine slept: no timer fired
    found.clock.turn(0)
    assert found.course.target <= 40 + 25 / 0.05
    found.clock.turn(5)
    assert found.course.target == pytest.approx(40, abs=1)


def test_another_timeline_is_followed_at_once() -> None:
    found = Followed("hold 10s @60")
    found.course.run()
    found.course.follow(constant(5).run(found.clock.now))
    found.clock.turn(100)
    assert (found.course.target, found.ended, found.moves) == (5, 0, [])


def test_what_is_cancelled_tells_nothing_more() -> None:
    found = Followed("hold 10s @60, hold 10s @5")
    found.course.run()
    found.course.cancel()
    found.clock.turn(100)
    assert (found.moves, found.ended) == ([], 0)
