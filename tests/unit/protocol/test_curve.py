"""What a profile amounts to at any moment."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.profiles import UNHURRIED, profiles

from stoker.errors import BadProfile
from stoker.protocol.curve import MOST_POINTS, Curve, curve
from stoker.protocol.profile import Profile
from stoker.protocol.profile_text import parse
from stoker.protocol.shapes import MOST_DRAWS, _mix, draw


def laid(text: str, *traces: list[tuple[float, float]], start: float = 0.0) -> Curve:
    return curve(parse(text), traces, start=start)


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("hold 10s @60", {0: 60, 9.9: 60, 10: 60, 1000: 60}),
        ("ramp 0->80 over 10s", {0: 0, 2.5: 20, 5: 40, 10: 80}),
        ("hold 5s @20, ramp ->80 over 10s, hold 5s", {5: 20, 10: 50, 15: 80, 19: 80}),
        ("step 20, hold 5s", {0: 20, 4: 20}),
        ("hold 5s @50, step 20", {4.9: 50, 5: 20, 1e6: 20}),
        ("hold 5s @50, step 20 for 5s, ramp ->0 over 10s", {6: 20, 10: 20, 15: 10}),
        ("sine 40±20 period 8s", {0: 40, 2: 60, 4: 40, 6: 20, 8: 40, 802: 60}),
        ("square 10/90 period 10s duty 30", {0: 90, 2.9: 90, 3: 10, 9.9: 10, 10: 90, 1000: 90, 1003.5: 10}),
        ("square 10/90 duty 0 period 10s", {0: 10, 5: 10}),
        ("square 10/90 duty 100 period 10s", {0: 90, 9.9: 90}),
        ("saw 10->90 period 8s", {0: 10, 2: 30, 7.992: 89.92, 8: 10}),
        ("saw, hold 1m", {30: 50, 60: 100, 90: 100}),
        ("ramp 0->80 over 10s; scale 0.5", {5: 20, 10: 40}),
        ("ramp 0->80 over 10s; x10", {0.5: 40, 1: 80}),
        ("ramp 0->80 over 10s; repeat 3", {5: 40, 15: 40, 25: 40, 30: 80}),
        ("hold 1s @10, hold 1s @20; repeat forever", {0: 10, 1.5: 20, 2: 10, 1_000_001.5: 20}),
    ],
)
def test_levels_at_given_moments(text: str, levels: dict[float, float]) -> None:
    found = laid(text)
    assert {at: found.at(at) for at in levels} == pytest.approx(levels)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("hold 10s @60, ramp ->5 over 5s", 15),
        ("sine period 8s, hold 2s", 10),
        ("sine period 8s", math.inf),
        ("step 5, step 10", math.inf),
        ("hold 10s @60; repeat 3", 30),
        ("hold 10s @60; repeat forever", math.inf),
        ("hold 10s @60; x10; repeat 2", 2),
        ("sine period 8s; repeat 2", 16),
    ],
)
def test_how_long_it_is(text: str, seconds: float) -> None:
    assert laid(text).seconds == pytest.approx(seconds)


def test_what_a_first_segment_begins_at_can_be_said() -> None:
    assert laid("ramp ->80 over 10s", start=40).at(0) == 40
    assert laid("hold 10s; scale 0.5", start=40).at(0) == 40
    assert laid("ramp ->80 over 10s").at(0) == 0


def test_each_round_begins_as_the_first() -> None:
    found = laid("ramp ->80 over 10s; repeat 2", start=20)
    assert found.at(5) == found.at(15) == 50


TRACE = [(0.0, 10.0), (10.0, 30.0), (20.0, 50.0)]


@pytest.mark.parametrize(
    ("text", "levels", "seconds"),
    [
        ("trace x", {0: 10, 9.9: 10, 10: 30, 25: 50}, 30),
        ("trace x interp=linear", {0: 10, 5: 20, 10: 30, 20: 50}, 20),
        ("trace x interp=linear for 1m", {20: 50, 59: 50}, 60),
        ("trace x loop for 1m", {25: 50, 30: 10, 40: 30}, 60),
        ("trace x x10", {0.9: 10, 1: 30, 2.5: 50}, 3),
        ("trace x; speed 10", {0.9: 10, 1: 30, 2.5: 50}, 3),
        ("trace x; scale 2", {0: 20, 25: 100}, 30),
        ("trace x loop", {25: 50, 1_000_000_000: 30}, math.inf),
        ("trace x loop, hold 10s", {35: 50}, 40),
    ],
)
def test_a_trace_is_followed(text: str, levels: dict[float, float], seconds: float) -> None:
    found = laid(text, TRACE)
    assert {at: found.at(at) for at in levels} == pytest.approx(levels)
    assert found.seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("traces", "said"),
    [
        ([], "has 1 traces, and the points of 0 came with it"),
        ([TRACE, TRACE], "has 1 traces, and the points of 2 came with it"),
        ([[(0.0, 1.0)]], "has 1 points, and needs two"),
        ([[(0.0, 1.0), (0.0, 2.0)]], "does not rise in time at 0 s"),
        ([[(0.0, 1.0), (math.nan, 2.0)]], "does not rise in time"),
        ([[(0.0, 1.0), (1.0, 101.0)]], "a level of 101 at 1 s, outside 0 to 100"),
        ([[(0.0, 1.0), (1.0, math.nan)]], "a level of nan at 1 s, outside 0 to 100"),
    ],
)
def test_points_that_cannot_be_followed_are_refused(traces: list[list[tuple[float, float]]], said: str) -> None:
    with pytest.raises(BadProfile, match=said):
        curve(parse("trace x"), traces)


def test_traces_that_are_too_long_together_are_refused() -> None:
    many = [(float(at), 1.0) for at in range(MOST_POINTS // 2 + 1)]
    with pytest.raises(BadProfile, match=f"{2 * len(many)} points together, and {MOST_POINTS} can be followed"):
        curve(parse("trace x, trace y"), [many, many])


def test_a_scale_that_brings_a_trace_above_100_is_refused() -> None:
    with pytest.raises(BadProfile, match="a level of 150 at 20 s"):
        laid("trace x; scale 3", TRACE)


# --- noise ------------------------------------------------------------------------------------------------------------


def test_noise_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    def levels(seed: int) -> list[float]:
        found = laid(f"noise 50±10 seed {seed} for 1m")
        return [found.at(at + 0.5) for at in range(60)]

    assert levels(7) == levels(7)
    assert levels(7) != levels(8)
    assert len(set(levels(7))) == 60


def test_the_generator_of_noise_is_splitmix64() -> None:
    gamma = 0x9E3779B97F4A7C15
    assert [_mix(1234567 + step * gamma) for step in range(5)] == [  # as every implementation of it gives them
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert draw(7, 3) == (_mix(_mix(7) + 3 * gamma) >> 11) / 2**53


def test_noise_is_spread_evenly_over_its_band() -> None:
    found = laid("noise 50±10 seed 3 for 10000s")
    levels = [found.at(at + 0.5) for at in range(10_000)]
    assert all(40 <= level <= 60 for level in levels)
    tenths = [sum(int(level - 40) // 2 == tenth for level in levels) for tenth in range(10)]
    assert all(850 < count < 1150 for count in tenths)  # 1000 ± 5 standard deviations


def test_noise_holds_each_level_for_its_time() -> None:
    found = laid("noise every 5s for 1m")
    assert found.at(0) == found.at(4.99) != found.at(5) == found.at(9)


# --- the integral -----------------------------------------------------------------------------------------------------


def riemann(found: Curve, begin: float, end: float, pieces: int = 20_000) -> float:
    step = (end - begin) / pieces
    return sum(found.at(begin + (at + 0.5) * step) for at in range(pieces)) * step


@pytest.mark.parametrize(
    "text",
    [
        "hold 7s @60, ramp 0->80 over 5s, step 20, hold 3s, sine 40±20 period 4s for 10s",
        "square 10/90 period 3s duty 30 for 8s, saw 90->5 period 2s for 5s, noise 50±30 seed 4 every 700ms for 9s",
        "trace x interp=linear loop for 45s, trace y for 45s; speed 3; repeat 2",
    ],
)
def test_the_integral_is_that_of_the_levels(text: str) -> None:
    found = laid(text, *[TRACE] * text.count("trace"))
    for begin, end in ((0.0, found.seconds), (1.3, 11.7), (found.seconds - 4, found.seconds)):
        assert found.area(begin, end) == pytest.approx(riemann(found, begin, end), rel=2e-3)


@UNHURRIED
@given(profiles(traces=False), st.floats(0, 1), st.floats(0, 1))
def test_the_integral_of_two_parts_is_that_of_the_whole(profile: Profile, a: float, b: float) -> None:
    found = curve(profile)
    end = min(found.seconds, 5.0)  # short of MOST_DRAWS of the quickest noise, above which its mean is taken
    first, second = sorted((a * end, b * end))
    whole = found.area(0.0, first) + found.area(first, second) + found.area(second, end)
    assert whole == pytest.approx(found.area(0.0, end), rel=1e-6, abs=1e-6)
    assert 0 <= whole <= 100 * end * (1 + 1e-9)


def test_the_integral_of_very_long_noise_is_that_of_its_mean() -> None:
    found = laid("noise 50±10 every 1s for 10d")
    assert found.seconds > MOST_DRAWS
    assert found.area(0, found.seconds) == pytest.approx(50 * found.seconds)


# --- its bounds and its edges -----------------------------------------------------------------------------------------


@UNHURRIED
@given(profiles(traces=False), st.floats(0, 1e5))
def test_a_level_is_never_outside_0_to_100_nor_above_the_highest(profile: Profile, position: float) -> None:
    found = curve(profile)
    assert 0 <= found.at(position) <= 100
    assert found.at(position) <= found.highest + 1e-9


@UNHURRIED
@given(profiles(traces=False), st.floats(0, 1))
def test_between_two_changes_a_level_stays(profile: Profile, part: float) -> None:
    found = curve(profile)
    position = part * min(found.seconds, 1000.0)
    change = found.next_change(position)
    assert change >= position
    assume(change - position > 1e-3)
    looks = [position + (min(change, position + 50) - position - 2e-6) * at / 7 + 1e-6 for at in range(8)]
    steady = found.next_change(position, 100.0) == change
    if steady and len({round(found.at(look), 6) for look in looks}) > 1:
        steepest = max(abs(found.at(b) - found.at(a)) for a, b in itertools.pairwise(looks))
        assert steepest < 100  # a slope that one slice covers; no edge within
    elif not steady:
        assert found.place(position).leg.shape.slope(max(position - found.place(position).begin, 0.0)) > 0


@UNHURRIED
@given(st.floats(0, 100), st.floats(0, 100), st.floats(1, 1000), st.floats(0, 1))
def test_a_ramp_is_continuous_with_what_is_before_and_after_it(
    low: float, high: float, seconds: float, at: float
) -> None:
    found = laid(f"hold 10s @{low}, ramp ->{high} over {seconds}s, hold 10s")
    for edge in (10.0, 10.0 + seconds):
        assert found.at(edge - 1e-9) == pytest.approx(found.at(edge + 1e-9), abs=1e-3)
    position = 10 + at * seconds
    assert abs(found.at(position + 1e-6) - found.at(position)) <= 1e-6 * 100 / seconds + 1e-9


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("hold 10s @60, hold 5s @60", [10, 15]),
        ("square 10/90 period 10s duty 30 for 20s", [3, 10, 13, 20]),
        ("noise every 5s for 12s", [5, 10, 12]),
        ("hold 1s @3; repeat 3", [1, 2, 3]),
        ("trace x", [10, 20, 30]),
    ],
)
def test_edges_come_one_after_the_other(text: str, changes: list[float]) -> None:
    found = laid(text, *[TRACE] * text.count("trace"))
    position, edges = 0.0, []
    while position < found.seconds - 1e-6:
        position = found.next_change(position + 1e-9)
        edges.append(position)
    assert edges == pytest.approx(changes)


def test_a_level_that_never_changes_has_no_next_change() -> None:
    assert laid("step 20").next_change(5.0) == math.inf
    assert laid("hold 5s @3, step 20").next_change(6.0) == math.inf


def test_where_a_position_is() -> None:
    found = laid("hold 10s @60, step 5, ramp ->80 over 5s; repeat 3")
    places = [found.place(at) for at in (0, 9.9, 10, 14, 15, 44.9, 45, 99)]
    assert [place.leg.number for place in places] == [1, 1, 3, 3, 1, 3, 3, 3]
    assert [place.index for place in places] == [0, 0, 2, 2, 3, 8, 8, 8]
    assert [place.begin for place in places] == pytest.approx([0, 0, 10, 10, 15, 40, 40, 40])


# --- a segment that is extended ---------------------------------------------------------------------------------------


def test_a_hold_that_is_extended_lasts_longer_and_all_else_comes_later() -> None:
    found = laid("hold 10s @60, hold 10s @20").extended(4.0, 30.0)
    assert found.seconds == 50
    assert [found.at(at) for at in (5, 39, 41)] == [60, 60, 20]


def test_the_rest_of_a_ramp_that_is_extended_is_stretched() -> None:
    found = laid("ramp 0->80 over 10s, hold 10s").extended(5.0, 5.0)
    assert [found.at(at) for at in (0, 5, 10, 15, 20)] == pytest.approx([0, 40, 60, 80, 80])
    again = found.extended(10.0, 5.0)
    assert [again.at(at) for at in (5, 10, 15, 20)] == pytest.approx([40, 60, 70, 80])
    assert again.seconds == 30


def test_only_the_present_round_is_extended() -> None:
    found = laid("hold 1s @10, hold 1s @20; repeat 3").extended(2.5, 4.0)
    assert found.seconds == 10
    assert [found.at(at) for at in (2.5, 6.9, 7.5, 8.5, 9.5)] == [10, 10, 20, 10, 20]
    assert [found.place(at).index for at in (2.5, 7.5, 8.5, 9.5)] == [2, 3, 4, 5]


def test_a_round_of_endless_ones_can_be_extended() -> None:
    found = laid("hold 1s @10, hold 1s @20; repeat forever").extended(1_000_000.5, 1.0)
    assert found.seconds == math.inf
    assert [found.at(1_000_000 + at) for at in (1.5, 2.5, 3.5, 4.5)] == [10, 20, 10, 20]


@UNHURRIED
@given(profiles(traces=False), st.floats(0, 0.999), st.floats(0.1, 1000))
def test_what_is_extended_is_longer_by_just_that(profile: Profile, part: float, seconds: float) -> None:
    found = curve(profile)
    assume(not math.isinf(found.seconds))
    position = part * found.seconds
    longer = found.extended(position, seconds)
    assert longer.seconds == pytest.approx(found.seconds + seconds)
    assert longer.at(position) == pytest.approx(found.at(position), abs=1e-6)
    assert 0 <= longer.at(position + seconds / 2) <= 100


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("saw 10->90 period 8s for 16s", 90),
        ("saw 10->90 period 8s for 12s", 50),
        ("square 10/90 period 8s for 16s", 10),
        ("square 10/90 period 8s for 4s", 90),
        ("square 10/90 period 8s duty 0 for 8s", 10),
        ("square 10/90 period 8s duty 100 for 8s", 90),
        ("sine 40±20 period 8s for 10s", 60),
        ("trace x loop for 30s", 50),
        ("trace x loop for 35s", 10),
        ("trace x for 10s", 10),
        ("trace x for 1h", 50),
    ],
)
def test_a_segment_without_a_level_goes_on_where_the_one_before_ended(text: str, level: float) -> None:
    found = laid(f"{text}, hold 10s", *[TRACE] * text.count("trace"))
    assert found.at(found.seconds - 5) == pytest.approx(level)
    alone = laid(text, *[TRACE] * text.count("trace"))
    assert alone.at(alone.seconds) == pytest.approx(level)


def test_noise_is_followed_by_its_last_level() -> None:
    found = laid("noise seed 3 every 2s for 10s, hold 1m")
    assert found.at(20) == found.at(9)
