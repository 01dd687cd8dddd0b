"""Fixtures for all tests."""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.daemons import RunningDaemon

StartDaemon = Callable[..., RunningDaemon]

# A shell that runs the tests in the background has SIGINT ignored, and all that they start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path is short enough for any socket in it."""
    path = Path(tempfile.mkdtemp(prefix="stk-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def start_daemon(short_path: Path) -> Iterator[StartDaemon]:
    """Starts daemons; each is ended after the test, and must have left nothing behind."""
    started: list[RunningDaemon] = []
    numbers = itertools.count(1)

    def start(*arguments: str, directory: Path | None = None, **options: Any) -> RunningDaemon:
        daemon = RunningDaemon(directory or short_path / str(next(numbers)), *arguments, **options)
        started.append(daemon)
        return daemon

    yield start
    failures = []
    for daemon in started:
        try:
            daemon.close()
        except AssertionError as why:
            daemon.kill()
            failures.append(why)
    assert not failures, "\n".join(map(str, failures))


@pytest.fixture(scope="module")
def module_daemon() -> Iterator[RunningDaemon]:
    """A daemon with two workers for all tests of a module: what one leaves in it, the next one finds."""
    path = Path(tempfile.mkdtemp(prefix="stk-"))
    running = RunningDaemon(path / "d", config="[pool.default]\nworkers = 2\n")
    yield running
    running.close()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> RunningDaemon:
    """A daemon with two workers."""
    return start_daemon(config="[pool.default]\nworkers = 2\n")


@pytest.fixture
def strace() -> str:
    """The program; without it, or where it may not trace, the test is skipped."""
    found = shutil.which("strace")
    if found is None:
        pytest.skip("strace is not installed")
    probe = subprocess.run([found, "-o", "/dev/null", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"strace can't trace here: {probe.stderr.decode(errors='replace').strip()}")
    return found
