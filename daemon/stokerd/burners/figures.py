"""Figures for people: from the readings of a burner's processes to what ``status`` shows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from stoker.protocol.models import BurnerWorkerInfo
from stokerd.burners.crew import Place
from stokerd.burners.lookout import Scene
from stokerd.burners.meter import Stint
from stokerd.burners.reading import Reading
from stokerd.burners.settings import Settings


class Figures(NamedTuple):
    """Loads in percent; achieved + shortfall = target."""

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


def worker_info(
    place: Place, reading: Reading, settings: Settings, scene: Scene, stint: Stint | None
) -> BurnerWorkerInfo:
    """One process.

    Args:
        place: where it belongs.
        reading: what it did until now.
        settings: of the burner.
        scene: the machine in the last second.
        stint: what it did in that second; None: not known yet.
    """
    figures = of(reading.target, reading.achieved)
    others, steal = scene.of_core(settings.core(place.index))
    waited = stint.waited if stint is not None else None
    return BurnerWorkerInfo(
        pid=place.spinner.pid if place.spinner is not None else None,
        cpu=settings.core(place.index),
        target=figures.target,
        achieved=figures.achieved,
        shortfall=figures.shortfall,
        cpu_seconds=round(_cpu_seconds(place, reading, settings), 6),
        work=round(reading.work, 3),
        others=round(others, 3),
        steal=round(steal, 3),
        waited=None if waited is None else round(waited * 100, 3),
    )


def _cpu_seconds(place: Place, reading: Reading, settings: Settings) -> float:
    """What a process has burnt; where its figures are not CPU time, by the kernel's clock (clock_getcpuclockid(3))."""
    pid = place.spinner.pid if place.spinner is not None else None
    if settings.is_cpu or pid is None:
        return reading.cpu_seconds
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:  # it has just ended
        return 0.0


def total(shares: Sequence[tuple[float, float]], cores: float) -> Figures:
    """The figures of a whole burner.

    Args:
        shares: target and achieved of each process, shares of one core.
        cores: what 100 % is of all of them together.
    """
    cores = cores or 1.0
    return of(sum(target for target, _ in shares) / cores, sum(achieved for _, achieved in shares) / cores)


def of(target: float, achieved: float) -> Figures:
    """Shares as percent to a thousandth; the shortfall is taken last, so that the sum still holds."""
    target, achieved = round(target * 100, 3), round(achieved * 100, 3)
    return Figures(target, achieved, round(target - achieved, 3) + 0.0)
