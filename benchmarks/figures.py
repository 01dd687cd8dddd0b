"""What was measured: blocks of figures, their medians, spread and ratios; as files."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

DIGITS = 4
"""Significant digits that are kept."""


@dataclass
class Measure:
    """One thing that was measured, of everybody who has it.

    Args:
        name: what it is, unique in its section.
        unit: ``s``, ``/s``, ``B``, ``B/s`` or a word.
        better: ``lower`` or ``higher``; empty: neither.
        blocks: from a peer to a figure per round; None where that block failed. Blocks of one round ran in turn.
        failed: from a peer to the reason why it has no more figures.
        sizes: of a block, where they differ between peers.
        group: measures of one group are shown in one table; empty: with those that have none.
    """

    name: str
    unit: str
    better: str = "lower"
    blocks: dict[str, list[float | None]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    group: str = ""

    def figures(self, peer: str) -> list[float]:
        """Those that there are."""
        return [figure for figure in self.blocks.get(peer, ()) if figure is not None]

    def median(self, peer: str) -> float | None:
        """The middle one."""
        figures = self.figures(peer)
        return statistics.median(figures) if figures else None

    def quotient(self, peer: str, other: str) -> float | None:
        """The median of the quotients of the blocks of one round: figure of ``peer`` by figure of ``other``."""
        pairs = zip(self.blocks.get(peer, ()), self.blocks.get(other, ()), strict=False)
        quotients = [mine / theirs for mine, theirs in pairs if mine is not None and theirs]
        return statistics.median(quotients) if quotients else None

    def times_as_good(self, peer: str, other: str) -> float | None:
        """How many times as good ``peer`` is as ``other``, whichever way is better."""
        return self.quotient(peer, other) if self.better == "higher" else self.quotient(other, peer)


def one(name: str, unit: str, who: str, figures: Iterable[float], better: str = "lower") -> Measure:
    """A measure of one alone."""
    return Measure(name, unit, better, {who: list(figures)})


@dataclass
class Report:
    """What a section found.

    Args:
        section: its name.
        title: for people.
        facts: of the machine, the versions and how it was run.
        measures: in the order in which they are told.
        left_out: from a peer to the reason why it was not there at all.
    """

    section: str
    title: str
    facts: dict[str, Any]
    measures: list[Measure] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def measure(self, name: str) -> Measure | None:
        """The one of this name."""
        return next((measure for measure in self.measures if measure.name == name), None)

    def as_json(self) -> dict[str, Any]:
        """With figures cut to the digits that mean something."""
        plain = asdict(self)
        for measure in plain["measures"]:
            measure["blocks"] = {peer: [cut(figure) for figure in row] for peer, row in measure["blocks"].items()}
        return plain


def cut(figure: float | None) -> float | None:
    """To the digits that are kept."""
    return None if figure is None else float(f"{figure:.{DIGITS}g}")


def write(report: Report, folder: Path) -> None:
    """As ``SECTION.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{report.section}.json").write_text(json.dumps(report.as_json(), indent=1) + "\n")


def read(folder: Path) -> dict[str, Report]:
    """From a section's name to what was found last."""
    found = {}
    for file in sorted(folder.glob("*.json")):
        plain = json.loads(file.read_text())
        plain["measures"] = [Measure(**measure) for measure in plain["measures"]]
        found[plain["section"]] = Report(**plain)
    return found


SCALES = {
    "s": ((1e-6, 1e9, "ns"), (1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (float("inf"), 1.0, "s")),
    "/s": ((1e3, 1.0, "/s"), (1e6, 1e-3, "k/s"), (float("inf"), 1e-6, "M/s")),
    "B": ((1 << 10, 1.0, "B"), (1 << 20, 1 / 1024, "KiB"), (float("inf"), 1 / (1 << 20), "MiB")),
    "B/s": ((1e9, 1e-6, "MB/s"), (float("inf"), 1e-9, "GB/s")),
}


def told(figure: float | None, unit: str) -> str:
    """For people: three digits and the unit that suits."""
    if figure is None:
        return "–"
    scales = SCALES.get(unit, ((float("inf"), 1.0, unit),))
    factor, name = next((factor, name) for below, factor, name in scales if abs(figure) < below)
    return f"{digits(figure * factor)} {name}".strip()


def digits(number: float) -> str:
    """Three significant ones, and no exponent."""
    size = abs(number)
    if size >= 99.95:
        return f"{number:,.0f}"
    if size >= 9.995:
        return f"{number:.1f}"
    return f"{number:.2f}" if size >= 0.01 or size < 1e-4 else f"{number:.1g}"
