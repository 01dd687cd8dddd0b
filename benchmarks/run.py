"""One run: how much is measured, where things are put, who takes part."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import peers
from benchmarks.failure import Failed
from benchmarks.guest import Guest


class Plan(NamedTuple):
    """How much is measured."""

    rounds: int = 5
    """Of blocks in turn."""
    seconds: float = 0.8
    """That a block may take; the sizes are what fits, up to these:"""
    trips: int = 300
    storm: int = 20_000
    elements: int = 1_000_000
    large: int = 100
    operations: int = 3000
    """On shared objects; pings."""
    colds: int = 5
    starts: int = 15
    """Of whole command lines."""
    tries: int = 20
    """Of every kill."""
    queued: int = 1_000_000
    sessions: int = 100
    idle: float = 10.0
    """Seconds for which an idle daemon is watched."""
    burns: float = 4.0
    """Seconds of one measurement of a burner."""
    burn_rounds: int = 2


FULL = Plan()
QUICK = Plan(
    rounds=3,
    seconds=0.25,
    trips=100,
    elements=200_000,
    large=20,
    operations=1000,
    colds=2,
    starts=5,
    tries=5,
    queued=100_000,
    sessions=30,
    idle=3.0,
    burns=1.0,
    burn_rounds=1,
)


@dataclass
class Run:
    """What sections are given.

    Args:
        plan: how much.
        scratch: a directory for all of it.
        only: parts of the names of the peers that take part; empty: all.
    """

    plan: Plan
    scratch: Path
    only: Sequence[str] = ()
    versions: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def folder(self) -> Path:
        """One that is not there yet; its path is short enough for sockets in it."""
        return self.scratch / str(next(self._numbers))

    def wants(self, name: str) -> bool:
        """Whether this peer takes part."""
        return not self.only or any(part.lower() in name.lower() for part in self.only)

    @contextlib.contextmanager
    def guests(self, group: str, entries: Mapping[str, peers.Entry]) -> Iterator[list[Guest]]:
        """These peers, alive side by side; who can't be had is noted."""
        with contextlib.ExitStack() as stack:
            alive = []
            for name, entry in entries.items():
                if not self.wants(name):
                    continue
                try:
                    guest = Guest(group, name, entry, self.folder())
                except Failed as why:
                    self.leave_out(name, str(why))
                    continue
                stack.callback(guest.close)
                alive.append(guest)
                if guest.version:
                    self.versions[entry.package] = guest.version
            yield alive

    def leave_out(self, name: str, why: str) -> None:
        """Say that a peer is not there, and why."""
        print(f"  {name} is left out: {why}", file=sys.stderr)
        self.left_out[name] = why


def note(text: str) -> None:
    """Progress, for who waits."""
    print(f"  {text}", file=sys.stderr, flush=True)


def facts_of(plan: Plan) -> dict[str, Any]:
    """How it was run."""
    return {"quick": plan is QUICK, "rounds": plan.rounds, "block_seconds": plan.seconds}
