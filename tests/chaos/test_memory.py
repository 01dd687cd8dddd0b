"""Out of memory: the job that took it ends with a verdict that says so, told apart from a crash; no other job does."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.chaos.houses import Build, nothing_leaks
from tests.daemons import wait_until

GROUPS = Path("/sys/fs/cgroup")
MEGABYTE = 1_000_000


def test_a_worker_over_its_pool_s_limit_is_killed_and_the_verdict_has_the_figures(build: Build):
    house = build(more=f"memory_bytes = {150 * MEGABYTE}")
    with nothing_leaks(house):
        neighbour = house.submit("marked", house.path("neighbour"), house.path("go"))
        (other,) = house.wait_for_marks("neighbour")
        job = house.deed("eats", 400, house.path("eats"))
        (pid,) = house.wait_for_marks("eats")
        entry = house.ended(job)
        told = entry["error"]["data"]
        assert (entry["state"], entry["error"]["code"]) == ("worker-died", "worker-died")
        assert (told["oom"], told["pid"], told["limit"], told["attempt"]) == (True, pid, 150 * MEGABYTE, 1)
        assert told["memory_bytes"] > told["limit"]
        assert str(told["memory_bytes"]) in entry["error"]["message"]
        house.go()
        assert house.ended(neighbour)["value"] == other
        crashed = house.run("deeds:dies")
        assert (crashed["state"], crashed["error"]["data"]["oom"]) == ("worker-died", False)


def test_what_a_command_uses_counts_as_its_worker_s(build: Build):
    house = build(workers=1, more=f"memory_bytes = {150 * MEGABYTE}")
    with nothing_leaks(house, workers=1):
        code = "import time; eaten = bytearray(b'x') * 400_000_000; time.sleep(1000)"
        job = house.command("sh", "-c", f'{sys.executable} -c "{code}"; exit 0')
        entry = house.ended(job)
        assert (entry["state"], entry["error"]["data"]["oom"]) == ("worker-died", True)
        assert house.run("square", 8)["value"] == 64


@contextmanager
def memory_group() -> Iterator[tuple[Path, str]]:
    """A control group with the memory controller, and the name of its limit; skips where there can be none."""
    for parent, limit in ((GROUPS, "memory.max"), (GROUPS / "memory", "memory.limit_in_bytes")):
        group = parent / f"stoker-chaos-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / limit).exists():
            try:
                yield group, limit
            finally:
                wait_until(lambda group=group: not (group / "cgroup.procs").read_text())  # type: ignore[misc]
                group.rmdir()
            return
        if group.exists():
            group.rmdir()
    pytest.skip("needs root and a memory control group of its own (version 1 or 2) that can be written to")


def test_when_the_kernel_kills_a_worker_for_memory_the_verdict_says_that_it_was_the_kernel(build: Build):
    with memory_group() as (group, limit):
        enter = f'echo $$ > {group}/cgroup.procs && exec {sys.executable} -m stokerd "$@"'
        house = build(program=("sh", "-c", enter, "sh"))
        with nothing_leaks(house):
            crashed = house.run("deeds:dies")
            assert crashed["error"]["data"]["oom"] is False
            neighbour = house.submit("marked", house.path("neighbour"), house.path("go"))
            (other,) = house.wait_for_marks("neighbour")
            (group / limit).write_text(str(400 * MEGABYTE))
            job = house.deed("eats", 1000, house.path("eats"))
            (pid,) = house.wait_for_marks("eats")
            entry = house.ended(job)
            told = entry["error"]["data"]
            assert entry["state"] == "worker-died"
            assert (told["oom"], told["kernel"], told["signal"], told["pid"]) == (True, True, signal.SIGKILL, pid)
            assert "memory ran out" in entry["error"]["message"]
            house.go()
            assert house.ended(neighbour)["value"] == other
            assert house.run("square", 6)["value"] == 36
            crashed = house.run("deeds:dies")
            assert crashed["error"]["data"]["oom"] is False
        house.daemon.stop()
