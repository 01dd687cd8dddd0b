"""Pictures of results: bars of medians with their spread, one panel per measure."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.figures import Measure, Report, digits, told

OURS, OTHERS, FLOOR, REACHED = "#c2410c", "#64748b", "#cbd5e1", "#15803d"
BUNCH = (OURS, OTHERS, "#f59e0b", FLOOR)
"""Of the generators of a bunch, in their order."""
WIDTH, BAR, HEAD = 8.0, 0.26, 0.75
"""Inches: of a panel; of a bar with its space; of a panel's title and axis."""
LOG_FROM = 8.0
"""Where the largest is so many times the smallest, an axis of magnitudes shows both."""
COLUMNS = 2


def worth_it(report: Report) -> list[list[Measure]]:
    """What a picture shows better than a table, a panel each: who is compared with whom; groups share one."""
    panels = []
    for group, measures in groupby(report.measures, key=lambda measure: measure.group):
        compared = [measure for measure in measures if is_compared(measure)]
        panels += [compared] if group and compared else [[measure] for measure in compared]
    return panels


def is_compared(measure: Measure) -> bool:
    """Whether it has somebody else's figures, or floors, and is something to be good at."""
    peers = shown(measure)
    held = any(peer.lower().startswith(("stoker", "floor")) for peer in peers)
    return held and len(peers) > 1 and measure.better != "" and not all(peer.startswith("Stoker") for peer in peers)


def shown(measure: Measure) -> list[str]:
    """Who has a figure."""
    return [peer for peer in measure.blocks if measure.median(peer) is not None]


def height(measures: Sequence[Measure]) -> float:
    """Inches of a panel."""
    return HEAD + BAR * sum(len(shown(measure)) for measure in measures)


def draw(report: Report, folder: Path) -> None:
    """One file for a section, if there is anything to draw."""
    panels = worth_it(report)
    if not panels:
        return
    columns = min(COLUMNS, len(panels))
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    with drawing(folder / f"{report.section}.png", [max(map(height, row)) for row in rows], columns) as grid:
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        for axes, measures in zip(grid, panels, strict=False):
            if len(measures) > 1:
                grouped(axes, measures)
            else:
                panel(axes, measures[0])


@contextlib.contextmanager
def drawing(path: Path, heights: Sequence[float], columns: int, width: float = WIDTH) -> Iterator[list[Any]]:
    """The axes of a picture that is written in the end."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, grid = plt.subplots(
        len(heights),
        columns,
        figsize=(width * columns, sum(heights)),
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
        layout="constrained",
    )
    figure.get_layout_engine().set(h_pad=0.12, w_pad=0.1)
    yield list(grid.flat)
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)


def grouped(axes: Any, measures: Sequence[Measure]) -> None:
    """Several cases of the same: a bunch of bars for each."""
    peers = list(dict.fromkeys(peer for measure in measures for peer in shown(measure)))
    colours = dict(zip(peers, BUNCH, strict=False))
    place, ticks, figures = 0.0, [], []
    for measure in measures:
        ticks.append(place + (len(shown(measure)) - 1) / 2)
        for peer in shown(measure):
            figures.append(measure.median(peer) or 0.0)
            axes.barh(
                place, figures[-1], color=colours[peer], height=0.85, label=peer if measure is measures[0] else None
            )
            axes.annotate(
                digits(figures[-1]),
                (figures[-1], place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
            place += 1
        place += 0.8
    group = measures[0].group
    axes.set_yticks(ticks, [measure.name.removeprefix(f"{group}, ") for measure in measures], fontsize=10)
    axes.invert_yaxis()
    logarithmic = min(figures) > 0 and max(figures) / min(figures) >= LOG_FROM
    if logarithmic:
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda figure, _: f"{figure:g}")
    axes.set_xlim(right=max(figures) * (3 if logarithmic else 1.2))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=9, frameon=False, ncols=len(peers), loc="upper left", bbox_to_anchor=(0, -0.06))
    scale = ", logarithmic" if logarithmic else ""
    axes.set_title(f"{group} ({measures[0].unit}, {measures[0].better} is better{scale})", fontsize=11, loc="left")


def draw_targets(factors: Sequence[tuple[str, float]], folder: Path) -> None:
    """How many times each target is reached: 1 is just so."""
    with drawing(folder / "targets.png", [HEAD + BAR * len(factors)], 1, 1.5 * WIDTH) as [axes]:
        places = range(len(factors))
        colours = [REACHED if factor >= 1 else OURS for _, factor in factors]
        axes.barh(places, [factor - 1 for _, factor in factors], left=1, color=colours, height=0.72)
        axes.set_yticks(places, [what for what, _ in factors], fontsize=10)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.axvline(1, color="black", linewidth=1)
        least, most = min(factor for _, factor in factors), max(factor for _, factor in factors)
        axes.set_xlim(min(least, 1.0) / 3, max(most, 1.0) * 3)
        for place, (_, factor) in zip(places, factors, strict=True):
            side = (4, "left") if factor >= 1 else (-4, "right")
            text = f"× {digits(factor)}"
            axes.annotate(
                text,
                (factor, place),
                xytext=(side[0], 0),
                textcoords="offset points",
                va="center",
                ha=side[1],
                fontsize=9,
            )
        axes.xaxis.set_major_formatter(lambda figure, _: f"× {figure:g}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title("how many times each target is reached (logarithmic)", fontsize=11, loc="left")


def panel(axes: Any, measure: Measure) -> None:
    """One measure, best on top, floors where they fall."""
    best_first = sorted(
        shown(measure), key=lambda peer: measure.median(peer) or 0.0, reverse=measure.better == "higher"
    )
    medians = [measure.median(peer) or 0.0 for peer in best_first]
    places = range(len(best_first))
    axes.barh(places, medians, color=[colour(peer) for peer in best_first], height=0.72)
    for place, peer in zip(places, best_first, strict=True):
        found = measure.figures(peer)
        axes.plot([min(found), max(found)], [place, place], color="black", linewidth=1.2, solid_capstyle="butt")
    label(axes, measure, best_first, medians)


def label(axes: Any, measure: Measure, peers: Sequence[str], medians: Sequence[float]) -> None:
    """Names on the left, figures on the right, an axis that suits."""
    axes.set_yticks(range(len(peers)), peers, fontsize=10)
    axes.invert_yaxis()
    most = max(max(measure.figures(peer)) for peer in peers)
    least = min((figure for peer in peers for figure in measure.figures(peer) if figure > 0), default=0.0)
    logarithmic = least > 0 and most / least >= LOG_FROM and min(medians) > 0
    if logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(10 ** math.floor(math.log10(least) - 0.05), most * (most / least) ** 0.22)
    else:
        axes.set_xlim(0, most * 1.25 or 1.0)
    for place, peer in enumerate(peers):
        end = max(measure.figures(peer))
        text = told(measure.median(peer), measure.unit)
        axes.annotate(text, (end, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9)
    axes.xaxis.set_major_formatter(lambda figure, _: told(figure, measure.unit) if figure else "0")
    axes.xaxis.set_minor_formatter(lambda *_: "")
    axes.tick_params(axis="x", labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    scale = ", logarithmic" if logarithmic else ""
    axes.set_title(f"{measure.name} ({measure.better} is better{scale})", fontsize=11, loc="left")


def colour(peer: str) -> str:
    """Ours, a floor, or another's."""
    if peer.startswith("floor"):
        return FLOOR
    return OURS if peer.lower().startswith("stoker") else OTHERS
