"""A curve as a picture, by matplotlib, which ``stoker[plot]`` brings and which is imported here and nowhere else."""

from __future__ import annotations

import math
from pathlib import Path

from stoker.cli.plot import tick
from stoker.cli.values import UsageError
from stoker.protocol.curve import Curve
from stoker.protocol.profile import duration

SAMPLES = 1600
"""Points of the outline beside its edges: two for each pixel."""
MOST_EDGES = 20_000
_WIDTH, _HEIGHT, _DPI = 10.0, 4.5, 110
_LINE, _FILL, _INK = "#0b6e8f", "#cfe6ee", "#333333"


def save(curve: Curve, seconds: float, title: str, path: Path) -> None:
    """Write the picture.

    Args:
        curve: the levels.
        seconds: how much of it.
        title: above it.
        path: where to; the ending says what kind: .png, .svg or .pdf.

    Raises:
        UsageError: matplotlib is not there, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError(
            "a picture needs matplotlib, which is not installed", hint="pip install 'stoker[plot]'"
        ) from None
    figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    times, levels = outline(curve, seconds)
    axes.fill_between(times, levels, color=_FILL, linewidth=0)
    axes.plot(times, levels, color=_LINE, linewidth=1.6)
    step = tick(seconds, 8)
    marks = [mark * step for mark in range(int(seconds / step + 1e-9) + 1)]
    axes.set_xticks(marks, ["0s" if not mark else duration(round(mark, 3)) for mark in marks])
    axes.set_yticks(range(0, 101, 20), [f"{level} %" for level in range(0, 101, 20)])
    axes.set_xlim(0, seconds)
    axes.set_ylim(0, 104)
    axes.grid(visible=True, color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK, length=0)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(side == "bottom")
    axes.set_title(_wrapped(title), loc="left", fontsize=10, color=_INK, family="monospace", parse_math=False)
    kind = path.suffix.removeprefix(".").lower() or "png"
    if kind not in ("png", "svg", "pdf"):
        raise UsageError(f"a picture cannot be of the kind {path.suffix!r}", hint="end its name in .png, .svg or .pdf")
    try:
        figure.savefig(path, format=kind)
    except OSError as why:
        raise UsageError(f"the picture {path} cannot be written: {why.strerror or why}") from None


def outline(curve: Curve, seconds: float) -> tuple[list[float], list[float]]:
    """The corners of the curve: enough points where it moves, and both sides of each edge."""
    times = [seconds * at / SAMPLES for at in range(SAMPLES + 1)]
    position = 0.0
    for _ in range(MOST_EDGES):
        position = max(curve.next_change(position, 100.0), math.nextafter(position, math.inf))
        if position >= seconds:
            break
        times += [position - seconds * 1e-9, position + seconds * 1e-9]
    times.sort()
    return times, [curve.at(min(max(at, 0.0), seconds - seconds * 1e-9)) for at in times]


def _wrapped(title: str, width: int = 100) -> str:
    lines, line = [], ""
    for word in title.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = ""
        line = f"{line} {word}" if line else word
    lines.append(line)
    return "\n".join(lines if len(lines) <= 3 else [*lines[:2], lines[2][: width - 1] + "…"])
