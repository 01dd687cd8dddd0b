"""Peers' processes: what becomes of those that are missing, hang or die, and of what they started."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from benchmarks import guest, peers
from benchmarks.failure import Failed
from benchmarks.guest import Guest
from benchmarks.run import QUICK, Run

NAME = "floor: pipe"


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Guest]:
    """A peer with one child."""
    found = Guest("FLOORS", NAME, peers.FLOORS[NAME], tmp_path / "0")
    yield found
    found.close()


def processes(one: Guest) -> list[psutil.Process]:
    [child] = [child for child in psutil.Process().children() if child.pid == one.pid]
    return [child, *child.children(recursive=True)]


def ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_guest_measures_and_says_what_it_has_not_got(pipe: Guest) -> None:
    assert 0 < pipe.ask("trip", 20)["figures"]["p50"] < 1
    with pytest.raises(Failed, match="nothing of the kind"):
        pipe.ask("storm", 20)
    assert pipe.ask("trip", 20)["seconds"] > 0


def test_a_guest_that_is_closed_leaves_nothing(pipe: Guest) -> None:
    before = processes(pipe)
    assert len(before) == 2
    pipe.close()
    assert all(ended(process) for process in before)


def test_a_guest_that_hangs_is_ended_with_all_that_it_started(pipe: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    before = processes(pipe)
    os.kill(pipe.pid, signal.SIGSTOP)
    monkeypatch.setattr(guest, "BLOCK_DEADLINE", 0.05)
    with pytest.raises(Failed, match="did not answer within"):
        pipe.ask("trip", 20)
    assert all(ended(process) for process in before)
    with pytest.raises(Failed, match="not alive"):
        pipe.ask("trip", 20)


def test_a_guest_that_dies_is_said_to_have_died(pipe: Guest) -> None:
    os.kill(pipe.pid, signal.SIGKILL)
    with pytest.raises(Failed, match=r"died|not alive"):
        pipe.ask("trip", 20)


def test_a_peer_whose_program_is_missing_is_left_out_and_the_reason_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    run = Run(QUICK, tmp_path)
    with run.guests("POOLS", {"RQ": peers.POOLS["RQ"]}) as alive:
        assert alive == []
    assert run.left_out == {"RQ": "redis-server is not installed"}
