"""Figures and reasons for people: from the readings of a burner's processes to what ``status`` shows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from stoker.protocol.models import BurnerWorkerInfo
from stokerd.burners.crew import DEATH_SECONDS, Place
from stokerd.burners.reading import Reading
from stokerd.burners.settings import Settings

STARVED_POINTS = 2.0
"""Points, mean over a burner's processes, from which on a shortfall is called starvation."""

SILENT_SECONDS = 0.5
"""Without a tick for so long, a process is named."""


class Figures(NamedTuple):
    """Means over a burner's processes, percent of one core each; achieved + shortfall = target."""

    target: float
    achieved: float
    shortfall: float


def reading_of(place: Place, target: float, now: float) -> Reading:
    """What the process of a place did; where there is none, all that was wanted of it is missing.

    Args:
        place: one of the burner.
        target: share of a core that it should burn, 0 to 1.
        now: monotonic seconds.
    """
    reading = place.spinner.read(now) if place.spinner is not None else None
    return reading or Reading(target, 0.0, target, 0.0, 0.0, 0.0)


def worker_info(place: Place, reading: Reading, settings: Settings) -> BurnerWorkerInfo:
    """One process."""
    figures = _figures(reading.target, reading.achieved)
    return BurnerWorkerInfo(
        pid=place.spinner.pid if place.spinner is not None else None,
        cpu=settings.core(place.index),
        target=figures.target,
        achieved=figures.achieved,
        shortfall=figures.shortfall,
        cpu_seconds=round(reading.cpu_seconds, 6),
    )


def mean(readings: Sequence[Reading]) -> Figures:
    """Means over all processes."""
    count = max(1, len(readings))
    return _figures(
        sum(reading.target for reading in readings) / count, sum(reading.achieved for reading in readings) / count
    )


def _figures(target: float, achieved: float) -> Figures:
    """Shares as percent to a thousandth; the shortfall is taken last, so that the sum still holds."""
    target, achieved = round(target * 100, 3), round(achieved * 100, 3)
    return Figures(target, achieved, round(target - achieved, 3) + 0.0)


def reason(places: Sequence[Place], readings: Sequence[Reading], settings: Settings, now: float) -> str:
    """Why a burner that runs is not well; empty where it is.

    Args:
        places: of the burner.
        readings: one for each.
        settings: of the burner.
        now: monotonic seconds.
    """
    return _loss(places, now) or _absence(places) or _silence(places, readings) or _starvation(readings, settings)


def _loss(places: Sequence[Place], now: float) -> str:
    """The last process that was lost, for a while after it has been replaced too."""
    lost = [place for place in places if place.deaths]
    place = max(lost, key=lambda place: place.deaths[-1], default=None)
    if place is None or (now - place.deaths[-1] > DEATH_SECONDS and place.spinner is not None):
        return ""
    then = "replaced" if place.spinner is not None and place.spinner.observed else "its replacement does not burn yet"
    return f"{place.loss}, {now - place.deaths[-1]:.1f} s ago; {then}"


def _absence(places: Sequence[Place]) -> str:
    absent = sum(place.spinner is None or not place.spinner.observed for place in places)
    return f"{absent} of {len(places)} processes do not burn yet" if absent else ""


def _silence(places: Sequence[Place], readings: Sequence[Reading]) -> str:
    for place, reading in zip(places, readings, strict=True):
        if reading.silent >= SILENT_SECONDS and place.spinner is not None:
            return f"process {place.spinner.pid} has made no progress for {reading.silent:.1f} s: stopped or starved"
    return ""


def _starvation(readings: Sequence[Reading], settings: Settings) -> str:
    if mean(readings).shortfall < STARVED_POINTS:
        return ""
    wanted = sum(reading.target for reading in readings)
    cores = len(set(settings.cpus) or os.sched_getaffinity(0))
    if wanted > cores:
        return f"starved: its {len(readings)} processes want {wanted:.2f} cores and may use {cores}"
    return "starved: others use the cores"
