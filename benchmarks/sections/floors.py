"""What nothing can be quicker than on this machine: 64 bytes to another process and back, a copy of 10 MB, and a
Python that does nothing. *Four hops* is client, broker, worker and back over Unix sockets with not a line of
scheduling: the way of any job that crosses a daemon.
"""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.figures import Measure
from benchmarks.peers import COPIES, FLOORS
from benchmarks.rounds import in_turn, sized
from benchmarks.run import Run

TITLE = "Floors"


def bare_python() -> dict[str, float]:
    """Seconds of a whole process."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return {"seconds": time.perf_counter() - begin}


def run(run: Run) -> list[Measure]:
    plan = run.plan
    with run.guests("FLOORS", FLOORS) as guests:
        trips = in_turn(sized(guests, "trip", 100, 10 * plan.trips, plan.seconds), plan.rounds)
    with run.guests("COPIES", COPIES) as guests:
        copies = in_turn(sized(guests, "copy", 10, plan.large, plan.seconds), plan.rounds)
    starts = in_turn({"floor: python -c pass": bare_python}, plan.starts)
    return [
        trips.measure("p50", "there and back, p50", "s"),
        trips.measure("p99", "there and back, p99", "s"),
        copies.measure("rate", "copy of 10 MB", "B/s", "higher"),
        starts.measure("seconds", "whole process", "s"),
    ]
