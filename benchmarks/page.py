"""``docs/performance.md`` from the results: ``python -m benchmarks.page [--check]``.

Nothing on the page is typed by hand but ``docs/performance-notes.md``, which is put in as it is: why a target is
missed, and what was tried. ``--check`` says whether the page is that of the results, and changes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from itertools import groupby
from pathlib import Path

from benchmarks import figures, plots
from benchmarks.failure import NOTHING
from benchmarks.figures import Measure, Report, digits, told
from benchmarks.sections import NAMES
from benchmarks.targets import TARGETS
from benchmarks.text import ours, times_as_good

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
NOTES = ROOT / "docs" / "performance-notes.md"
PICTURES = ROOT / "docs" / "performance"

QUIET = 10.0
"""Percent of a core that may be used by others before a section without a word about it."""

INTRODUCTION = """# Performance

This page is made by `python -m benchmarks --plot` from the files in `benchmarks/results`; no figure on it was typed.
All peers are alive side by side, each in a process and an environment of its own, and are measured in turn in short
blocks, so that what else the machine does hits all of them alike. A figure is the median of the blocks, with the
lowest and the highest beside it. A ratio is the median of the ratios of blocks of one round; × 3 says that Stoker is
three times as good: three times the rate, or a third of the time. How many jobs a block has follows from what a peer
can do in the time of a block. Absolute figures are this machine's, and only ratios travel.

*Stoker (direct)* is the library as it comes, over the direct channel. *Stoker (ZeroMQ)* is the wire that all
languages use.
"""


def rows(lines: Iterable[Sequence[str]]) -> str:
    """A table; the first line is its head."""
    head, *rest = [list(line) for line in lines]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rest))


def machine(reports: Mapping[str, Report]) -> str:
    """What it was measured on, and how."""
    facts = {report.title: report.facts for report in reports.values()}
    about = next(iter(facts.values()))
    versions: dict[str, str] = {}
    for fact in facts.values():
        versions |= fact["libraries"] | fact["versions"]
    dates = sorted({fact["date"] for fact in facts.values()})
    quick = [title for title, fact in facts.items() if fact["quick"]]
    busy = {title: fact["others_percent_of_core"] for title, fact in facts.items()}
    loud = [title for title, share in busy.items() if share > QUIET]
    named = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    size = (
        f"{about['cores']} cores ({about['processor']}), {about['memory_gib']} GiB, {about['disk']}, {about['kernel']}"
    )
    lines = [
        f"- Machine: {size}, Python {about['python']}. Measured {' to '.join(dict.fromkeys((dates[0], dates[-1])))}.",
        f"- Versions: {named}.",
    ]
    if quick:
        lines.append(f"- Measured with `--quick`, so take the magnitudes only: {', '.join(quick)}.")
    if loud:
        before = "every section" if len(loud) == len(facts) else ", ".join(loud)
        text = f"it used up to {digits(max(busy.values()))} % of a core just before {before}"
        lines.append(f"- **The machine had other work to do, so these figures say little**: {text}.")
    return "\n".join(lines)


def goals(reports: Mapping[str, Report]) -> str:
    """Every target, and whether it is reached."""
    lines = [["", "to reach", "measured", ""]]
    for target in TARGETS:
        found, outcome = target.outcome(reports)
        lines.append([target.what, target.wanted, found, outcome])
    return rows(lines)


def factors(reports: Mapping[str, Report]) -> list[tuple[str, float]]:
    """Of the targets that have one, with what they are called in the picture."""
    found = [(f"{target.what.replace('`', '')} {target.wanted}", target.factor(reports)) for target in TARGETS]
    return [(what, factor) for what, factor in found if factor is not None]


def section(report: Report, *, picture: bool) -> str:
    """A section of the page."""
    about = import_module(f"benchmarks.sections.{report.section}").__doc__ or ""
    parts = [f"## {report.title}", about.strip()]
    if report.left_out:
        parts.append("Left out: " + "; ".join(f"{peer}: {why}" for peer, why in report.left_out.items()) + ".")
    if picture:
        parts.append(f"![{report.title}]({PICTURES.name}/{report.section}.png)")
    for group, measures in groupby(report.measures, key=lambda measure: measure.group):
        parts += tables(group, list(measures))
    return "\n\n".join(parts)


def tables(group: str, measures: Sequence[Measure]) -> list[str]:
    """Of the measures of one group; those of the same peers share a table."""
    if group:
        names = [measure.name.removeprefix(f"{group}, ") for measure in measures]
        return [f"**{group.capitalize()}**, {measures[0].unit}", matrix(names, measures)]
    told_of = [measure for measure in measures if any(map(measure.figures, measure.blocks)) or measure.failed]
    return [f"**{measure.name[0].upper()}{measure.name[1:]}**\n\n{table(measure)}" for measure in told_of]


def matrix(names: Sequence[str], measures: Sequence[Measure]) -> str:
    """Peers down, measures across: medians."""
    peers = dict.fromkeys(peer for measure in measures for peer in measure.blocks)
    lines = [["", *names]]
    lines += [[peer, *(plain(measure.median(peer)) for measure in measures)] for peer in peers]
    return rows(lines)


def plain(figure: float | None) -> str:
    """A figure whose unit stands above."""
    return "–" if figure is None else digits(figure)


def table(measure: Measure) -> str:
    """One measure: ratio first, then the figure and its spread; columns that would be empty are left out."""
    own, several = ours(measure), any(len(measure.figures(peer)) > 1 for peer in measure.blocks)
    cells = {"": list(measure.blocks)}
    if own is not None and len([peer for peer in measure.blocks if not peer.startswith("floor")]) > 1:
        cells["Stoker is"] = [times_as_good(measure, own, peer) for peer in measure.blocks]
    cells["median"] = [told(measure.median(peer), measure.unit) for peer in measure.blocks]
    if several:
        for name, end in (("lowest", min), ("highest", max)):
            ends = [end(measure.figures(peer), default=None) for peer in measure.blocks]
            cells[name] = [told(figure, measure.unit) for figure in ends]
    if measure.sizes:
        cells["blocks of"] = [f"{measure.sizes[peer]:,}" if peer in measure.sizes else "" for peer in measure.blocks]
    broken = [f"{peer}: {why}" for peer, why in measure.failed.items() if why != NOTHING]
    lines = rows([list(cells), *zip(*cells.values(), strict=True)])
    return lines + (f"\n\nFailed: {'; '.join(broken)}." if broken else "")


def render(reports: Mapping[str, Report], pictures: Iterable[str]) -> str:
    """The whole page."""
    drawn = set(pictures)
    parts = [INTRODUCTION.rstrip(), machine(reports), "## Targets", goals(reports)]
    if factors(reports):
        parts.append(f"![Targets]({PICTURES.name}/targets.png)")
    if NOTES.exists():
        parts.append(NOTES.read_text().strip())
    parts += [section(reports[name], picture=name in drawn) for name in NAMES if name in reports]
    return "\n\n".join(parts) + "\n"


def to_draw(reports: Mapping[str, Report]) -> list[str]:
    """The sections that have a picture."""
    return [name for name, report in reports.items() if plots.worth_it(report)]


def current(folder: Path = RESULTS) -> str:
    """The page as it has to be."""
    reports = figures.read(folder)
    return render(reports, to_draw(reports))


def make(folder: Path = RESULTS) -> None:
    """Draw the pictures and write the page."""
    reports = figures.read(folder)
    PICTURES.mkdir(exist_ok=True)
    for old in PICTURES.glob("*.png"):
        old.unlink()
    for report in reports.values():
        plots.draw(report, PICTURES)
    if found := factors(reports):
        plots.draw_targets(found, PICTURES)
    PAGE.write_text(current(folder))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description="Make docs/performance.md.")
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    if not parser.parse_args().check:
        make()
    elif PAGE.read_text() != current():
        sys.exit(f"{PAGE.name} is not that of the results: run python -m benchmarks.page")


if __name__ == "__main__":
    main()
