"""CPython's own multiprocessing tests against ``stoker.multiprocessing``; ``multiprocessing_run.py`` runs them."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.daemons import RunningDaemon

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import multiprocessing_run as harness  # noqa: E402 - after its directory is on the path

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("test._test_multiprocessing") is None, reason="this Python comes without its tests"
    ),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    home = Path(tempfile.mkdtemp(prefix="stk-"))
    daemon = RunningDaemon(home, config="[pool.default]\nworkers = 2\n")
    yield daemon
    daemon.close()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def results(daemon: RunningDaemon) -> dict[str, list[harness.Result]]:
    """What has been run so far, by class."""
    return {}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("base", harness.CLASSES)
def test_the_tests_of_this_class_pass(daemon: RunningDaemon, results, base: str) -> None:
    items = [item for item in harness.collect() if item.base == base]
    results[base] = harness.run_all(items, daemon.endpoint)
    failed = [f"{result.item.label}\n{result.detail}" for result in results[base] if result.outcome == "failed"]
    assert not failed, "\n\n".join(failed)


def test_every_exclusion_names_a_test_that_some_python_has() -> None:
    assert {label.partition(".")[0] for label in harness.EXCLUDED} <= set(harness.CLASSES)
    labels = {item.label for item in harness.collect()}
    newer = {"TestManagerExceptions.test_dispatch"}  # from 3.13 on
    assert set(harness.EXCLUDED) - newer <= labels


def test_the_page_says_what_this_run_says(results) -> None:
    if set(results) != set(harness.CLASSES):
        pytest.skip("not all of the classes were run")
    written = harness.written_line()
    if written is None:
        pytest.skip("the page has no line for this version of Python")
    everything = [result for each in results.values() for result in each]
    assert written == harness.line(harness.collect(), everything)


def test_the_page_names_every_exclusion_with_its_reason() -> None:
    page = harness.PAGE.read_text()
    for label, reason in harness.EXCLUDED.items():
        assert f"`{label.removeprefix('_')}`: {reason}" in page, label
