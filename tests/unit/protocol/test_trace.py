"""Traces: from the text of a file to points, or to the line that is wrong."""

from __future__ import annotations

import pytest

from stoker.errors import BadProfile
from stoker.protocol import trace as traces
from stoker.protocol.curve import MOST_POINTS
from stoker.protocol.profile import Trace

RISING = [(0.0, 10.0), (1.0, 20.0), (2.0, 30.0)]


def read(text: str, **options: object) -> list[tuple[float, float]]:
    return traces.points(text, Trace("day.csv", **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "t,cpu\n0,10\n1,20\n2,30\n",
        "time;cpu\n5;10\n6;20\n7;30",
        "Timestamp\tload\n1700000000.5\t10\n1700000001.5\t20\n1700000002.5\t30",
        "# recorded\n\nt,cpu\n# noon\n0,10\n1,20\n2,30",
        "0,10\n1,20\n2,30",
        "10\n20\n30",
        "cpu\n10%\n20 %\n30%",
        "\ufefft,cpu\r\n0,10\r\n1,20\r\n2,30\r\n",
        'when,"t","cpu"\nx,0,10\ny,1,20\nz,2,30',
        "t,cpu\n2026-01-31T12:00:00Z,10\n2026-01-31T12:00:01Z,20\n2026-01-31T12:00:02Z,30",
        "2026-01-31 12:00:00,10\n2026-01-31 12:00:01,20\n2026-01-31 12:00:02,30",
        '{"t": 0, "cpu": 10}\n{"t": 1, "cpu": 20}\n{"cpu": 30, "t": 2, "note": "x"}',
        "[0, 10]\n[1, 20]\n[2, 30]",
    ],
)
def test_every_form_of_a_trace(text: str) -> None:
    column = {"column": "cpu"} if "when" in text else {}
    assert read(text, **column) == RISING


WIDE = "a,t,b,2\n10,0,99,3\n20,1,98,4\n30,2,97,5\n"


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({}, (0.0, 10.0)),
        ({"column": "b"}, (0.0, 99.0)),
        ({"column": "3"}, (0.0, 99.0)),
        ({"column": "2"}, (0.0, 3.0)),  # a name before a number
        ({"column": "b", "time": "a"}, (0.0, 99.0)),
        ({"scale": 2.0}, (0.0, 20.0)),
    ],
)
def test_columns_are_chosen_by_name_or_number(options: dict[str, object], first: tuple[float, float]) -> None:
    assert read(WIDE, **options)[0] == first


def test_the_times_of_another_column_are_counted_from_its_first() -> None:
    assert [seconds for seconds, _ in read(WIDE, column="b", time="a")] == [0.0, 10.0, 20.0]


@pytest.mark.parametrize(
    ("text", "options", "said", "line"),
    [
        ("", {}, "the trace day.csv is empty", None),
        ("\n# nothing\n", {}, "the trace day.csv is empty", None),
        ("t,cpu\n", {}, "the trace day.csv is empty: it has no row", None),
        ("t,cpu\n0,10\n", {}, "day.csv:2: this is the only row, and a trace needs two", 2),
        ("t,cpu\n0,10\n1,\n", {}, "day.csv:3: a gap: column 'cpu' is empty", 3),
        ("t,cpu\n0,10\n1\n", {}, "day.csv:3: a gap: column 'cpu' is empty", 3),
        ("t,cpu\n0,10\n,20\n", {}, "day.csv:3: a gap: column 't' is empty", 3),
        ("0,10\n1,\n", {}, "day.csv:2: a gap: column 2 is empty", 2),
        ('{"t": 0, "cpu": 10}\n{"t": 1}', {}, "day.csv:2: a gap: column 'cpu' is empty", 2),
        ("t,cpu\n0,10\n1,idle\n", {}, "day.csv:3: 'idle' in column 'cpu' is no number", 3),
        ("t,cpu\n0,10\n1,nan\n", {}, "day.csv:3: 'nan' in column 'cpu' is no number", 3),
        ('{"t": 0, "cpu": true}\n{"t": 1, "cpu": 1}', {}, "day.csv:1: True in column 'cpu' is no number", 1),
        ("t,cpu\n0,10\nlater,20\n", {}, "day.csv:3: 'later' in column 't' is no time", 3),
        ("t,cpu\n5,10\n4,20\n", {}, "day.csv:3: the time 4 does not come after the 5 before it", 3),
        ("t,cpu\n5,10\n5,20\n", {}, "day.csv:3: the time 5 does not come after the 5 before it", 3),
        ("t,cpu\n0,10\n1,101\n", {}, "day.csv:3: 101 in column 'cpu' is outside 0 to 100", 3),
        ("t,cpu\n0,10\n1,-1\n", {}, "day.csv:3: -1 in column 'cpu' is outside 0 to 100", 3),
        ("t,cpu\n0,10\n1,60\n", {"scale": 2.0}, "day.csv:3: 120 (60 before `scale`) in column 'cpu' is outside", 3),
        ("t,cpu\n0,1\n1,1\n2,1\n3,1\n60,1", {}, "day.csv:6: a gap of 57 s before this row; usual are 1 s", 6),
        ("t,cpu\n0,1\n5,1\n", {"gap": 4.0}, "day.csv:3: a gap of 5 s before this row", 3),
        ("t,cpu\n0,1\n1,1\n", {"column": "total"}, "does not have a column 'total'; its columns: t, cpu", None),
        ("0,1\n1,1\n", {"column": "3"}, "does not have a column '3'; its columns: 2 without names", None),
        ("t,cpu\n0,1\n1,1\n", {"time": "when"}, "does not have a column 'when'", None),
        ("when,cpu\n0,1\n1,1\n", {}, "does not have a column of the time; its columns: when, cpu", None),
        ("t\n0\n1\n", {}, "does not have a column of the level; its columns: t", None),
        ('t,cpu\n0,"1\n1,1\n', {}, "day.csv:2: not CSV", 2),
        ('{"t": 0}\n{', {}, "day.csv:2: not JSON", 2),
        ('{"t": 0}\n[1, 2]', {}, "day.csv:2: this is no map, as the line before is", 2),
        ("[1, 2]\n7", {}, "day.csv:2: this is no list, as the line before is", 2),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(
    text: str, options: dict[str, object], said: str, line: int | None
) -> None:
    with pytest.raises(BadProfile) as caught:
        read(text, **options)
    assert said in caught.value.message
    assert caught.value.data == ({"file": "day.csv", "line": line} if line else {})


def test_a_gap_may_be_allowed() -> None:
    assert read("t,cpu\n0,1\n1,1\n2,1\n3,1\n60,1", gap=57.0)[-1] == (60.0, 1.0)


def test_rows_that_are_not_evenly_spaced_are_no_gap() -> None:
    assert len(read("t,cpu\n0,1\n60,1\n3600,1")) == 3


def test_too_many_rows_are_refused() -> None:
    with pytest.raises(BadProfile, match=f"has {MOST_POINTS + 1} rows, and {MOST_POINTS} can be followed"):
        read("5\n" * (MOST_POINTS + 1))


def test_the_traces_of_one_profile_are_bounded_together() -> None:
    many = [(float(at), 1.0) for at in range(MOST_POINTS // 2 + 1)]
    assert list(traces.together([many])) == [many]
    with pytest.raises(BadProfile, match="have more than"):
        list(traces.together([many, many]))
