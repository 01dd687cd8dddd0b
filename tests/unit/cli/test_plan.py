"""``stoker plan``: what a profile will do, in figures, in a terminal and as a picture; no daemon is asked."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.profiles import profiles

from stoker.cli import picture, planned, plot
from stoker.protocol.curve import curve
from stoker.protocol.profile import Profile
from stoker.protocol.profile_text import parse

DAY = "hold 10m @60, ramp 0->80 over 5m, step 20, square 10/90 period 30s for 5m, hold 5m"


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No daemon, a terminal of 80 columns, a directory to be in."""
    monkeypatch.setenv("STOKER_SOCKET", str(tmp_path / "nobody.sock"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)


def test_the_figures_are_those_of_the_profile(stoker) -> None:
    code, out, _ = stoker("plan", DAY, "--workers", "3", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["seconds"] == found["shown_seconds"] == 1500
    assert found["profile"].startswith("hold 10m @60, ramp 0->80 over 5m, step 20,")
    area = 600 * 60 + 300 * 40 + 300 * 50 + 300 * 10  # the square ends low, and so the hold is at 10
    assert found["cpu_seconds"] == pytest.approx(3 * area / 100)
    assert found["mean"] == pytest.approx(area / 1500)
    assert (found["lowest"], found["peak"]) == (0, 90)
    assert found["peak_cores"] == pytest.approx(2.7)
    assert [each["number"] for each in found["segments"]] == [1, 2, 3, 4, 5]
    assert [each["at"] for each in found["segments"]] == [0, 600, 900, 900, 1200]
    assert found["segments"][1]["cpu_seconds"] == pytest.approx(3 * 120)
    assert sum(each["cpu_seconds"] for each in found["segments"]) == pytest.approx(found["cpu_seconds"])
    assert found["points"][0] == [0, 60]
    assert len(found["points"]) == 241


def test_it_is_drawn_within_80_columns_and_without_a_colour(stoker) -> None:
    code, out, _ = stoker("plan", DAY)
    assert code == 0
    assert "\x1b" not in out
    lines = out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].split() == ["1", "2", "4", "5"]  # where each segment begins; the step takes no time
    assert lines[1].startswith("100 ┤")
    assert "duration  25m 00s" in out
    assert "hold 10m @60" in out
    assert "660.0 s in 1 process" in out
    assert "at most 0.90, 0.44 in the mean" in out


def test_what_has_no_end_is_shown_for_a_while_and_said_to_have_none(stoker) -> None:
    code, out, _ = stoker("plan", "sine 40±20 period 1m")
    assert code == 0
    assert "no end: until its time limit" in out
    assert "first 3m 00s: 72.0 s" in out
    found = json.loads(stoker("plan", "hold 1m @5; repeat forever", "--json")[1])
    assert (found["seconds"], found["shown_seconds"], found["rounds"]) == (None, 120, None)


def test_a_time_limit_cuts_what_is_shown(stoker) -> None:
    found = json.loads(stoker("plan", DAY, "--for", "10m", "--json")[1])
    assert found["seconds"] == found["shown_seconds"] == 600
    assert found["cpu_seconds"] == 360
    found = json.loads(stoker("plan", "step 20", "--for", "10m", "--json")[1])
    assert (found["seconds"], found["cpu_seconds"]) == (600, 120)


def test_more_cores_than_there_are_is_said(stoker) -> None:
    assert "it will fall short of its peak here" in stoker("plan", "step 100", "--workers", "1000")[1]
    assert "it will fall short" not in stoker("plan", "step 10")[1]


def test_rounds_and_a_load_to_begin_at(stoker) -> None:
    out = stoker("plan", "ramp ->80 over 1m; repeat 3", "--load", "40")[1]
    assert "3m 00s (3 rounds of 1m 00s)" in out
    assert "mean 60.0 %" in out


def test_a_trace_is_read_from_the_directory_that_one_is_in(stoker, tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text("t,cpu\n0,10\n60,30\n")
    found = json.loads(stoker("plan", "trace day.csv", "--json")[1])
    assert (found["seconds"], found["mean"]) == (120, 20)
    (tmp_path / "plan.txt").write_text("trace day.csv x2")
    assert json.loads(stoker("plan", "@plan.txt", "--json")[1])["seconds"] == 60


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("hold 1m @5, hold @60",), 'stoker: column 18: expected a duration such as 10m, found "@60"'),
        (("@nowhere",), "the profile in nowhere cannot be read"),
        (("trace nowhere.csv",), "the trace nowhere.csv cannot be read"),
        (("step 5", "--png", "x.bmp"), "a picture cannot be of the kind '.bmp'"),
        (("step 5", "--png", "nowhere/x.png"), "cannot be written: No such file"),
        (("step 5", "--workers", "0"), "too few"),
    ],
)
def test_what_is_wrong_is_a_usage_error_with_a_hint(stoker, argv: tuple[str, ...], said: str) -> None:
    code, out, err = stoker("plan", *argv)
    assert (code, out) == (2, "")
    assert said in err


def test_without_matplotlib_a_picture_says_how_to_install_it(stoker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, _, err = stoker("plan", "step 5", "--png", "x.png")
    assert code == 2
    assert "pip install 'stoker[plot]'" in err


def test_a_picture_is_written(stoker, tmp_path: Path) -> None:
    code, out, _ = stoker("plan", DAY, "--png", "day.png")
    assert code == 0
    assert "written: day.png" in out
    head = (tmp_path / "day.png").read_bytes()[:24]
    assert head.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", head[16:24])
    assert (width, height) == (1100, 495)
    assert stoker("plan", DAY, "--png", "day.svg")[0] == 0
    assert (tmp_path / "day.svg").read_text().startswith("<?xml")


def test_the_outline_has_both_sides_of_every_edge() -> None:
    times, levels = picture.outline(curve(parse("square 10/90 period 20s for 60s")), 60.0)
    assert times == sorted(times)
    assert set(levels) == {10, 90}
    for edge in (10, 20, 30, 40, 50):
        near = {levels[at] for at, time in enumerate(times) if abs(time - edge) < 1e-6 and time != edge}
        assert near == {10, 90}


def test_nothing_is_plotted_above_the_peak_nor_under_the_lowest_level() -> None:
    lines = plot.text(curve(parse("hold 1m @50")), 60.0, 80).splitlines()
    full = [line[5:] for line in lines if "█" in line]
    assert len(full) == plot.ROWS // 2
    assert all(set(line) == {"█"} and len(line) == 73 for line in full)


@settings(max_examples=40, deadline=None)
@given(profiles(traces=False), st.integers(1, 200))
def test_every_profile_can_be_drawn(profile: Profile, width: int) -> None:
    found = curve(profile)
    facts = planned.facts(profile, found, 2, None)
    text = plot.text(found, facts["shown_seconds"], width)
    assert len(text.splitlines()) >= plot.ROWS
    assert all(len(line) <= max(width, 27) for line in text.splitlines())
    assert facts["lowest"] - 1e-6 <= facts["mean"] <= facts["peak"] + 1e-6
    assert planned.summary(facts, 2, colour=False)
    assert planned.table(facts, width, colour=True)


@pytest.mark.parametrize(
    ("seconds", "most", "step"),
    [
        (60, 7, 10),
        (3600, 7, 600),
        (86400, 7, 14400),
        (0.5, 7, 0.1),
        (86400 * 30, 7, 86400 * 5),
        (10, 10, 1),
        (1e8, 7, None),
    ],
)
def test_the_marks_of_the_axis_are_round(seconds: float, most: int, step: float | None) -> None:
    found = plot.tick(seconds, most)
    assert seconds / found <= most + 1e-9
    if step is not None:
        assert found == pytest.approx(step, rel=0.6)
