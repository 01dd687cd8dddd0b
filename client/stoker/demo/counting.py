"""Step: 4 jobs in 4 processes add to one shared value under one shared lock."""

from __future__ import annotations

import time

from stoker.client import Client
from stoker.demo import work
from stoker.demo.verdict import Verdict
from stoker.shared import Lock, Value

JOBS = 4
TIMES = 1000
POOL = "counters"
PATIENCE = 50.0


def run(client: Client) -> Verdict:
    """The sum must be exact, and the workers must have been different processes."""
    lock, total = Lock("demo.lock", client=client), Value("demo.total", "q", 0, client=client)
    client.start_pool(POOL, workers=JOBS)
    try:
        begin = time.perf_counter()
        adders = client.options(pool=POOL)
        jobs = [adders.submit(work.add, lock, total, TIMES) for _ in range(JOBS)]
        pids = [job.result(PATIENCE) for job in jobs]
        took = time.perf_counter() - begin
    finally:
        client.stop(POOL)
    said = f"{total.value} = {JOBS} x {TIMES} by {len(set(pids))} processes in {took:.2f} s"
    facts = {"total": total.value, "expected": JOBS * TIMES, "pids": pids, "seconds": round(took, 4)}
    return Verdict(total.value == JOBS * TIMES and len(set(pids)) == JOBS, said, facts)
