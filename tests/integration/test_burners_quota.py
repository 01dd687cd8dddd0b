"""Burners under a real CPU quota: a cgroup of half a core, made for the test where a cpu controller may be written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stoker
import stokerd

DEADLINE = 60.0
ROOTS = [str(Path(module.__path__[0]).parent) for module in (stoker, stokerd)]
V1, V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")

HOST = """
    import asyncio, json, os, sys, time
    from stoker.protocol.models import Environment
    from stokerd.burners.registry import Burners
    from stokerd.bus import Bus
    from stokerd.clock import LoopClock
    from stokerd.forkserver.host import ForkServers

    async def settled(promise):
        done = asyncio.Event()
        promise.when_settled(lambda _: done.set())
        await done.wait()
        return promise.value()

    async def main():
        clock, bus = LoopClock(asyncio.get_running_loop()), Bus(time.time)
        forker = ForkServers(clock, bus, Environment(executable=sys.executable, cwd=os.getcwd()))
        burners = Burners(clock, bus, forker, 300.0, 64)
        half = await settled(burners.start("half", None, 50.0, of="quota"))
        capped = await settled(burners.start("capped", 1, 100.0))
        await settled(burners.stop(["half", "capped"]))
        await settled(burners.start("full", 1, 100.0, no_reserve=True))
        while True:
            full = burners.info()[0]
            if [reason.code for reason in full.reasons] == ["quota"]:
                break
            await asyncio.sleep(0.05)
        await settled(burners.close())
        await settled(forker.close(1.0))
        print(json.dumps({
            "cores": half.cores, "workers": [worker.target for worker in half.workers], "unit": half.unit,
            "capped": capped.target, "held": [reason.code for reason in capped.reasons],
            "reason": full.reason, "sum": [full.target, full.achieved, full.shortfall],
        }))

    sys.stdin.readline()  # the test has put us into the cgroup
    asyncio.run(main())
"""


@pytest.fixture
def half_a_core() -> Iterator[Path]:
    """A cgroup that allows half a core."""
    name = f"stoker-test-{os.getpid()}"
    version1 = (V1 / "cpu.cfs_quota_us").exists()
    group = (V1 if version1 else V2) / name
    try:
        group.mkdir()
        if version1:
            (group / "cpu.cfs_period_us").write_text("100000")
            (group / "cpu.cfs_quota_us").write_text("50000")
            (group / "cpu.shares").write_text("262144")  # nobody else keeps it from its half core
        else:
            (group / "cpu.max").write_text("50000 100000")
            (group / "cpu.weight").write_text("10000")
    except OSError as why:
        if group.exists():
            group.rmdir()
        pytest.skip(f"no CPU quota can be set here: {why}")
    yield group
    group.rmdir()


def test_under_a_quota_100_percent_is_what_it_allows_and_it_is_named_where_it_holds_back(half_a_core: Path) -> None:
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(ROOTS)}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOST)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environ,
        text=True,
    ) as host:
        (half_a_core / "cgroup.procs").write_text(str(host.pid))
        try:
            out, _ = host.communicate("go\n", timeout=DEADLINE)
        finally:
            host.kill()
    told: dict[str, Any] = json.loads(out)
    assert told["cores"] == 0.5
    assert told["workers"] == [25.0]
    assert "0.50 cores" in told["unit"]
    assert told["capped"] == pytest.approx(45.0 - 25.0), "nine tenths of half a core, less what the other burns"
    assert "reserve" in told["held"]
    assert told["reason"].startswith("quota: the CPU quota of 0.50 cores held processes back in ")
    target, achieved, shortfall = told["sum"]
    assert achieved + shortfall == pytest.approx(target, abs=1e-3)
    assert target == 100.0
