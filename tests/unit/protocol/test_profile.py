"""The text of profiles: what it says, that it says it back, and where it is wrong."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.profiles import UNHURRIED, profiles

from stoker.errors import EXIT_USAGE, BadProfile
from stoker.protocol.profile import (
    Hold,
    Noise,
    Profile,
    Ramp,
    Saw,
    Sine,
    Square,
    Step,
    Trace,
    duration,
    segment_text,
    spelled,
)
from stoker.protocol.profile_text import parse

EVERYTHING = (
    "hold 10m @60, ramp 0->80 over 5m, step 20, sine 40±20 period 60s for 10m, square 10/90 period 30s duty 50 for 5m,"
    " saw, noise 50±10 seed 7 for 1h, trace FILE col=cpu interp=linear loop; repeat 3"
)


def test_everything_that_the_grammar_has_in_one_profile() -> None:
    assert parse(EVERYTHING) == Profile(
        (
            Hold(600, 60),
            Ramp(80, 300, 0),
            Step(20),
            Sine(40, 20, 60, 600),
            Square(10, 90, 30, 50, 300),
            Saw(0, 100, 60),
            Noise(50, 10, 7, 1, 3600),
            Trace("FILE", column="cpu", interp="linear", loop=True),
        ),
        repeat=3,
    )


@pytest.mark.parametrize(
    ("text", "profile"),
    [
        ("hold 10m", Profile((Hold(600),))),
        ("hold forever @5", Profile((Hold(math.inf, 5),))),
        ("hold 1h30m15s @ 60 %", Profile((Hold(5415, 60),))),
        ("hold 1.5m @60.5", Profile((Hold(90, 60.5),))),
        ("hold 500ms@1", Profile((Hold(0.5, 1),))),
        ("HOLD 2d @7", Profile((Hold(172800, 7),))),
        ("ramp ->80 over 5m", Profile((Ramp(80, 300),))),
        ("ramp 10→80 over 5m", Profile((Ramp(80, 300, 10),))),
        ("ramp 10 to 80 over 5m", Profile((Ramp(80, 300, 10),))),
        ("ramp to 80 over 5m", Profile((Ramp(80, 300),))),
        ("step 20 for 5m", Profile((Step(20, 300),))),
        ("step @20 for forever", Profile((Step(20, math.inf),))),
        ("sine 40+-20", Profile((Sine(40, 20, 60),))),
        ("sine 40 +/- 20 for 3m period 30s", Profile((Sine(40, 20, 30, 180),))),
        ("sine", Profile((Sine(50, 50, 60),))),
        ("square 10/90", Profile((Square(10, 90, 60, 50),))),
        ("square duty 20", Profile((Square(0, 100, 60, 20),))),
        ("saw 90->10 period 5s", Profile((Saw(90, 10, 5),))),
        ("saw 10/90", Profile((Saw(10, 90),))),
        ("noise 50±10 seed 7 every 5s", Profile((Noise(50, 10, 7, 5),))),
        ('trace "my day.csv" col="CPU %" t=2', Profile((Trace("my day.csv", "CPU %", "2"),))),
        ("trace 'a,b.csv' col 3 for 1d", Profile((Trace("a,b.csv", "3", seconds=86400),))),
        ("trace day.csv x10", Profile((Trace("day.csv", speed=10),))),
        ("trace day.csv speed 10 scale 100 gap 1h", Profile((Trace("day.csv", speed=10, scale=100, gap=3600),))),
        ("trace day.csv; x10", Profile((Trace("day.csv"),), speed=10)),
        ("hold 1m @50; speed 2; scale 0.5; repeat forever", Profile((Hold(60, 50),), math.inf, 2, 0.5)),
        ("hold 1m @50;", None),
        ("hold 1m @50; repeat 2;", Profile((Hold(60, 50),), 2)),
        ("# a day\nhold 1m @5 # night\n,\n  ramp 5->80 over 1h # morning\n", Profile((Hold(60, 5), Ramp(80, 3600, 5)))),
    ],
)
def test_a_text_and_what_it_says(text: str, profile: Profile | None) -> None:
    if profile is None:
        with pytest.raises(BadProfile, match="expected repeat, speed or scale, found the end"):
            parse(text)
    else:
        assert parse(text) == profile


@UNHURRIED
@given(profiles())
def test_a_profile_that_is_spelled_reads_back_equal(profile: Profile) -> None:
    assert parse(spelled(profile)) == profile


@UNHURRIED
@given(st.floats(0.001, 3e8))
def test_a_duration_that_is_spelled_reads_back_equal(seconds: float) -> None:
    assert parse(f"hold {duration(seconds)}") == Profile((Hold(seconds),))


def test_segments_are_spelled_as_people_write_them() -> None:
    assert [segment_text(segment) for segment in parse(EVERYTHING).segments] == [
        "hold 10m @60",
        "ramp 0->80 over 5m",
        "step 20",
        "sine 40±20 period 1m for 10m",
        "square 10/90 period 30s duty 50 for 5m",
        "saw 0->100 period 1m",
        "noise 50±10 seed 7 for 1h",
        "trace FILE col=cpu interp=linear loop",
    ]


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("", 1, "expected a segment (hold, ramp, step, sine, square, saw, noise, trace) such as `hold 10m @60`"),
        ("hold 5m @60, ramp 0->80", 24, "expected `over` and a duration, as in `over 5m`, found the end"),
        ("hold 1m @5, hold @60", 18, 'expected a duration such as 10m, found "@60"'),
        ("hold 60", 6, 'expected a duration such as 10m, found "60"'),
        ("hold 0s", 6, "a duration of 0s is no time at all"),
        ("hold 99999d", 6, "a duration of 99999d is above 3650d"),
        ("holt 5m", 1, 'found "holt"'),
        ("hold 5m @101", 10, "a level of 101 is outside 0 to 100"),
        ("hold 5m @-1", 10, "a level of -1 is outside 0 to 100"),
        ("hold 5m @x", 10, 'expected a level in percent such as 60, found "x"'),
        (
            "hold 5m @60 ramp 0->1 over 1s",
            13,
            '"," and another segment, or ";" and repeat, speed or scale, found "ramp"',
        ),
        ("hold 5m @60,", 13, "such as `hold 10m @60`, found the end"),
        ("ramp 0-80 over 5m", 7, 'expected -> and a level, as in 0->80, found "-80"'),
        ("ramp over 5m", 6, 'expected a level such as 0, or ->, found "over"'),
        ("sine 40 period 5s", 9, "expected ± (or +-)"),
        ("sine 40±50", 6, "40±50 reaches from -10 to 90, outside 0 to 100"),
        ("sine 40±20 period 5ms", 19, "0.005 s is shorter than 0.1 s"),
        ("sine 40±20 duty 5", 12, 'expected `period`, `for`, or a comma and the next segment, found "duty"'),
        ("sine 40±20 for 5s for 6s", 19, "`for` is there twice"),
        ("square 10", 10, "expected / and a level, as in 10/90, found the end"),
        ("saw 10", 7, "expected -> and a level, as in 10->90, found the end"),
        ("noise 50±10 seed x", 18, 'expected a seed such as 7, found "x"'),
        ("noise 50±10, hold 5m @1", 1, "this noise has no end, and others follow"),
        ("noise 50±10; repeat 2", 1, "this noise has no end, and all is repeated"),
        ("hold forever @3, step 5", 1, "this segment never ends, and others follow"),
        ("step 5; repeat 2", 1, "this takes no time"),
        ("trace", 6, "expected the file of the trace, found the end"),
        ("trace x col=", 13, "expected the name or the number of a column, found the end"),
        ("trace x interp=cubic", 16, 'expected `step` or `linear`, found "cubic"'),
        ("trace x scale 0", 15, "a factor of 0 is outside"),
        ('trace "x\\y"', 7, "a backslash that means nothing"),
        ("hold 5m @60; repeat 0", 21, "repeat 0 is outside 1 to 1000000"),
        ("hold 5m @60; repeat -3", 21, "expected how often, such as 3, or `forever`"),
        ("hold 5m @60; repeat 2; repeat 3", 24, "`repeat` is there twice"),
        ("hold 5m @60; scale 2", 14, "scale 2 brings the level 60 of segment 1 to 120, above 100"),
        ("hold 5m @60; speed " + "9" * 400, 20, "a factor of inf is outside"),
        ("hold 5m @60; quickly", 14, 'expected repeat, speed or scale, found "quickly"'),
    ],
)
def test_an_error_names_its_column_and_what_was_expected(text: str, column: int, said: str) -> None:
    with pytest.raises(BadProfile) as caught:
        parse(text)
    assert caught.value.message.startswith(f"column {column}: ")
    assert said in caught.value.message
    assert caught.value.data == {"line": 1, "column": column}
    assert caught.value.hint
    assert caught.value.exit_code == EXIT_USAGE


def test_an_error_shows_the_place_with_a_caret() -> None:
    with pytest.raises(BadProfile) as caught:
        parse("hold 1m @5, hold @60")
    first, shown, caret = caught.value.message.split("\n")
    assert first == 'column 18: expected a duration such as 10m, found "@60"'
    assert shown[caret.index("^")] == "@"


def test_in_several_lines_the_line_is_named_too() -> None:
    with pytest.raises(BadProfile) as caught:
        parse("hold 1m @5,\n  hold 2m @600")
    assert caught.value.message.split("\n")[0] == "line 2, column 12: a level of 600 is outside 0 to 100"
    assert caught.value.data == {"line": 2, "column": 12}


def test_of_a_long_profile_the_place_is_shown_and_not_all() -> None:
    with pytest.raises(BadProfile) as caught:
        parse("hold 1m @5, " * 100 + "hold 1m @600" + ", hold 1m @5" * 100)
    _, shown, caret = caught.value.message.split("\n")
    assert len(shown) < 80
    assert shown[caret.index("^") :].startswith("600")


@pytest.mark.parametrize(("wrong", "right"), [("holt 1m", "hold"), ("sin 40±20", "sine"), ("tracr x", "trace")])
def test_a_segment_that_is_nearly_one_is_guessed(wrong: str, right: str) -> None:
    with pytest.raises(BadProfile) as caught:
        parse(wrong)
    assert caught.value.hint == f"did you mean `{right}`?"


def test_a_duration_without_a_unit_is_told_of_units() -> None:
    with pytest.raises(BadProfile) as caught:
        parse("hold 60")
    assert "60s?" in caught.value.hint


def test_a_text_that_is_too_long_and_too_many_segments_are_refused() -> None:
    with pytest.raises(BadProfile, match="longer than 65536"):
        parse(" " * 70_000)
    with pytest.raises(BadProfile, match="more than 1000 segments"):
        parse("step 5," * 1001 + "step 5")


@UNHURRIED
@given(st.text(st.sampled_from("holdrampstepsinesquaresawnoisetrace 0123456789.ms@->±/;,%x\n#\"'[{}]:"), max_size=60))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    try:
        profile = parse(text)
    except BadProfile as why:
        assert why.message
        assert why.data["column"] >= 1
    else:
        assert parse(spelled(profile)) == profile
