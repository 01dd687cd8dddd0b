"""SIGKILL of the daemon, whatever it is at: nothing of its family lives on."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tests.conftest import StartDaemon
from tests.daemons import DEADLINE, wait_until
from tests.farms import Farm, make_farm

MARK = "STOKER_TEST_FAMILY"
ROUNDS = 6


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """In the environment of every process of the family, at whatever distance."""
    word = uuid.uuid4().hex
    monkeypatch.setenv(MARK, word)
    return word


def family(mark: str) -> set[int]:
    """Its processes, but for the test itself. Zombies have no environment."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                found.add(int(entry.name))
    return found - {os.getpid()}


def seconds_until_gone(mark: str) -> float:
    start = time.monotonic()
    wait_until(lambda: not family(mark), DEADLINE)
    return time.monotonic() - start


def idle(_farm: Farm) -> None:
    """Nothing to do."""


def storm(farm: Farm) -> None:
    """Very many small jobs, and new ones all the time."""
    for _ in range(5):
        farm.submit_many("square", [[x] for x in range(5000)])
    farm.submit_many("marked", [["storm"]] * 10)
    farm.wait_for_marks("storm")


def commands(farm: Farm) -> None:
    """Commands with children and grandchildren, in groups and sessions of their own, and deaf to gentle signals."""
    deaf = "trap '' INT TERM HUP; sleep 1000"
    for number in range(2):
        mark = farm.path(f"command.{number}")
        farm.command("sh", "-c", f"(sleep 1000 & {deaf}) & setsid sh -c 'sleep 1000 & sleep 1000' & touch {mark}; wait")
    farm.wait_for_marks("command", 2)


def burners(farm: Farm) -> None:
    """Load."""
    farm.daemon.result("start", kind="burner", name="heat", workers=2, load=5)


@pytest.mark.slow
@pytest.mark.parametrize("busy", [idle, storm, commands, burners])
def test_nothing_outlives_a_killed_daemon(
    busy: Callable[[Farm], None], mark: str, start_daemon: StartDaemon, short_path: Path
):
    dice, worst = random.Random(busy.__name__), 0.0
    for number in range(ROUNDS):
        farm = make_farm(start_daemon, short_path / f"home{number}")
        busy(farm)
        time.sleep(dice.uniform(0, 0.05))  # not a wait: the moment is what is tried
        assert len(family(mark)) >= 4
        farm.daemon.kill()
        worst = max(worst, seconds_until_gone(mark))
    sys.stdout.write(f"{busy.__name__}: gone at most {worst * 1000:.0f} ms after the daemon\n")


def test_nothing_outlives_a_daemon_that_is_killed_while_it_starts(mark: str, short_path: Path):
    dice, worst = random.Random("start"), 0.0
    for number in range(ROUNDS):
        directory = short_path / str(number)
        directory.mkdir()
        argv = [
            sys.executable,
            "-m",
            "stokerd",
            "--socket",
            f"ipc://{directory}/s",
            "--state-dir",
            f"{directory}/state",
        ]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(dice.uniform(0.05, 0.6))  # not a wait: the moment is what is tried
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE)
        worst = max(worst, seconds_until_gone(mark))
    sys.stdout.write(f"starting: gone at most {worst * 1000:.0f} ms after the daemon\n")


@pytest.mark.parametrize("whom", ["forkserver", "workers", "both"])
def test_nothing_outlives_a_killed_daemon_though_its_family_is_stopped(
    whom: str, mark: str, start_daemon: StartDaemon, short_path: Path
):
    farm = make_farm(start_daemon, short_path / "home")
    jobs = [farm.submit("marked", "runs", farm.path("never")) for _ in range(2)]
    workers = farm.wait_for_marks("runs", len(jobs))
    (forkserver,) = {psutil.Process(pid).ppid() for pid in workers}
    for pid in {"forkserver": {forkserver}, "workers": workers, "both": {forkserver, *workers}}[whom]:
        os.kill(pid, signal.SIGSTOP)
    farm.daemon.kill()
    seconds_until_gone(mark)


def test_a_killed_daemon_s_place_can_be_taken_at_once(start_daemon: StartDaemon, short_path: Path):
    first = make_farm(start_daemon, short_path / "home")
    first.daemon.kill()
    argv = [sys.executable, "-m", "stokerd", "--socket", first.daemon.endpoint, "--idle-exit", "0.05"]
    argv += ["--state-dir", str(first.daemon.directory / "state")]
    assert subprocess.run(argv, capture_output=True, timeout=DEADLINE).returncode == 0
