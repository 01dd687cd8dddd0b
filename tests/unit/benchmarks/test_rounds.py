"""Blocks in turn, medians, ratios, targets, and the page that shows them."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from benchmarks import figures, machine, page, rounds
from benchmarks.failure import Failed, limit
from benchmarks.figures import Measure, Report
from benchmarks.rounds import in_turn
from benchmarks.targets import TARGETS, Target


def test_blocks_go_in_turn_and_each_round_begins_with_another_one() -> None:
    seen: list[str] = []

    def block(name: str) -> dict[str, float]:
        seen.append(name)
        return {"each": float(len(seen))}

    taken = in_turn({name: lambda name=name: block(name) for name in "ABC"}, 3)
    assert "".join(seen) == "ABC" + "BCA" + "CAB"
    assert taken.measure("each", "some", "s").blocks == {"A": [1, 6, 8], "B": [2, 4, 9], "C": [3, 5, 7]}


def test_who_fails_is_reported_with_its_reason_and_the_others_go_on() -> None:
    calls = 0

    def breaks() -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Failed("did not answer within 60 s")
        return {"each": 1.0}

    measure = in_turn({"good": lambda: {"each": 2.0}, "bad": breaks}, 4).measure("each", "some", "s")
    assert measure.failed == {"bad": "did not answer within 60 s"}
    assert measure.figures("good") == [2.0] * 4
    assert calls == 2


def test_a_block_that_hangs_is_given_up_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "LIMIT", 0.05)
    blocks = {"hangs": lambda: {"each": float(threading.Event().wait())}, "good": lambda: {"each": 1.0}}
    measure = in_turn(blocks, 2).measure("each", "some", "s")
    assert measure.failed == {"hangs": "took longer than 0.05 s"}
    assert measure.figures("good") == [1.0, 1.0]


@pytest.mark.parametrize(
    ("per_second", "size"),
    [(10_000.0, 20_000), (1e9, 1_000_000), (1.0, 100)],
    ids=["what fits", "all of it", "the first"],
)
def test_a_block_has_the_size_that_fits_in_its_time_once_its_peer_is_warm(per_second: float, size: int) -> None:
    class WarmsUp:
        """Has its full rate from 10,000 on."""

        def ask(self, measure: str, size: int) -> dict[str, Any]:
            assert measure == "map"
            return {"seconds": size / per_second * max(1.0, 10_000 / size) ** 0.5, "figures": {"rate": per_second}}

    block = rounds.Sized(WarmsUp(), "map", 100, 1_000_000, 2.0)
    assert block() == {"rate": per_second}
    assert size / 2 <= block.size <= size


def test_a_limit_within_a_limit_leaves_the_outer_one_in_force() -> None:
    with pytest.raises(Failed, match=r"longer than 0[.]1 s"), limit(0.1):
        with limit(60.0):
            pass
        threading.Event().wait()


def test_a_reason_names_no_directory() -> None:
    assert str(Failed("No such file: '/home/somebody/.cache/ray/bin/python'")) == "No such file: 'python'"


def test_a_ratio_is_the_median_of_the_ratios_of_one_round_and_says_who_is_better() -> None:
    slow = Measure("time", "s", "lower", {"us": [1.0, 2.0, 10.0], "them": [3.0, 4.0, 30.0]})
    assert slow.quotient("us", "them") == pytest.approx(1 / 3)
    assert slow.times_as_good("us", "them") == pytest.approx(3.0)
    quick = Measure("rate", "/s", "higher", {"us": [30.0, None], "them": [10.0, 10.0]})
    assert quick.times_as_good("us", "them") == pytest.approx(3.0)
    assert quick.times_as_good("us", "nobody") is None


@pytest.mark.parametrize(("figure", "outcome"), [(0.9, "reached"), (1.3, "**not reached**"), (None, "not measured")])
def test_a_target_is_reached_missed_or_not_measured(figure: float | None, outcome: str) -> None:
    target = Target("some", "jobs", "time", "us", 1.0, most=True, against="them")
    blocks = {"us": [figure], "them": [1.0]}
    reports = {"jobs": Report("jobs", "Jobs", {}, [Measure("time", "s", "lower", blocks)])}
    assert target.outcome(reports)[1] == outcome


def test_every_target_names_a_measure_of_the_results() -> None:
    reports = figures.read(page.RESULTS)
    assert [target.what for target in TARGETS if target.outcome(reports)[1] == "not measured"] == []


@pytest.mark.parametrize(
    ("figure", "unit", "text"),
    [
        (0.000_144, "s", "144 µs"),
        (0.0107, "s", "10.7 ms"),
        (205_600.0, "/s", "206 k/s"),
        (6.6e9, "B/s", "6.60 GB/s"),
        (40 * 1024**2, "B", "40.0 MiB"),
        (None, "s", "–"),
    ],
)
def test_a_figure_is_told_with_three_digits_and_the_unit_that_suits(figure: float | None, unit: str, text: str) -> None:
    assert figures.told(figure, unit) == text


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    report = Report("jobs", "Jobs", machine.facts(), [Measure("time", "s", "lower", {"us": [0.12344, None]})])
    figures.write(report, tmp_path)
    assert figures.read(tmp_path)["jobs"].measures[0].blocks == {"us": [0.1234, None]}


def test_the_performance_page_is_that_of_the_results() -> None:
    assert page.PAGE.read_text() == page.current(), "run python -m benchmarks.page"


def test_the_results_do_not_tell_whose_machine_it_was() -> None:
    for file in page.RESULTS.glob("*.json"):
        text = file.read_text()
        assert str(page.ROOT) not in text
        assert "/tmp" not in text
        assert socket.gethostname() not in text
