from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.cli import values
from stoker.cli.values import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30),
        ("30s", 30),
        ("10m", 600),
        ("1h", 3600),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("1.5h", 5400),
        ("2d", 172800),
        (" 5S ", 5),
        (".5", 0.5),
    ],
)
def test_a_duration_is_read_in_every_spelling(text, seconds):
    assert values.duration(text) == pytest.approx(seconds)


def test_forever_is_without_an_end():
    assert values.duration("forever") == math.inf


@pytest.mark.parametrize("text", ["", "s", "10x", "-5s", "1h-", "nan", "5 5", "1e3", "5mm", "٣s", "--"])
def test_what_is_no_duration_is_refused_with_examples(text):
    with pytest.raises(UsageError) as refused:
        values.duration(text)
    assert "30s" in refused.value.hint


def test_a_time_limit_of_nothing_and_an_endless_grace_are_refused():
    with pytest.raises(UsageError):
        values.positive_duration("0s")
    with pytest.raises(UsageError):
        values.finite_duration("forever")


@given(st.floats(0, 1e8))
def test_what_is_spelled_is_never_empty(seconds):
    assert values.spell(seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "0.25s"),
        (12, "12s"),
        (185, "3m 05s"),
        (7620, "2h 07m"),
        (352800, "4d 02h"),
        (None, "forever"),
        (math.inf, "forever"),
        (-3, "0s"),
        (5, "5s"),
        (0.004, "0.00s"),
        (59.7, "1m 00s"),
    ],
)
def test_seconds_are_spelled_for_people(seconds, text):
    assert values.spell(seconds) == text


@pytest.mark.parametrize(
    ("text", "cores"),
    [("0", (0,)), ("0-3,5", (0, 1, 2, 3, 5)), ("3,1", (3, 1)), ("1-2,2-3", (1, 2, 3)), (" 0 , 2 ", (0, 2))],
)
def test_core_lists_are_read_in_order_without_repeats(text, cores):
    assert values.cpus(text) == cores


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,,2", "-1", "0-99999", "1-", "0-4096"])
def test_what_is_no_core_list_is_refused(text):
    with pytest.raises(UsageError):
        values.cpus(text)


@pytest.mark.parametrize(("text", "load"), [("0", 0), ("60", 60), ("99.5%", 99.5), ("100", 100)])
def test_a_load_is_percent_with_or_without_the_sign(text, load):
    assert values.percent(text) == load


@pytest.mark.parametrize("text", ["-1", "101", "nan", "inf", "much", ""])
def test_a_load_outside_0_to_100_is_refused(text):
    with pytest.raises(UsageError):
        values.percent(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("20", 20),
        ("1.5", 1.5),
        ("[1, 2]", [1, 2]),
        ('{"a": null}', {"a": None}),
        ("true", True),
        ('"20"', "20"),
        ("hello", "hello"),
        ("", ""),
        ("NaN", "NaN"),
        ("-5", -5),
    ],
)
def test_an_argument_is_json_if_it_parses_else_text(text, value):
    assert values.value(text) == value


@given(st.text())
def test_any_text_is_a_value(text):
    values.value(text)


def test_an_argument_nested_without_end_is_text():
    assert isinstance(values.value("[" * 100_000), str)


def test_name_and_value_part_at_the_first_equals_sign():
    assert values.named("a=b=c") == ("a", "b=c")
    for text in ("a", "=b", ""):
        with pytest.raises(UsageError):
            values.named(text)


def test_a_job_id_may_have_its_hash_sign_and_nothing_else():
    assert values.job_id("#17") == values.job_id("17") == 17
    for text in ("0", "-1", "x", "1.5", "", "9" * 30):
        with pytest.raises(UsageError):
            values.job_id(text)
