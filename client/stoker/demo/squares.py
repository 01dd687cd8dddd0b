"""Step: numbers squared by worker jobs that take them from one shared queue and put them into another."""

from __future__ import annotations

import time

from stoker.client import Client
from stoker.demo import work
from stoker.demo.verdict import Verdict
from stoker.shared import Queue

COUNT = 500
JOBS = 2
PATIENCE = 30.0


def run(client: Client) -> Verdict:
    """Two jobs share the numbers; each number must come back once, squared."""
    numbers, squares = Queue("demo.numbers", client=client), Queue("demo.squares", client=client)
    begin = time.perf_counter()
    jobs = [client.submit(work.square_from, numbers, squares) for _ in range(JOBS)]
    numbers.put_many([*range(COUNT), *[None] * JOBS])
    found = sorted(tuple(squares.get(timeout=PATIENCE)) for _ in range(COUNT))
    shares = [job.result(PATIENCE) for job in jobs]
    took = time.perf_counter() - begin
    held = found == [(number, number * number) for number in range(COUNT)] and sum(shares) == COUNT
    said = f"{len(found)} squares by {JOBS} jobs ({' + '.join(map(str, shares))}) in {took:.2f} s, each number once"
    return Verdict(held, said, {"count": len(found), "shares": shares, "seconds": round(took, 4)})
