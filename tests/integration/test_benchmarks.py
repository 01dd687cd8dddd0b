"""``python -m benchmarks``: so small that its figures mean nothing, but whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def benchmarks(tmp_path: Path, *arguments: str) -> tuple[int, str, str]:
    """Run it with temporary files in a folder of the test's."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_quick_run_measures_prints_and_leaves_nothing(tmp_path: Path) -> None:
    results = tmp_path / "results"
    code, out, err = benchmarks(
        tmp_path,
        "--only",
        "floors,durable",
        "--peers",
        "pipe,memcpy,(direct)",
        "--quick",
        "--json",
        "--results",
        str(results),
    )
    assert code == 0, err
    reports: list[dict[str, Any]] = json.loads(out)
    assert [report["section"] for report in reports] == ["floors", "durable"]
    trip = next(measure for measure in reports[0]["measures"] if measure["name"] == "there and back, p50")
    assert len(trip["blocks"]["floor: pipe"]) == 3
    storm = next(measure for measure in reports[1]["measures"] if measure["name"] == "submit storm")
    assert set(storm["blocks"]) == {"Stoker (direct)", "Stoker (direct), durable"}
    assert storm["failed"] == {}
    assert sorted(path.name for path in results.iterdir()) == ["durable.json", "floors.json"]
    assert list(tmp_path.iterdir()) == [results]


def test_an_unknown_section_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    code, _, err = benchmarks(tmp_path, "--only", "florrs")
    assert code == 2
    assert "no section florrs; there are floors, jobs" in err
