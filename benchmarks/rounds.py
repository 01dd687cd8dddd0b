"""Blocks in turn: A B C, B C A, C A B; who fails is left out of what follows, and the run goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from benchmarks.failure import NOTHING, Failed, limit
from benchmarks.figures import Measure
from benchmarks.guest import Guest

LIMIT = 180.0
"""Seconds for one block with the search for its size; a guest's single answers have a shorter one."""

TRIES, GROWTH = 8, 10.0
"""How often a size is tried, and how many times the last one at most."""

Block = Callable[[], dict[str, float]]
"""Measures once; its figures by name."""


@dataclass
class Taken:
    """All blocks of one kind."""

    blocks: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)
    """By figure, then by subject."""
    failed: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    def measure(self, figure: str, name: str, unit: str, better: str = "lower") -> Measure:
        """One figure as a measure."""
        return Measure(name, unit, better, self.blocks.get(figure, {}), dict(self.failed), dict(self.sizes))


def in_turn(subjects: Mapping[str, Block], rounds: int) -> Taken:
    """So many rounds over all subjects, each beginning with another one."""
    taken, order = Taken(), list(subjects)
    for number in range(rounds):
        for name in order:
            if name in taken.failed:
                continue
            figures = _block(subjects[name], name, taken)
            for figure, value in figures.items():
                rows = taken.blocks.setdefault(figure, {})
                row = rows.setdefault(name, [])
                row += [None] * (number - len(row))  # keeps blocks of one round in one column
                row.append(value)
        order = order[1:] + order[:1]
    taken.sizes = {name: block.size for name, block in subjects.items() if isinstance(block, Sized) and block.size}
    for rows in taken.blocks.values():
        for name in [name for name in subjects if name in rows]:
            rows[name] = rows.pop(name)  # in the subjects' order
    return taken


def _block(block: Block, name: str, taken: Taken) -> dict[str, float]:
    try:
        with limit(LIMIT):
            return block()
    except Failed as why:
        taken.failed[name] = str(why)
    except Exception as error:
        taken.failed[name] = str(Failed(f"{type(error).__name__}: {error}"))
    if taken.failed[name] != NOTHING:
        print(f"  {name}: {taken.failed[name]}", file=sys.stderr)
    return {}


class Sized:
    """A guest's block whose size is found by its first call: what fits in the time, no more than ``most``.

    Args:
        guest: whom to ask.
        measure: what.
        first: the size of the first try.
        most: the size where the time allows it.
        seconds: that a block may take.
    """

    def __init__(self, guest: Guest, measure: str, first: int, most: int, seconds: float) -> None:
        self._guest, self._measure = guest, measure
        self._first, self._most, self._seconds = min(first, most), most, seconds
        self.size = 0

    def __call__(self) -> dict[str, float]:
        """One block."""
        if not self.size:
            self.size = self._fitting()
        figures: dict[str, float] = self._guest.ask(self._measure, self.size)["figures"]
        return figures

    def _fitting(self) -> int:
        # step by step: what a peer does with few says little of many, where it warms up or makes larger batches
        size = self._first
        self._guest.ask(self._measure, size)  # the first of its kind may start workers, or import
        for _ in range(TRIES):
            seconds = self._guest.ask(self._measure, size)["seconds"]
            fitting = max(self._first, min(self._most, int(size * min(GROWTH, self._seconds / seconds))))
            if seconds >= self._seconds / 2 or fitting <= size:
                return fitting
            size = fitting
        return size


def sized(guests: Iterable[Guest], measure: str, first: int, most: int, seconds: float) -> dict[str, Block]:
    """A :class:`Sized` block of every guest."""
    return {guest.name: Sized(guest, measure, first, most, seconds) for guest in guests}
