"""Where a burner is in its profile, and what it is asked for next; no clock, no process."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from tests.profiles import UNHURRIED, profiles

from stoker.errors import BadProfile, IllegalMove
from stoker.protocol.curve import curve
from stoker.protocol.profile import Profile, spelled
from stokerd.burners.timeline import GRID, STEP_POINTS, Timeline, constant, followed, over, ramp

NOW = 1000.0


def running(text: str, now: float = NOW) -> Timeline:
    return followed(text).run(now)


def test_a_burner_without_a_profile_is_asked_for_one_level_for_ever() -> None:
    line = constant(60.0).run(NOW)
    assert (line.level(NOW), line.level(NOW + 1e9), line.ends) == (60.0, 60.0, math.inf)
    assert line.info(NOW) is None
    cut = line.slice(NOW)
    assert (cut.until, cut.level, cut.moves) == (math.inf, 60.0, False)


def test_the_position_counts_from_when_it_runs() -> None:
    line = followed("hold 10s @60, hold 10s @20")
    assert line.position(NOW + 500) == 0
    line = line.run(NOW)
    assert [line.position(NOW + at) for at in (0, 5, 20, 99)] == [0, 5, 20, 20]
    assert line.ends == NOW + 20
    assert not line.is_over(NOW + 19.9)
    assert line.is_over(NOW + 20)


def test_while_it_stands_the_position_and_the_level_stay() -> None:
    line = running("ramp 0->80 over 10s").stand(NOW + 5)
    assert [line.level(NOW + at) for at in (5, 50)] == [40, 40]
    assert line.ends == math.inf
    assert line.slice(NOW + 7).until == math.inf
    line = line.run(NOW + 100)
    assert [line.level(NOW + at) for at in (100, 102.5)] == pytest.approx([40, 60])
    assert line.ends == NOW + 105
    assert line.run(NOW + 103) is line


def test_a_stretch_that_does_not_move_is_one_slice() -> None:
    line = running("hold 10m @60, square 10/90 period 30s for 1m, noise every 5s for 10s")
    cuts, now = [], NOW
    while not line.is_over(now):
        cut = line.slice(now)
        assert not cut.moves
        cuts.append(round(cut.until - NOW, 6))
        now = cut.until
    assert cuts == [600, 615, 630, 645, 660, 665, 670]


def test_a_slice_of_what_moves_is_short_where_it_is_steep_and_long_where_it_is_not() -> None:
    steep, gentle = running("ramp 0->80 over 1s").slice(NOW), running("ramp 0->80 over 1h").slice(NOW)
    assert steep.moves
    assert steep.until - NOW == pytest.approx(GRID)
    assert gentle.moves
    assert gentle.until - NOW == pytest.approx(1.0)
    middling = running("ramp 0->80 over 1m").slice(NOW).until - NOW
    assert 80 / 60 * middling == pytest.approx(STEP_POINTS, abs=80 / 60 * GRID)


def test_slices_of_many_burners_end_together() -> None:
    ends = {round(running("ramp 0->80 over 10s", NOW + at / 1000).slice(NOW + at / 1000).until, 6) for at in range(20)}
    assert len(ends) == 1


def test_a_slice_asks_for_the_mean_of_its_stretch() -> None:
    line = running("ramp 0->80 over 10s")
    cut = line.slice(NOW + 3)
    assert cut.area / (cut.until - NOW - 3) == pytest.approx((line.level(NOW + 3) + line.level(cut.until)) / 2)


@UNHURRIED
@given(profiles(traces=False))
def test_the_slices_add_up_to_the_profile(profile: Profile) -> None:
    line = Timeline(curve(profile), spelled(profile)).run(0.0)
    now, asked, count = 0.0, 0.0, 0
    while not line.is_over(now) and count < 50:
        cut = line.slice(now)
        assert cut.until > now
        until = min(cut.until, now + 100)
        if until == cut.until:
            asked += cut.area
        else:
            asked += line.area(now, until)
        now, count = until, count + 1
    assert asked == pytest.approx(line.area(0.0, now), rel=1e-5, abs=1e-3)


def test_a_skip_goes_to_where_the_next_segment_begins() -> None:
    line = running("hold 10s @60, hold 10s @20, hold 10s @5").skip(NOW + 3)
    assert line.position(NOW + 3) == 10
    assert line.level(NOW + 3) == 20
    assert line.ends == NOW + 23
    line = line.skip(NOW + 4)
    assert (line.level(NOW + 4), line.ends) == (5, NOW + 14)


def test_a_skip_while_it_stands_stays_where_it_goes() -> None:
    line = running("hold 10s @60, hold 10s @20").stand(NOW + 3).skip(NOW + 50)
    assert (line.position(NOW + 99), line.level(NOW + 99)) == (10, 20)


def test_a_skip_goes_to_the_next_round_and_not_beyond_the_last() -> None:
    line = running("hold 10s @60; repeat 2").skip(NOW + 1)
    assert line.position(NOW + 1) == 10
    with pytest.raises(IllegalMove, match="the last segment"):
        line.skip(NOW + 2)
    with pytest.raises(IllegalMove, match="the last segment"):
        running("hold 5s @3, sine").skip(NOW + 8)


def test_an_extended_segment_lasts_longer_and_the_profile_with_it() -> None:
    line = running("hold 10s @60, hold 10s @20").extend(NOW + 3, 100)
    assert line.ends == NOW + 120
    assert [line.level(NOW + at) for at in (3, 109, 111)] == [60, 60, 20]
    assert line.text == "hold 10s @60, hold 10s @20"


def test_what_has_no_end_cannot_be_extended() -> None:
    with pytest.raises(IllegalMove, match="has no end"):
        running("step 20").extend(NOW, 5)


def test_who_follows_no_profile_has_nothing_to_skip_or_extend() -> None:
    line = constant(60).run(NOW)
    with pytest.raises(IllegalMove, match="follows no profile"):
        line.skip(NOW)
    with pytest.raises(IllegalMove, match="follows no profile"):
        line.extend(NOW, 5)


def test_a_ramp_to_a_load_goes_there_and_stays() -> None:
    line = ramp(20.0, 80.0, 30.0).run(NOW)
    assert [line.level(NOW + at) for at in (0, 15, 30, 1e6)] == [20, 50, 80, 80]
    assert line.text == "ramp 20->80 over 30s, step 80"


def test_where_it_is_for_people() -> None:
    line = running("hold 10s @60,\n  ramp 0->80 over 30s; repeat 3")
    info = line.info(NOW + 55)
    assert info is not None
    assert (info.text, info.position, info.seconds, info.remaining) == (
        "hold 10s @60, ramp 0->80 over 30s; repeat 3",
        55.0,
        120.0,
        65.0,
    )
    assert (info.segment, info.segments, info.round, info.rounds) == (2, 2, 2, 3)
    assert (info.now, info.now_position, info.now_seconds) == ("ramp 0->80 over 30s", 5.0, 30.0)


def test_what_has_no_end_has_nothing_remaining() -> None:
    info = running("hold 10s @60, step 5").info(NOW + 20)
    assert info is not None
    assert (info.seconds, info.remaining, info.now_seconds, info.now_position) == (None, None, None, 10.0)
    again = running("hold 10s @60; repeat forever").info(NOW + 1e6)
    assert again is not None
    assert (again.rounds, again.remaining, again.round) == (None, None, 100_001)


def test_the_end_has_a_sentence() -> None:
    assert over(running("hold 90s @5")) == "its profile of 1m30s is over"


def test_a_profile_that_cannot_be_followed_is_refused() -> None:
    with pytest.raises(BadProfile, match="column 6"):
        followed("hold @60")
    with pytest.raises(BadProfile, match="points of 0 came"):
        followed("trace x")
