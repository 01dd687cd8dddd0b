"""``python -m benchmarks``: so small that its figures mean nothing, but whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]


def benchmarks(short_path: Path, *arguments: str) -> tuple[int, str, str]:
    """Run it with temporary files in a folder of the test's."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(short_path)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.returncode, done.stdout, done.stderr


def alive(process: psutil.Process) -> bool:
    """Whether it still runs; a zombie is init's to reap."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_quick_run_measures_prints_and_leaves_nothing(short_path: Path) -> None:
    results = short_path / "results"
    code, out, err = benchmarks(
        short_path,
        "--only",
        "floors,fairness",
        "--peers",
        "pipe,memcpy",
        "--quick",
        "--json",
        "--results",
        str(results),
    )
    assert code == 0, err
    reports: list[dict[str, Any]] = json.loads(out)
    assert [report["section"] for report in reports] == ["floors", "fairness"]
    trip = next(measure for measure in reports[0]["measures"] if measure["name"] == "there and back, p50")
    assert len(trip["blocks"]["floor: pipe"]) == 3
    [trips] = reports[1]["measures"]
    assert {who: len(figures) for who, figures in trips["blocks"].items()} == {
        "Stoker alone": 25,
        "Stoker beside a map": 25,
    }
    assert sorted(path.name for path in results.iterdir()) == ["fairness.json", "floors.json"]
    assert list(short_path.iterdir()) == [results]


def test_a_run_that_is_told_to_end_leaves_no_process_and_no_file(short_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "--only", "jobs", "--peers", "pipe,(direct)", "--quick"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(short_path)},
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stderr is not None
        assert any("submit storm" in line for line in run.stderr)  # the peers are alive, and have worked
        below = psutil.Process(run.pid).children(recursive=True)
        assert len(below) >= 5  # two guests, a pipe's other end, a daemon, its forkserver
        run.terminate()
        run.communicate(timeout=60)
    assert run.returncode == 143
    assert [process for process in below if alive(process)] == []
    assert list(short_path.iterdir()) == []


def test_an_unknown_section_is_refused_with_those_that_there_are(short_path: Path) -> None:
    code, _, err = benchmarks(short_path, "--only", "florrs")
    assert code == 2
    assert "no section florrs; there are floors, jobs" in err
