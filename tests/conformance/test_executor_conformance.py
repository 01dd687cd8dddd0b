"""``stoker.Executor`` passes CPython's own tests of ``concurrent.futures``."""

from __future__ import annotations

import collections
import os
from pathlib import Path

import pytest
from tests.conformance import executor_run
from tests.daemons import RunningDaemon

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def home(tmp_path: Path, daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the stubs, which this process and those of the tests import."""
    folder = executor_run.folder()
    if folder is None:
        pytest.skip("no installed Python has the folder test/test_concurrent_futures")
    executor_run.write_stubs(tmp_path, folder)
    monkeypatch.setenv("STOKER_SOCKET", daemon.endpoint)
    for directory in (executor_run.HERE, tmp_path):
        monkeypatch.syspath_prepend(directory)
    return tmp_path


def test_every_portable_test_of_cpython_passes(home: Path) -> None:
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(home), str(executor_run.HERE), *([inherited] if inherited else [])])
    items = executor_run.collect()
    assert set(executor_run.EXCLUDED) <= set(map(str, items)), "an exclusion names no test"
    chosen = [item for item in items if str(item) not in executor_run.EXCLUDED]
    verdicts = dict(executor_run.run_all(chosen, home, {**os.environ, "PYTHONPATH": path}))
    counts = collections.Counter(verdict.outcome for verdict in verdicts.values())
    failed = {str(item): verdict for item, verdict in verdicts.items() if verdict.outcome in ("failed", "timeout")}
    assert not failed, "\n\n".join(f"{item}: {verdict.outcome}\n{verdict.detail}" for item, verdict in failed.items())
    assert counts["passed"] >= 40, counts
