"""What another client's map of a million elements costs a client that hands in one small job after the other,
through the same pool of two workers: alone first, then beside the map. The promise is less than 50 ms more.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.daemon import Daemon
from benchmarks.figures import Measure
from benchmarks.load import feeding
from benchmarks.run import Run

TITLE = "Fairness"
MAP = 100_000_000


def trips(client: Any, times: int) -> list[float | None]:
    """Seconds of each job."""
    taken: list[float | None] = []
    for x in range(times):
        begin = time.perf_counter()
        assert client.submit(abs, -x).result() == x
        taken.append(time.perf_counter() - begin)
    return taken


def run(run: Run) -> list[Measure]:
    times = 5 * run.plan.tries
    with Daemon(run.folder()) as daemon, daemon.client() as client:
        trips(client, times)
        alone = trips(client, times)
        with feeding(daemon, MAP, 0) as feeder:
            beside = trips(client, times)
            assert feeder.poll() is None, "the map was over before the jobs were"
    return [Measure("one job", "s", blocks={"Stoker alone": alone, "Stoker beside a map": beside})]
