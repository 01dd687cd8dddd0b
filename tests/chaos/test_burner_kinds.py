"""The death of the daemon, for every kind of load: it ends, and nothing of it is left."""

from __future__ import annotations

import os
import select
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.conftest import StartDaemon
from tests.daemons import DEADLINE, RunningDaemon

WORK = "def work():\n    sum(range(1000))\n"

KINDS: dict[str, dict[str, Any]] = {
    "spin": {},
    "hash": {},
    "float": {},
    "matrix": {},
    "memory": {"bytes": 32 << 20},
    "bandwidth": {"bytes": 4 << 20},
    "disk": {"rate": 2e6, "quota": 4 << 20},
    "call": {"call": "workload:work"},
    "stress-ng:cpu": {},
    "stress-ng:vm": {},
    "stress-ng:switch": {},
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "workload.py").write_text(WORK)
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.fixture
def burning(start_daemon: StartDaemon, home: Path, request: pytest.FixtureRequest) -> RunningDaemon:
    """A daemon with two processes of the kind, seen to burn."""
    kind = request.param
    if kind.startswith("stress-ng") and shutil.which("stress-ng") is None:
        pytest.skip("stress-ng is not installed")
    daemon = start_daemon(config="[pool.default]\nworkers = 1\n", cwd=home)
    params = dict(KINDS[kind])
    if kind == "disk" or kind.startswith("stress-ng"):
        params["folder"] = str(home / "folder")
    daemon.result("start", kind="burner", name="heat", load=40.0, workers=2, generator=kind, **params)
    return daemon


def family_of(daemon: RunningDaemon) -> list[psutil.Process]:
    return psutil.Process(daemon.pid).children(recursive=True)


def wait_gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Wait for the end of each; those that are left at the deadline."""
    end = time.monotonic() + DEADLINE
    for process in processes:
        try:
            pidfd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            continue
        if process.is_running():
            select.select([pidfd], [], [], max(0.0, end - time.monotonic()))
        os.close(pidfd)
    return [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("burning", KINDS, indirect=True)
def test_nothing_burns_on_when_the_daemon_is_killed(burning: RunningDaemon, home: Path, request) -> None:
    family = family_of(burning)
    assert len(family) >= 3
    burning.kill()
    assert wait_gone(family) == []
    left = [path.name for path in (home / "folder").iterdir()]
    if "stress-ng" not in request.node.name:
        assert left == []
    else:  # nobody is left to remove its directory; the next one does
        assert all(name.startswith("stoker-stress-ng-") for name in left)


@pytest.mark.parametrize("burning", ["spin", "memory", "disk", "stress-ng:cpu"], indirect=True)
def test_nothing_burns_on_when_the_forkserver_is_killed_with_the_daemon(burning: RunningDaemon) -> None:
    """Then only the kernel is left to end them."""
    family = family_of(burning)
    burning.process.send_signal(signal.SIGSTOP)
    for forkserver in psutil.Process(burning.pid).children():
        forkserver.kill()
    burning.kill()
    assert wait_gone(family) == []


@pytest.mark.parametrize("burning", ["spin", "disk", "call", "stress-ng:cpu"], indirect=True)
def test_nothing_burns_on_when_the_daemon_is_killed_while_a_burner_is_paused(burning: RunningDaemon) -> None:
    burning.result("set", name="heat", paused=True)
    family = family_of(burning)
    burning.kill()
    assert wait_gone(family) == []


@pytest.mark.parametrize("burning", ["spin", "memory", "disk", "call", "stress-ng:cpu"], indirect=True)
def test_a_process_that_is_killed_is_replaced_by_one_of_its_kind(burning: RunningDaemon) -> None:
    before = [worker["pid"] for worker in burning.result("status")["burners"][0]["workers"]]
    orphans = psutil.Process(before[0]).children(recursive=True)
    os.kill(before[0], signal.SIGKILL)

    def replaced() -> bool:
        found = burning.result("status")["burners"][0]
        pids = [worker["pid"] for worker in found["workers"]]
        return pids[1] == before[1] and pids[0] not in (None, before[0]) and found["achieved"] > 0

    end = time.monotonic() + DEADLINE
    while not replaced():
        assert time.monotonic() < end, burning.result("status")["burners"]
        time.sleep(0.01)
    assert wait_gone(orphans) == []
