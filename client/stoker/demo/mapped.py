"""Step: a function mapped over a range by the pool."""

from __future__ import annotations

import time

from stoker.client import Client
from stoker.demo import work
from stoker.demo.verdict import Verdict

COUNT = 10_000


def run(client: Client) -> Verdict:
    """Cube a range, compare with what it must be."""
    begin = time.perf_counter()
    cubes = list(client.map(work.cube, range(COUNT)))
    took = time.perf_counter() - begin
    held = cubes == [number**3 for number in range(COUNT)]
    workers = [worker.pid for pool in client.status("default").pools for worker in pool.workers]
    said = (
        f"{len(cubes)} cubes in order from {len(workers)} workers in {took:.2f} s ({len(cubes) / took:,.0f} a second)"
    )
    return Verdict(held, said, {"count": len(cubes), "seconds": round(took, 4), "workers": workers})
