"""Jobs that do next to nothing (`x * x * x`), two workers everywhere: what is measured is the way there and back.

- *One job*: handed in, waited for, the next.
- *Submit storm*: up to 20,000 single submits, then all results.
- *Map*: up to 10⁶ integers, by each peer's own map as it comes: Dask's is a bag, Ray's its `multiprocessing.Pool`,
  Celery's is `chunks`. *With chunks of 5,000* the same where a chunk's size can be given by hand.
- *Large data*: 10 MB in and 10 MB out of each job, up to four in flight, both directions counted. joblib gets each
  array anew, for it would map the same one from a file.

A block of fewer than 100 jobs has no p99. joblib has no submit: its one job is a `Parallel` call of one, its storm a
`Parallel` call of all.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.figures import Measure
from benchmarks.guest import Guest
from benchmarks.peers import COPIES, FLOORS, POOLS, STOKER
from benchmarks.rounds import in_turn, sized
from benchmarks.run import Run, note

TITLE = "Jobs"
RATES = (
    ("storm", "submit storm", "/s", 100, 2),
    ("map", "map", "/s", 2000, 2),
    ("chunked", "map, chunks of 5,000", "/s", 10_000, 1),
    ("numpy", "large numpy arrays", "B/s", 2, 1),
    ("bytes", "large bytes", "B/s", 2, 1),
)
"""Measure, name, unit, the size of the first try, how many times the time of a block."""


def run(run: Run) -> list[Measure]:
    plan = run.plan
    most = {"storm": plan.storm, "map": plan.elements, "chunked": plan.elements}
    with (
        run.guests("CATALOGUE", STOKER | POOLS) as pools,
        run.guests("FLOORS", FLOORS) as floors,
        run.guests("COPIES", COPIES) as copies,
    ):
        measures = trips(run, [*pools, *floors])
        for measure, name, unit, first, longer in RATES:
            note(name)
            beside = copies if unit == "B/s" else []
            blocks = sized([*pools, *beside], measure, first, most.get(measure, plan.large), longer * plan.seconds)
            measures.append(in_turn(blocks, plan.rounds).measure("rate", name, unit, "higher"))
    return measures


def trips(run: Run, guests: Sequence[Guest]) -> list[Measure]:
    """One job, there and back."""
    note("one job")
    taken = in_turn(sized(guests, "trip", 10, run.plan.trips, run.plan.seconds), run.plan.rounds)
    return [taken.measure("p50", "one job, p50", "s"), taken.measure("p99", "one job, p99", "s")]
