"""A hundred thousand jobs and kills at random: every single result is checked."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
import zmq
from tests.chaos.houses import Build, House, nothing_leaks
from tests.daemons import DEADLINE, wait_until
from tests.peers import Peer

JOBS, BATCH, THREADS = 100_000, 2500, 4
PATIENCE = 110_000
"""Milliseconds for the answer to one batch."""
LONGEST = 25.0
"""Seconds after which nobody is killed any more, so that it comes to an end on any machine."""

CLIENT = """
import sys
from stoker import Client
with Client(sys.argv[1]) as client:
    for x, value in enumerate(client.map(abs, range(int(sys.argv[2])))):
        assert value == x
"""


def spec(first: int, **options: Any) -> dict[str, Any]:
    """Jobs of some hundred microseconds."""
    many = [[0.0002, x] for x in range(first, first + BATCH)]
    return {"call": {"function": "work:spends", "many": many}, **options}


class Waiter(threading.Thread):
    """Hands in every fourth batch, one after the other, and keeps what comes back.

    Args:
        endpoint: the daemon's.
        number: which of the four.
        options: of the jobs; with ``key``, a batch is handed in again until there is an answer.
    """

    def __init__(self, endpoint: str, number: int, **options: Any) -> None:
        super().__init__(name=f"waiter {number}")
        self._endpoint, self._number, self._options = endpoint, number, options
        self.entries: dict[int, dict[str, Any]] = {}

    def run(self) -> None:
        for first in range(self._number * BATCH, JOBS, THREADS * BATCH):
            options = dict(self._options)
            if "key" in options:
                options["key"] = f"from {first}"
            for x, entry in zip(range(first, first + BATCH), self._batch(spec(first, **options)), strict=True):
                self.entries[x] = entry

    def _batch(self, its: dict[str, Any]) -> list[dict[str, Any]]:
        if "key" not in its:
            with Peer(self._endpoint, options={zmq.RCVTIMEO: PATIENCE}) as peer:
                entries: list[dict[str, Any]] = peer.result("submit", jobs=[its], wait=PATIENCE / 1000)["jobs"]
                return entries
        end = time.monotonic() + PATIENCE / 1000
        while time.monotonic() < end:
            # the daemon may die at any moment: then there is no answer, and the same key has the same jobs back
            with Peer(self._endpoint, options={zmq.RCVTIMEO: 1000}) as peer:
                peer.post("submit", jobs=[its], wait=0.5)
                if not peer.socket.poll(1500):
                    continue
                head, _ = peer.receive()
                entries = head["result"]["jobs"] if "result" in head else []
                if len(entries) == BATCH and all("ended" in entry for entry in entries):
                    return entries
        raise AssertionError(f"no answer for {its.get('key')}")


def waiters(house: House, **options: Any) -> list[Waiter]:
    started = [Waiter(house.daemon.endpoint, number, **options) for number in range(THREADS)]
    for waiter in started:
        waiter.start()
    return started


def all_of(started: list[Waiter]) -> dict[int, dict[str, Any]]:
    """Every entry, by number."""
    for waiter in started:
        waiter.join(PATIENCE / 1000)
    entries = {x: entry for waiter in started for x, entry in waiter.entries.items()}
    assert len(entries) == JOBS
    return entries


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_hundred_thousand_jobs_while_workers_forkservers_and_clients_are_killed(build: Build):
    house = build()
    dice = random.Random(100_000)
    killed: set[int] = set()
    forkservers = 0
    with nothing_leaks(house, warm_up=lambda: client(house).wait(DEADLINE)):
        started = waiters(house)
        mapping = client(house, endless=True)
        until = time.monotonic() + LONGEST
        while any(waiter.is_alive() for waiter in started):
            time.sleep(dice.uniform(0.0, 0.4))  # not a wait: the moment is what is tried
            if time.monotonic() > until:
                continue
            throw = dice.random()
            if throw < 0.1:
                forkserver = dice.choice(house.forkservers())
                killed |= {child.pid for child in forkserver.children()}
                forkserver.kill()
                forkservers += 1
            elif throw < 0.2:
                mapping.kill()
                mapping.wait(DEADLINE)
                mapping = client(house, endless=True)
            elif pids := sorted(house.pids() - killed):
                pid = dice.choice(pids)
                killed.add(pid)
                kill(pid)
        mapping.kill()
        mapping.wait(DEADLINE)
        entries = all_of(started)
        wait_until(lambda: house.daemon.result("status")["daemon"]["sessions"] == 0)
    died = 0
    for x, entry in entries.items():
        if entry["state"] == "done":
            assert entry["value"] == x * x
        else:
            assert entry["state"] == "worker-died"
            died += 1
        assert entry["attempt"] == 1
    assert died <= len(killed) + 2 * forkservers
    sys.stdout.write(f"{len(killed)} workers and {forkservers} forkservers killed, {died} jobs died with them\n")


def kill(pid: int) -> bool:
    """SIGKILL; False where it has ended since it was seen: one that was killed is shown until its end is known."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def client(house: House, *, endless: bool = False) -> subprocess.Popen[bytes]:
    """A program that maps; for a moment, or until it is killed."""
    items = "1000000000" if endless else "10"
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, house.daemon.endpoint, items], cwd=house.home, stderr=subprocess.DEVNULL
    )


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_hundred_thousand_durable_jobs_while_the_daemon_is_killed_as_well(build: Build):
    house = build(more="quarantine = 1000")
    dice = random.Random(100_001)
    deaths = kills = 0
    started = waiters(house, key="", durable=True, on_crash="requeue", retries=1000, retry_on=["worker-died"])
    until = time.monotonic() + LONGEST
    while any(waiter.is_alive() for waiter in started):
        time.sleep(dice.uniform(0.0, 0.5))  # not a wait: the moment is what is tried
        if time.monotonic() > until:
            continue
        if dice.random() < 0.2:
            house.die()
            house.again()
            deaths += 1
        elif pids := sorted(house.pids()):
            kills += kill(dice.choice(pids))
    for x, entry in all_of(started).items():
        assert (entry["state"], entry["value"]) == ("done", x * x)
    sys.stdout.write(f"{deaths} deaths of the daemon, {kills} of workers\n")
