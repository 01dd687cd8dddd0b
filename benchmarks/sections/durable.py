"""The storm of single submits again, with every job on disk (SQLite in WAL mode, `synchronous=FULL`) before its
submit is acknowledged, beside the same without, and beside huey's SQLite queue: as it comes, which a loss of power
may cost jobs, and with `fsync`.
"""

from __future__ import annotations

from benchmarks.figures import Measure
from benchmarks.peers import DURABLES, STOKER
from benchmarks.rounds import in_turn, sized
from benchmarks.run import Run

TITLE = "Durable jobs"


def run(run: Run) -> list[Measure]:
    plan = run.plan
    with run.guests("CATALOGUE", STOKER | DURABLES) as guests:
        trips = in_turn(sized(guests, "trip", 10, plan.trips, plan.seconds), plan.rounds)
        storms = in_turn(sized(guests, "storm", 100, plan.storm, plan.seconds), plan.rounds)
    return [
        storms.measure("rate", "submit storm", "/s", "higher"),
        trips.measure("p50", "one job, p50", "s"),
        trips.measure("p99", "one job, p99", "s"),
    ]
