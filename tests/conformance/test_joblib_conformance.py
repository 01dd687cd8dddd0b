"""joblib's own tests of ``Parallel`` pass with Stoker in the place of loky."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.daemons import RunningDaemon

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

OURS = "not [multiprocessing and not -multiprocessing"
"""What joblib does with the standard library's own pool, which forks this process with its threads, is not ours."""

EXCLUDED = {
    "test_nested_parallel_warnings[threading-loky-True]": "wants loky's refusal to nest; Stoker nests",
    "test_error_capture[loky]": "wants new workers after an exception; Stoker's go on",
    "test_multiple_generator_call_separated_gc[generator-generator-loky-True]": "wants an error that is loky's own: "
    "that the end of an earlier generator has shut its workers down",
    "test_multiple_generator_call_separated_gc[generator-generator_unordered-loky-True]": "likewise",
    "test_multiple_generator_call_separated_gc[generator_unordered-generator-loky-True]": "likewise",
    "test_multiple_generator_call_separated_gc[generator_unordered-generator_unordered-loky-True]": "likewise",
    "test_nested_parallelism_limit[parallel_config-loky]": "wants the backend to be called LokyBackend",
    "test_nested_parallelism_limit[parallel_backend-loky]": "likewise",
}
"""Tests that name loky's class or ask for what only loky does, and why. All of them are run, and must fail."""


def test_every_test_of_joblibs_passes_but_for_those_about_loky(tmp_path: Path, daemon: RunningDaemon) -> None:
    report = tmp_path / "report"
    inherited = os.environ.get("PYTHONPATH")
    here = str(Path(__file__).resolve().parent)
    with report.open("wb") as output:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-p", "joblib_plugin", "-p", "no:cacheprovider", "-p", "no:asyncio"),
                *("-c", os.devnull, "--rootdir", str(tmp_path), "--timeout", "100", "-q", "-rA", "--no-header"),
                *("-W", "ignore", "-k", OURS, "--pyargs", "joblib.test.test_parallel"),
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([here, *([inherited] if inherited else [])]),
                "STOKER_SOCKET": daemon.endpoint,
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    text = report.read_text(errors="replace")
    assert done.returncode in (0, 1), text[-3000:]
    failed = set(re.findall(r"^(?:FAILED|ERROR) \S*::(test_\S+)", text, re.MULTILINE))
    passed = set(re.findall(r"^PASSED \S*::(test_.*)$", text, re.MULTILINE))
    assert failed == set(EXCLUDED), text[-10_000:]
    # joblib's own backends are among these: what is Stoker's says so by loky's name
    assert len([name for name in passed if "loky" in name]) >= 134
