"""What a profile will do, in figures: of all of it, and of each segment. Pure."""

from __future__ import annotations

import math
from typing import Any

from stoker.cli import render
from stoker.cli.values import spell
from stoker.protocol.curve import Curve
from stoker.protocol.profile import Noise, Profile, Saw, Sine, Square, spelled
from stoker.protocol.shapes import Points

POINTS = 240
"""Levels that ``--json`` shows, evenly spread."""

Map = dict[str, Any]


def horizon(profile: Profile, curve: Curve, limit: float | None) -> float:
    """Seconds to show: all of it, as far as the time limit allows; of what has no end, enough to see how it goes."""
    if limit is not None and not math.isinf(limit):
        return min(limit, curve.seconds)
    if not math.isinf(curve.seconds):
        return curve.seconds
    if math.isinf(curve.times):
        return 2 * sum(leg.seconds for leg in curve.round)
    begin = sum(leg.seconds for leg in curve.round[:-1])
    match profile.segments[-1]:
        case Sine(period=period) | Square(period=period) | Saw(period=period):
            turn = 3 * period / profile.speed
        case Noise(every=every):
            turn = 60 * every / profile.speed
        case _:  # a level, or a trace that loops
            shape = curve.round[-1].shape
            turn = 2 * shape.whole if isinstance(shape, Points) else 60.0
    return begin + max(begin / 4, turn)


def facts(profile: Profile, curve: Curve, workers: int, limit: float | None) -> Map:
    """All figures.

    Args:
        profile: as it was read.
        curve: laid out from it.
        workers: number of processes.
        limit: seconds after which it is ended; None: it goes to its end.
    """
    seconds = min(curve.seconds, math.inf if limit is None else limit)
    shown = horizon(profile, curve, limit)
    area = curve.area(0.0, shown)
    segments = [_segment(curve, begin, number, workers) for number, begin in enumerate(_starts(curve))]
    levels = [curve.at(shown * at / POINTS) for at in range(POINTS + 1)]
    legs = [leg.shape.span(leg.seconds) for leg in curve.round if leg.seconds]
    return {
        "profile": spelled(profile),
        "workers": workers,
        "seconds": None if math.isinf(seconds) else round(seconds, 6),
        "shown_seconds": round(shown, 6),
        "cpu_seconds": round(area / 100 * workers, 6),
        "mean": round(area / shown, 6),
        "peak": round(max(high for _, high in legs), 6),
        "lowest": round(min(low for low, _ in legs), 6),
        "mean_cores": round(area / shown / 100 * workers, 6),
        "peak_cores": round(max(high for _, high in legs) / 100 * workers, 6),
        "rounds": None if math.isinf(curve.times) else int(curve.times),
        "segments": segments,
        "points": [[round(shown * at / POINTS, 6), round(level, 6)] for at, level in enumerate(levels)],
    }


def _starts(curve: Curve) -> list[float]:
    return [begin for begin, _ in curve.legs()]


def _segment(curve: Curve, begin: float, index: int, workers: int) -> Map:
    leg = curve.round[index]
    endless = math.isinf(leg.seconds)
    low, high = leg.shape.span(leg.seconds) if leg.seconds else (leg.shape.at(0.0),) * 2
    mean = None if endless or not leg.seconds else leg.shape.area(0.0, leg.seconds) / leg.seconds
    return {
        "number": leg.number,
        "text": leg.text,
        "at": round(begin, 6),
        "seconds": None if endless else round(leg.seconds, 6),
        "lowest": round(low, 6),
        "highest": round(high, 6),
        "mean": None if mean is None else round(mean, 6),
        "cpu_seconds": None if endless else round((mean or 0.0) * leg.seconds / 100 * workers, 6),
    }


def summary(found: Map, usable: int, *, colour: bool) -> str:
    """The figures for people, in a few lines.

    Args:
        found: from :func:`facts`.
        usable: cores of this machine.
        colour: use colours.
    """
    endless = found["seconds"] is None
    workers = found["workers"]
    whole = "no end: until its time limit" if endless else _spell(found["seconds"])
    if found["rounds"] != 1:
        one = _spell(sum(segment["seconds"] or 0.0 for segment in found["segments"]))
        whole += f" ({found['rounds'] or 'endless'} rounds of {one})"
    first = f"first {_spell(found['shown_seconds'])}: " if endless else ""
    lines = [
        ("duration", whole),
        ("CPU time", f"{first}{found['cpu_seconds']:.1f} s in {workers} process{'es' * (workers != 1)}"),
        ("cores", f"at most {found['peak_cores']:.2f}, {found['mean_cores']:.2f} in the mean"),
        ("level", f"mean {found['mean']:.1f} %, lowest {found['lowest']:.1f} %, peak {found['peak']:.1f} %"),
    ]
    text = "\n".join(f"{render.paint(f'{head:<9}', 'bold', colour=colour)} {line}" for head, line in lines)
    if found["peak_cores"] > usable:
        warning = f"this machine has {usable} core{'s' * (usable != 1)}: it will fall short of its peak here"
        text += "\n" + render.paint(f"{'':<9} {warning}", "yellow", colour=colour)
    return text


def table(found: Map, width: int, *, colour: bool) -> str:
    """The segments of one round, in lines of at most ``width`` characters where their figures leave room for that."""
    text = _table(found, 60, colour=False)
    wide = max(map(len, text.splitlines()))
    longest = max(len(segment["text"]) for segment in found["segments"])
    return _table(found, max(min(longest, 60) - max(wide - width, 0), 12), colour=colour)


def _table(found: Map, room: int, *, colour: bool) -> str:
    rows = [
        (
            segment["number"],
            _spell(segment["at"]),
            "no end" if segment["seconds"] is None else _spell(segment["seconds"]),
            render.shorten(render.clean(segment["text"]), room),
            "-" if segment["mean"] is None else f"{segment['mean']:.1f} %",
            f"{segment['highest']:.1f} %",
            "-" if segment["cpu_seconds"] is None else f"{segment['cpu_seconds']:.1f} s",
        )
        for segment in found["segments"]
    ]
    return render.table((">#", ">AT", ">LASTS", "SEGMENT", ">MEAN", ">PEAK", ">CPU TIME"), rows, colour=colour)


def _spell(seconds: float) -> str:
    return "0s" if not seconds else spell(seconds)
