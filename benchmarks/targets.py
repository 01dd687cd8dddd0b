"""What Stoker is to reach, as ratios of blocks of one run where it is held against a peer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.figures import Measure, Report, digits, told
from benchmarks.peers import DIRECT, DURABLE, OVER_ZMQ

POOL, EXECUTOR = "multiprocessing.Pool", "ProcessPoolExecutor"


class Target(NamedTuple):
    """One line.

    Args:
        what: for people.
        section: where it is measured.
        measure: the measure's name there.
        subject: whose figure.
        bound: of the quotient, or of the figure where it is held against nobody.
        most: True: it may not be exceeded; False: it has to be reached.
        against: the peer; empty: nobody.
    """

    what: str
    section: str
    measure: str
    subject: str
    bound: float
    most: bool
    against: str = ""

    @property
    def wanted(self) -> str:
        """The bound, for people."""
        bound = f"{self.bound:g} × {self.against}" if self.against else told(self.bound, UNITS[self.section])
        return f"{'≤' if self.most else '≥'} {re.sub(r'[.]0+ ', ' ', bound)}"

    def found(self, reports: Mapping[str, Report]) -> float | None:
        """What was measured; None: nothing was."""
        measure = self._measured(reports)
        if measure is None:
            return None
        return measure.quotient(self.subject, self.against) if self.against else measure.median(self.subject)

    def outcome(self, reports: Mapping[str, Report]) -> tuple[str, str]:
        """What was found, and whether that is enough."""
        found, measure = self.found(reports), self._measured(reports)
        if found is None or measure is None:
            return "–", "not measured"
        reached = found <= self.bound if self.most else found >= self.bound
        text = f"{digits(found)} ×" if self.against else told(found, measure.unit)
        return text, "reached" if reached else "**not reached**"

    def _measured(self, reports: Mapping[str, Report]) -> Measure | None:
        report = reports.get(self.section)
        return report.measure(self.measure) if report else None

    def factor(self, reports: Mapping[str, Report]) -> float | None:
        """How many times it is reached: 1 is just so; None where no such number is."""
        found = self.found(reports)
        if not found or not self.bound:
            return None
        return self.bound / found if self.most else found / self.bound


UNITS = {"control": "s", "memory": "B", "daemon": "/s", "cli": "s"}
"""Of figures that are held against nobody."""


def job(subject: str, bound: float, against: str) -> Target:
    how = "over ZeroMQ" if subject == OVER_ZMQ else "by the direct channel"
    return Target(f"one job {how}, p50", "jobs", "one job, p50", subject, bound, most=True, against=against)


def rate(measure: str, bound: float, against: str) -> Target:
    return Target(measure, "jobs", measure, DIRECT, bound, most=False, against=against)


def started(verb: str) -> Target:
    who = f"stoker {verb} (ZeroMQ)"
    return Target(f"`stoker {verb}`, above a bare Python", "cli", "above a bare Python", who, 0.08, most=True)


def pinged(who: str) -> Target:
    what = f"ping while pool and burners saturate all cores, p99, {who}"
    return Target(what, "control", "ping under full load, p99", who, 0.01, most=True)


FIRST = "cold start to first result, daemon up"
UP = f"{DIRECT}, daemon up"
STORM = "submit storm"

TARGETS = (
    job(OVER_ZMQ, 0.9, EXECUTOR),
    job(OVER_ZMQ, 1.2, POOL),
    job(DIRECT, 0.6, POOL),
    rate(STORM, 6, POOL),
    rate(STORM, 30, EXECUTOR),
    rate(STORM, 200, "Dask"),
    rate(STORM, 300, "Celery + Redis"),
    rate("map", 1.3, POOL),
    rate("map", 8, "joblib"),
    rate("map", 15, "Ray"),
    rate("large numpy arrays", 2, "Ray"),
    rate("large numpy arrays", 12, POOL),
    rate("large bytes", 8, POOL),
    Target("durable submit storm", "durable", STORM, DURABLE, 100, most=False, against="huey (SQLite)"),
    Target("durable submit storm", "durable", STORM, DURABLE, 100, most=False, against="huey (SQLite, fsync)"),
    Target("durable submit storm", "durable", STORM, DURABLE, 0.5, most=False, against=DIRECT),
    Target(FIRST, "cold", "first result", UP, 1.1, most=True, against=POOL),
    Target(FIRST, "cold", "first result", UP, 0.3, most=True, against="loky"),
    pinged(DIRECT),
    pinged(OVER_ZMQ),
    started("ping"),
    started("status"),
    started("submit"),
    Target("memory of the idle daemon", "memory", "idle daemon", "resident", 40 << 20, most=True),
    Target("memory per queued small job at 10⁶", "memory", "per queued small job", "in the daemon", 1 << 10, most=True),
    Target("wake-ups of the idle daemon", "daemon", "idle wake-ups", "clients gone", 0, most=True),
)
