"""Step: a worker killed in the middle of a map; its job is reported and done again, and nothing else is touched."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from typing import Any

from stoker.client import Client
from stoker.demo import work
from stoker.demo.verdict import Verdict
from stoker.errors import WorkerDied
from stoker.shared import Queue

COUNT = 400
VICTIM = COUNT // 2
PATIENCE = 30.0


def run(client: Client) -> Verdict:
    """One call waits to be killed while the others go on; the caller hands that one in again."""
    announce = Queue("demo.victim", client=client)
    begin = time.perf_counter()
    jobs = [client.submit(work.cube_or_hold, number, VICTIM, announce) for number in range(COUNT)]
    pid = announce.get(timeout=PATIENCE)
    killed = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    why = jobs[VICTIM].exception(PATIENCE)
    told = getattr(why, "message", str(why))
    known = time.perf_counter() - killed
    cubes, victims = _collect(client, jobs)
    took = time.perf_counter() - begin
    held = cubes == [number**3 for number in range(COUNT)] and victims == [VICTIM] and isinstance(why, WorkerDied)
    said = (
        f"killed worker {pid}: job {jobs[VICTIM].id} known after {known * 1000:.0f} ms as {type(why).__name__}: {told};"
        f" {len(victims)} of {COUNT} calls done again, all {len(cubes)} results there in {took:.2f} s"
    )
    facts = {
        "pid": pid, "job": jobs[VICTIM].id, "error": f"{type(why).__name__}: {told}", "known_after": round(known, 4),
        "repeated": victims, "results": len(cubes), "seconds": round(took, 4),
    }  # fmt: skip
    return Verdict(held, said, facts)


def _collect(client: Client, jobs: Sequence[Any]) -> tuple[list[int], list[int]]:
    """Every cube, and the numbers of the calls that lost their worker and were done again."""
    cubes, victims = [], []
    for number, job in enumerate(jobs):
        try:
            cubes.append(job.result(PATIENCE))
        except WorkerDied:
            victims.append(number)
            cubes.append(client.submit(work.cube, number).result(PATIENCE))
    return cubes, victims
