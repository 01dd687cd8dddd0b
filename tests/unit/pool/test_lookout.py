"""What is looked after while something runs: memory with that of all descendants, and only above the limit."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from stokerd.pool import lookout
from stokerd.pool.lookout import MEMORY_EVERY, TRIM_EVERY, resident

MIB = 1 << 20
HOLD = "import sys; held = bytearray(b'x') * (%d << 20); print('up', flush=True); sys.stdin.read()"
FAMILY = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {HOLD % 60!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print("up", flush=True)
sys.stdin.read()
child.communicate()
"""


@pytest.fixture
def process():
    """Starts a program, and waits until it is up; it ends when its input does."""
    started = []

    def start(code: str) -> int:
        one = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(one)
        assert one.stdout.readline() == b"up\n"
        return one.pid

    yield start
    for one in started:
        one.communicate(timeout=60)


def test_a_process_weighs_what_it_holds(process):
    assert 40 * MIB < resident(process(HOLD % 40)) < 120 * MIB


def test_what_its_descendants_hold_weighs_as_well(process):
    assert resident(process(FAMILY)) > 60 * MIB


def test_a_process_that_has_gone_weighs_nothing(process):
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert resident(gone.pid) == 0


@pytest.fixture
def weights(monkeypatch):
    """What each worker weighs, by its process id."""
    found: dict[int, int] = {}
    monkeypatch.setattr(lookout, "resident", lambda pid, _lent: found.get(pid, 0))
    return found


def test_only_a_worker_above_the_limit_is_killed_and_its_job_says_why(house, weights):
    home = house(2, memory_bytes=100)
    large, other = home.submit(), home.submit()
    heavy, light = home.running()
    for hand in (heavy, light):
        hand.begin()
    weights.update({heavy.child.pid: 101, light.child.pid: 100})
    home.turn(2 * MEMORY_EVERY)
    assert heavy.child.signals == [signal.SIGKILL], "once"
    assert light.child.signals == []
    heavy.die()
    assert large.errors[0].code == "worker-died"
    assert large.errors[0].data["oom"] is True
    assert large.errors[0].data["memory_bytes"] == 101
    assert "101 bytes" in large.errors[0].message
    light.end()
    assert other.is_ended(0)


def test_a_crash_of_a_light_worker_is_not_called_lack_of_memory(house, weights):
    home = house(1, memory_bytes=100)
    batch = home.submit()
    (hand,) = home.running()
    hand.begin()
    weights[hand.child.pid] = 50
    home.turn(2 * MEMORY_EVERY)
    hand.die()
    assert batch.errors[0].data["oom"] is False


def test_nobody_is_weighed_who_has_nothing_to_do_or_no_limit(house, weights):
    for limit in (0, 100):
        home = house(1, memory_bytes=limit)
        home.submit()
        (hand,) = home.running()
        weights[hand.child.pid] = 1000
        if limit:
            hand.end()
        home.turn(1.0)
        assert signal.SIGKILL not in hand.child.signals


def test_while_nothing_runs_nobody_looks(house):
    home = house(1)
    home.submit()
    home.running()[0].end()
    home.turn(2 * TRIM_EVERY)
    assert home.pool._lookout._timer is None
