"""What calls took at each level of a load."""

from __future__ import annotations

import pytest

from stoker.cli import levels
from stoker.cli.levels import Level, Look, Outcome
from stoker.protocol.curve import Curve, curve
from stoker.protocol.profile_text import parse


def of(text: str) -> Curve:
    return curve(parse(text))


def call(begin: float, seconds: float = 0.01, *, failed: bool = False) -> Outcome:
    return Outcome(begin, begin + seconds, failed)


@pytest.mark.parametrize(
    ("profile", "position", "expected"),
    [
        ("hold 10s @35", 5.0, Level(35, 35)),
        ("step 20 for 5s, hold 5s @60", 2.0, Level(20, 20)),
        ("square 10/90 period 2s for 10s", 0.5, Level(90, 90)),
        ("square 10/90 period 2s for 10s", 1.5, Level(10, 10)),
        ("ramp 0->100 over 10s", 4.2, Level(40, 50)),
        ("ramp 0->100 over 10s", 9.9999, Level(90, 100)),
        ("sine 50±50 period 4s for 8s", 1.0, Level(90, 100)),
        ("noise 50±10 seed 7 for 10s", 3.0, None),
    ],
)
def test_a_level_is_a_number_where_it_is_held_and_a_band_elsewhere(profile, position, expected) -> None:
    found = levels.level_at(of(profile), position)
    if expected is None:
        assert found.high - found.low == levels.BAND
    else:
        assert found == expected


def test_a_call_belongs_to_the_level_at_the_middle_of_its_time() -> None:
    rows = levels.figures(of("hold 10s @0, hold 10s @50"), 20.0, [call(9.0, 1.8), call(9.0, 2.2), call(15.0)])
    assert [(row["level"], row["calls"]) for row in rows] == [(0.0, 1), (50.0, 2)]


def test_what_is_not_over_when_the_profile_ends_does_not_count() -> None:
    rows = levels.figures(of("hold 10s @50"), 10.0, [call(1.0), call(9.9, 5.0), call(-3.0)])
    assert rows[0]["calls"] == 1


def test_throughput_is_by_the_time_at_the_level_and_failures_do_not_add_to_it() -> None:
    calls = [call(at * 0.1, 0.05, failed=at % 2 == 1) for at in range(100)]
    rows = levels.figures(of("hold 10s @20, ramp 20->40 over 20s"), 30.0, calls)
    assert rows[0]["level"] == 20.0
    assert (rows[0]["calls"], rows[0]["failed"]) == (100, 50)
    assert rows[0]["seconds"] == pytest.approx(10.0, abs=0.01)
    assert rows[0]["per_second"] == pytest.approx(5.0, abs=0.01)
    assert [row["level"] for row in rows[1:]] == [[20, 30], [30, 40]]
    assert [row["calls"] for row in rows[1:]] == [0, 0]
    assert rows[1]["p50"] is None


def test_percentiles_are_by_nearest_rank() -> None:
    hundred = [float(number) for number in range(1, 101)]
    assert [levels.percentile(hundred, percent) for percent in (50, 90, 99)] == [50.0, 90.0, 99.0]
    assert levels.percentile([7.0], 50) == levels.percentile([7.0], 99) == 7.0
    assert levels.percentile([], 50) is None


def test_what_was_burnt_counts_only_where_the_whole_second_was_at_one_level() -> None:
    line = of("hold 10s @20, hold 10s @60")
    looks = [Look(5.0, 19.0), Look(6.0, 21.0), Look(10.2, 40.0), Look(15.0, 60.0), Look(0.1, 3.0)]
    rows = levels.figures(line, 20.0, [], looks)
    assert [row["achieved"] for row in rows] == [20.0, 60.0]


def test_the_table_and_the_plot_show_every_level() -> None:
    calls = [call(at * 0.1, 0.001 * (at + 1)) for at in range(100)]
    rows = levels.figures(of("hold 5s @0, hold 5s @80"), 10.0, calls)
    table, plot = levels.table(rows), levels.plot(rows)
    assert "80 %" in table
    assert table.count("\n") == 2
    bars = plot.splitlines()[1:]
    assert [bar.split()[0] for bar in bars] == ["0", "80"]
    assert max(bar.count("█") + bar.count("▒") + bar.count("░") for bar in bars) == 40
    assert bars[0].count("█") < bars[1].count("█")


def test_without_any_call_there_is_a_table_and_no_plot() -> None:
    rows = levels.figures(of("hold 5s @10"), 5.0, [])
    assert "10 %" in levels.table(rows)
    assert levels.plot(rows) == ""
