"""Shared objects, one user at a time: items from one process to another through a queue, an acquire and release of a
lock that nobody else wants, an atomic increment of a value. `multiprocessing.Manager` keeps its objects in a process
of its own as Stoker does; `multiprocessing`'s own are semaphores and memory that related processes inherit, and
nobody hears when their holder dies.
"""

from __future__ import annotations

from benchmarks.figures import Measure
from benchmarks.peers import OBJECTS
from benchmarks.rounds import in_turn, sized
from benchmarks.run import Run

TITLE = "Shared objects"


def run(run: Run) -> list[Measure]:
    plan = run.plan
    with run.guests("OBJECTS", OBJECTS) as guests:
        items = in_turn(sized(guests, "items", 200, 5 * plan.operations, plan.seconds), plan.rounds)
        pairs = in_turn(sized(guests, "pair", 100, plan.operations, plan.seconds), plan.rounds)
        increments = in_turn(sized(guests, "increments", 100, plan.operations, plan.seconds), plan.rounds)
    return [
        items.measure("rate", "queue items", "/s", "higher"),
        pairs.measure("each", "lock: acquire and release", "s"),
        increments.measure("each", "value: increment", "s"),
    ]
