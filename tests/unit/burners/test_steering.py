"""What becomes of a burner that is steered: its timeline, its time limit, and what its waiters see."""

from __future__ import annotations

import math
from typing import Any

import pytest

from stoker.errors import BadProfile, InvalidParams
from stoker.protocol.states import BurnerState
from stokerd.burners.registry import Burners
from stokerd.burners.steering import Steer


def up(burners: Burners, forker: Any, **more: Any) -> Any:
    start = burners.start("heat", 1, **more)
    forker.tick()
    return start.value()


def now(burners: Burners) -> Any:
    return burners.info()[0]


def left(burners: Burners, clock: Any) -> float:
    """Seconds until the burner ends by itself."""
    ends = now(burners).ends
    return math.inf if ends is None else round(ends - clock.time(), 6)


@pytest.mark.parametrize(
    ("start", "seconds"),
    [
        ({"profile": "hold 2h @30"}, 7200),
        ({"profile": "hold 2h @30", "seconds": 60.0}, 60),
        ({"profile": "hold 1m @30, step 5"}, 3600),
        ({"profile": "hold 1m @30; repeat forever"}, 3600),
        ({"profile": "hold 2h @30", "seconds": math.inf}, 7200),
        ({"profile": "step 5", "seconds": math.inf}, math.inf),
        ({"load": 30.0}, 3600),
    ],
)
def test_how_long_a_burner_runs_that_nobody_stops(burners, forker, clock, start, seconds) -> None:
    up(burners, forker, **start)
    assert left(burners, clock) == seconds


@pytest.mark.parametrize(
    ("start", "change", "seconds"),
    [
        ({"profile": "hold 2h @30"}, {"load": 40.0}, 3600),
        ({"profile": "hold 2h @30"}, {"steer": Steer(ramp_to=40.0)}, 3600),
        ({"profile": "hold 2h @30", "seconds": 60.0}, {"load": 40.0}, 50),
        ({"profile": "hold 2h @30", "seconds": 60.0}, {"steer": Steer(ramp_to=40.0)}, 50),
        ({"profile": "hold 2h @30"}, {"load": 40.0, "seconds": 99.0}, 99),
        ({"profile": "hold 2h @30"}, {"seconds": 99.0}, 99),
        ({"profile": "hold 2h @30"}, {"steer": Steer(profile="hold 3h @5")}, 10800),
        ({"profile": "hold 2h @30", "seconds": 60.0}, {"steer": Steer(profile="hold 3h @5")}, 10800),
        ({"load": 30.0, "seconds": 60.0}, {"steer": Steer(profile="step 5")}, 3600),
        ({"load": 30.0}, {"steer": Steer(profile="hold 3h @5"), "seconds": 30.0}, 30),
        ({"profile": "hold 2h @30, hold 1h @5"}, {"steer": Steer(skip=True)}, 3600),
        ({"profile": "hold 2h @30"}, {"steer": Steer(extend=600.0)}, 7790),
        ({"profile": "hold 2h @30"}, {"paused": True}, math.inf),
    ],
)
def test_how_long_it_runs_once_it_was_steered_ten_seconds_later(burners, forker, clock, start, change, seconds) -> None:
    up(burners, forker, **start)
    clock.turn(10)
    burners.set("heat", **change)
    assert left(burners, clock) == seconds


def test_it_ends_with_its_profile_and_says_so(burners, forker, clock, events) -> None:
    up(burners, forker, profile="hold 90s @30")
    clock.turn(91)
    assert "heat" not in burners
    assert events[-1].reason == "its profile of 1m30s is over"
    assert events[-1].state is BurnerState.STOPPED


def test_a_process_that_saw_the_end_before_the_daemon_did_is_no_failure(burners, forker, clock, events) -> None:
    up(burners, forker, profile="hold 90s @30")
    clock.now += 90
    forker.children[0].die(0)
    assert events[-1].reason == "its profile of 1m30s is over"


def test_its_processes_are_told_the_end(burners, forker, clock) -> None:
    up(burners, forker, profile="hold 90s @30")
    assert forker.children[0].sheet.order().deadline == pytest.approx(clock.now + 90)
    burners.set("heat", paused=True)
    assert forker.children[0].sheet.order().deadline == math.inf
    assert forker.children[0].sheet.order().target == 0


def test_its_processes_follow_the_levels(burners, forker, clock) -> None:
    up(burners, forker, profile="hold 10s @30, ramp 30->50 over 10s, step 5 for 10s")
    order = forker.children[0].sheet.order
    assert order().target == pytest.approx(0.30)
    clock.turn(15)
    assert order().target == pytest.approx(0.40, abs=0.01)
    epoch = order().epoch
    clock.turn(6)
    assert order().target == pytest.approx(0.05)
    assert order().epoch == epoch + 1  # figures of before the jump and after it are not mixed


def test_a_replaced_process_begins_at_the_present_level(burners, forker, clock) -> None:
    up(burners, forker, profile="hold 10s @30, hold 1h @40")
    clock.turn(20)
    forker.children[0].die(-9)
    assert len(forker.children) == 2
    assert forker.children[1].sheet.order().target == pytest.approx(0.40)
    assert now(burners).profile.position == 20


def test_before_its_load_is_observed_the_profile_does_not_run(burners, forker, clock) -> None:
    burners.start("heat", 1, profile="hold 10s @30, hold 10s @40")
    clock.turn(5)
    assert now(burners).profile.position == 0
    forker.tick()
    clock.turn(4)
    assert now(burners).profile.position == 4


def test_a_change_is_answered_when_the_new_level_is_observed(burners, forker) -> None:
    up(burners, forker, profile="hold 1h @30, hold 1h @40")
    change = burners.set("heat", steer=Steer(skip=True))
    assert not change.settled
    forker.tick()
    assert change.value().asked == 40


def test_what_a_burner_is_asked_for_is_the_level_and_its_bound_the_highest(burners, forker, clock) -> None:
    info = up(burners, forker, profile="hold 10s @30, ramp ->90 over 1h")
    assert (info.asked, info.profile.segments) == (30.0, 2)
    clock.turn(1810)
    assert now(burners).asked == pytest.approx(60, abs=0.5)


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({}, InvalidParams, "a load or a profile"),
        ({"load": 101.0, "profile": "hold 1m"}, InvalidParams, "outside 0 to 100"),
        ({"profile": "hold"}, BadProfile, "column 5"),
        ({"load": 5.0, "traces": ([(0.0, 1.0), (1.0, 2.0)],)}, InvalidParams, "no profile that names them"),
    ],
)
def test_what_cannot_be_followed_is_refused_and_nothing_is_started(burners, forker, wrong, error, said) -> None:
    with pytest.raises(error, match=said):
        burners.start("heat", 1, **wrong)
    assert forker.children == []
