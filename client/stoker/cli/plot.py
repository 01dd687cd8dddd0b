"""A curve in a terminal: filled columns of block characters over an axis of time. Pure.

A column shows the mean of its stretch, to an eighth of a row. Where the level moves by more than a row within one
column, as at the edges of a square, the column is full up to the lowest level and shaded up to the highest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from stoker.cli import render
from stoker.protocol.curve import Curve
from stoker.protocol.profile import duration

ROWS = 12
SAMPLES = 24
"""Levels that are looked at in one column, beside its mean."""

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_SHADE = "░"
_MARGIN = 5
_NICE = (*(1, 2, 5, 10, 15, 30), *(60, 120, 300, 600, 900, 1800), *(3600, 7200, 10800, 21600, 43200))
_DAY = 86400


def text(curve: Curve, seconds: float, width: int, *, colour: bool = False) -> str:
    """The plot, :data:`ROWS` rows and an axis.

    Args:
        curve: the levels.
        seconds: how much of it.
        width: characters of a line.
        colour: use colours.
    """
    columns = max(width - _MARGIN - 2, 20)
    cells = [_column(curve, at * seconds / columns, (at + 1) * seconds / columns) for at in range(columns)]
    lines = [_numbers(curve, seconds, columns)]
    for row in range(ROWS):
        level = "" if row % (ROWS // 4) else f"{100 - 100 * row // ROWS}"
        bar = "".join(cell[row] for cell in cells).rstrip()
        lines.append(_line(f"{level:>{_MARGIN - 2}} {'┤' if level else '│'}", bar, colour=colour))
    marks, labels = _axis(seconds, columns)
    lines.append(_line(f"{'0':>{_MARGIN - 2}} ", marks, colour=colour, bar=False))
    lines.append(" " * (_MARGIN - 1) + labels)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _line(left: str, right: str, *, colour: bool, bar: bool = True) -> str:
    if not bar:
        return render.paint(left + right, "dim", colour=colour)
    return render.paint(left, "dim", colour=colour) + render.paint(right, "cyan", colour=colour)


def _column(curve: Curve, begin: float, end: float) -> list[str]:
    """The characters of one column, the highest row first."""
    looks = [curve.at(begin + (end - begin) * (at + 0.5) / SAMPLES) for at in range(SAMPLES)]
    low, high, mean = min(looks), max(looks), curve.area(begin, end) / (end - begin)
    if high - low <= 100 / ROWS:
        low = high = mean
    full, top = low * ROWS / 100, high * ROWS / 100
    cells = []
    for row in range(ROWS):
        fill = full - (ROWS - 1 - row)
        eighths = round(min(max(fill, 0.0), 1.0) * 8)
        shaded = eighths == 0 and ROWS - 1 - row < top - 1e-9 and high > low
        cells.append(_SHADE if shaded else _EIGHTHS[eighths])
    if mean > 0 and not any(cell != " " for cell in cells):
        cells[-1] = _EIGHTHS[1]  # little is not nothing
    return cells


def _numbers(curve: Curve, seconds: float, columns: int) -> str:
    """The segments' numbers, where each begins; those without room are left out."""
    line = [" "] * (columns + _MARGIN)
    free = 0
    for begin, number in _begins(curve, seconds):
        at = _MARGIN + min(int(begin / seconds * columns + 0.5), columns - 1)
        word = str(number)
        if at >= free and at + len(word) <= len(line):
            line[at : at + len(word)] = word
            free = at + len(word) + 1
    return "".join(line)


def _begins(curve: Curve, seconds: float) -> Iterator[tuple[float, int]]:
    position, seen = 0.0, 0
    while position < seconds and seen < 500:
        place = curve.place(position)
        if place.leg.seconds:
            yield place.begin, place.leg.number
        position, seen = max(place.end, math.nextafter(position, math.inf)), seen + 1


def _axis(seconds: float, columns: int) -> tuple[str, str]:
    """The line with its marks, and the times under them."""
    step = tick(seconds, columns // 10)
    line, labels = ["─"] * columns, [" "] * (columns + 12)
    for mark in range(int(seconds / step + 1e-9) + 1):
        at = round(mark * step / seconds * columns)
        word = "0s" if mark == 0 else duration(round(mark * step, 3))
        if at < columns:
            line[at] = "┴"
        if at + len(word) <= columns + 1:
            labels[at : at + len(word)] = word
    return "└" + "".join(line), "".join(labels)


def tick(seconds: float, most: int) -> float:
    """A round number of seconds that fits into ``seconds`` at most so many times."""
    least = seconds / max(most, 1)
    if least < 1:
        power = 10.0 ** math.floor(math.log10(least))
        return next(power * by for by in (1, 2, 5, 10) if power * by >= least)
    for step in _NICE:
        if step >= least:
            return step
    days = least / _DAY
    power = 10.0 ** math.floor(math.log10(max(days, 1)))
    return _DAY * next((power * by for by in (1, 2, 5, 10) if power * by >= days), math.ceil(days))
