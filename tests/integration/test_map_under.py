"""``stoker map … --under``: jobs while a profile burns, on a real daemon."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import StartDaemon
from tests.daemons import RunningDaemon, wait_until

WORK = """
def work(count):
    return sum(range(int(count)))

def fails(count):
    raise ValueError("no fuel")
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "workload.py").write_text(WORK)
    (tmp_path / "input").write_text("10\n1000\n")
    return tmp_path


@pytest.fixture
def hearth(start_daemon: StartDaemon) -> RunningDaemon:
    return start_daemon(config="[pool.default]\nworkers = 2\n")


def begin(daemon: RunningDaemon, home: Path, *words: str) -> subprocess.Popen[str]:
    env = {**os.environ, "STOKER_SOCKET": daemon.endpoint, "STOKER_AUTOSTART": "0"}
    return subprocess.Popen(
        [sys.executable, "-m", "stoker", "map", *words, "--input", "input"],
        cwd=home,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(daemon: RunningDaemon, home: Path, *words: str) -> tuple[int, str, str]:
    with begin(daemon, home, *words) as process:
        out, err = process.communicate(timeout=90)
    return process.returncode, out, err


def test_latency_and_throughput_are_reported_for_each_level(hearth: RunningDaemon, home: Path) -> None:
    code, out, err = run(hearth, home, "workload:work", "--under", "hold 1s @0, hold 1s @40", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert [level["level"] for level in report["levels"]] == [0.0, 40.0]
    for level in report["levels"]:
        assert level["calls"] > 0
        assert level["failed"] == 0
        assert 0 < level["p50"] <= level["p90"] <= level["p99"]
        assert level["per_second"] == pytest.approx(level["calls"] / level["seconds"], rel=1e-2)
    wait_until(lambda: hearth.result("status")["burners"] == [])


def test_people_get_a_table_and_a_plot(hearth: RunningDaemon, home: Path) -> None:
    code, out, err = run(hearth, home, "workload:work", "--under", "hold 1s @20", "--at-once", "4")
    assert code == 0, err
    head, row = out.splitlines()[:2]
    assert head.split() == ["LOAD", "BURNT", "CALLS", "FAILED", "PER", "SECOND", "P50", "P90", "P99"]
    assert row.startswith("20 %")
    assert "█" in out


def test_another_kind_can_be_the_neighbour(hearth: RunningDaemon, home: Path) -> None:
    words = ["--under", "hold 1s @20", "--kind", "bandwidth", "--bytes", "4M", "--burners", "1", "--of", "core"]
    code, _, err = run(hearth, home, "workload:work", *words)
    assert code == 0, err


def test_calls_that_fail_are_counted_and_the_first_is_told(hearth: RunningDaemon, home: Path) -> None:
    code, out, err = run(hearth, home, "workload:fails", "--under", "hold 1s @5", "--json")
    assert code == 1
    level = json.loads(out)["levels"][0]
    assert level["failed"] == level["calls"] > 0
    assert level["p50"] is None
    assert "no fuel" in err


def test_an_interrupt_shows_what_there_is_and_leaves_nothing(hearth: RunningDaemon, home: Path) -> None:
    with begin(hearth, home, "workload:work", "--under", "hold 10m @5", "--json") as process:
        wait_until(lambda: hearth.result("status")["jobs"].get("done", 0) > 20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads(out)["levels"][0]["calls"] > 0
    wait_until(lambda: hearth.result("status")["burners"] == [])


def test_a_burner_that_somebody_stops_ends_the_experiment(hearth: RunningDaemon, home: Path) -> None:
    with begin(hearth, home, "workload:work", "--under", "hold 10m @5") as process:
        wait_until(lambda: [b["state"] for b in hearth.result("status")["burners"]] == ["running"])
        hearth.result("stop", names=[hearth.result("status")["burners"][0]["name"]])
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the burner ended before its profile" in err
    assert out == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--under", "hold 1s @1000"], "outside 0 to 100"),
        (["--under", "hold forever @10"], "the profile has no end"),
        (["--at-once", "2"], "--at-once is for --under"),
        (["--kind", "bandwidth"], "--kind is for --under"),
        (["--under", "hold 1s @10", "--kind", "memory"], "the kind memory needs bytes"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_burns(hearth, home, words, message) -> None:
    code, out, err = run(hearth, home, "workload:work", *words)
    assert code == 2
    assert message in err
    assert out == ""
    assert hearth.result("status")["burners"] == []


def test_without_arguments_there_is_nothing_to_call_it_with(hearth: RunningDaemon, home: Path) -> None:
    (home / "input").write_text("")
    code, _, err = run(hearth, home, "workload:work", "--under", "hold 1s @10")
    assert code == 2
    assert "no arguments" in err
