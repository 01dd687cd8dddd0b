"""Why a burner is not well: what happened to its processes, and who has the CPU that is missing. With figures.

The causes of a shortfall are looked at in this order, and the first that explains it is named:

``pinned-together``
    its processes can't have what they ask for, whoever else runs: too many of them share their cores;
``quota``
    the CPU quota of the daemon's cgroup, or of one above it, held processes back in the last second;
``steal``
    the hypervisor took at least half of what is missing;
``starved-by-others``
    what remains: others run on the cores.

Where the load is no CPU time there is one cause: ``device``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stoker.protocol.models import BurnerReason
from stokerd.burners.crew import DEATH_SECONDS, Place
from stokerd.burners.lookout import Scene
from stokerd.burners.reading import Reading
from stokerd.burners.settings import Settings

STARVED_POINTS = 2.0
"""Points of one core, mean over a burner's processes, from which on a shortfall has a reason."""

SILENT_SECONDS = 0.5
"""Without a tick for so long, a process that should burn is named."""

_ALMOST = 1e-6


class Demand(NamedTuple):
    """What all burners together ask of the cores.

    Args:
        pinned: of each core, by the processes that are pinned to it.
        wanted: by all processes.
    """

    pinned: Mapping[int, float]
    wanted: float


def of_processes(places: Sequence[Place], readings: Sequence[Reading], now: float) -> BurnerReason | None:
    """What happened to a burner's processes, if anything.

    Args:
        places: of the burner.
        readings: one for each.
        now: monotonic seconds.
    """
    return _loss(places, now) or _absence(places) or _silence(places, readings)


def of_notes(places: Sequence[Place]) -> list[BurnerReason]:
    """What processes say of themselves, each sentence once."""
    notes = dict.fromkeys(place.spinner.note for place in places if place.spinner is not None)
    return [BurnerReason(code="note", text=note) for note in notes if note]


def of_shortfall(
    missing: float, settings: Settings, scene: Scene, demand: Demand, waited: float | None
) -> BurnerReason:
    """Who has the CPU that a burner lacks.

    Args:
        missing: cores.
        settings: of the burner.
        scene: the machine in the last second.
        demand: of all burners.
        waited: percent of the second for which its processes waited for a core, mean; None: not known.
    """
    if not settings.is_cpu:
        return BurnerReason(code="device", text=f"device: it gives {missing * 100:.1f} points less than the rate")
    return (
        _together(settings, scene, demand)
        or _quota(scene)
        or _steal(missing, settings, scene)
        or _others(settings, scene, waited)
    )


def _loss(places: Sequence[Place], now: float) -> BurnerReason | None:
    """The last process that was lost, for a while after it has been replaced too."""
    lost = [place for place in places if place.deaths]
    place = max(lost, key=lambda place: place.deaths[-1], default=None)
    if place is None or (now - place.deaths[-1] > DEATH_SECONDS and place.spinner is not None):
        return None
    then = "replaced" if place.spinner is not None and place.spinner.observed else "its replacement does not burn yet"
    return BurnerReason(code="lost", text=f"{place.loss}, {now - place.deaths[-1]:.1f} s ago; {then}")


def _absence(places: Sequence[Place]) -> BurnerReason | None:
    absent = sum(place.spinner is None or not place.spinner.observed for place in places)
    text = f"{absent} of {len(places)} processes do not burn yet"
    return BurnerReason(code="absent", text=text) if absent else None


def _silence(places: Sequence[Place], readings: Sequence[Reading]) -> BurnerReason | None:
    for place, reading in zip(places, readings, strict=True):
        if reading.silent >= SILENT_SECONDS and place.spinner is not None and reading.target > 0:
            text = f"process {place.spinner.pid} has made no progress for {reading.silent:.1f} s: stopped or starved"
            return BurnerReason(code="silent", text=text)
    return None


def _reason(code: str, text: str) -> BurnerReason:
    return BurnerReason(code=code, text=f"{code}: {text}")


def _together(settings: Settings, scene: Scene, demand: Demand) -> BurnerReason | None:
    crowded = [core for core in dict.fromkeys(settings.cpus) if demand.pinned.get(core, 0.0) > 1 + _ALMOST]
    if crowded:
        asked = demand.pinned[crowded[0]]
        return _reason("pinned-together", f"processes that want {asked:.2f} cores are pinned on core {crowded[0]}")
    if not settings.cpus and demand.wanted > scene.capacity.cores + _ALMOST:
        cores = scene.capacity.cores
        return _reason(
            "pinned-together",
            f"burners want {demand.wanted:.2f} cores, and all of them may run on {cores} core{'s' * (cores != 1)}",
        )
    return None


def _quota(scene: Scene) -> BurnerReason | None:
    if scene.throttled.periods <= 0:
        return None
    return _reason(
        "quota",
        f"the CPU quota of {scene.capacity.quota:.2f} cores held processes back in {scene.throttled.periods} periods"
        f" of the last second, for {scene.throttled.seconds:.2f} s",
    )


def _steal(missing: float, settings: Settings, scene: Scene) -> BurnerReason | None:
    cores = set(settings.cpus) & set(scene.cores) or set(scene.cores)
    stolen = sum(scene.cores[core].steal for core in cores) / scene.seconds if scene.seconds > 0 else 0.0
    if stolen < missing / 2 or stolen <= 0:
        return None
    return _reason("steal", f"the hypervisor took {stolen:.2f} of {len(cores)} cores, {missing:.2f} are missing")


def _others(settings: Settings, scene: Scene, waited: float | None) -> BurnerReason:
    if scene.seconds <= 0:
        return _reason("starved-by-others", "others use the cores")
    core = settings.cpus[0] if len(set(settings.cpus)) == 1 else None
    others, steal = scene.of_core(core)
    where = f"core {core}" if core is not None else f"the {scene.capacity.cores} cores"
    said = f"others use {others:.1f} % of {where}, steal is {steal:.1f} %"
    return _reason(
        "starved-by-others", said if waited is None else f"{said}; its processes waited {waited:.1f} % of the time"
    )
