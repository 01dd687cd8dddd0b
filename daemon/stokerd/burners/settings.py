"""What a burner was asked to be, checked before anything is started."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stoker.errors import InvalidParams
from stoker.protocol.guards import Guard
from stoker.protocol.models import Environment
from stokerd.burners import demands, measure
from stokerd.burners.host import Capacity, Host
from stokerd.burners.timeline import Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One burner as ordered.

    Args:
        name: its name.
        workers: number of processes.
        load: target in percent of what ``of`` says; of a profile, its highest level.
        profile: what the load is to be over time; None: always ``load``.
        by_profile: the end of the profile is its time limit.
        of: what 100 % is: ``core``, ``machine`` or ``quota``; see :mod:`stokerd.burners.measure`.
        mode: ``add``: burn so much; ``total``: bring the machine to so much, whatever else runs.
        no_reserve: do without the reserve that burners leave free.
        guards: what holds it back or ends it.
        yields: burn less by the cores that running jobs use.
        seconds: time limit, counted from when the load has been observed; ``inf``: none.
        cpus: process i is pinned to ``cpus[i % len(cpus)]``; empty: not pinned.
        nice: niceness.
        generator: a key of :data:`stoker.protocol.loads.LOADS`, or ``stress-ng:STRESSOR``.
        params: of the kind, JSON values; see :mod:`stokerd.burners.demands`.
        environment: whose interpreter runs it.
    """

    name: str
    workers: int
    load: float
    seconds: float
    cpus: tuple[int, ...]
    nice: int
    generator: str
    environment: Environment
    of: str = "core"
    mode: str = "add"
    no_reserve: bool = False
    guards: tuple[Guard, ...] = ()
    yields: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)
    profile: Timeline | None = None
    by_profile: bool = False

    def core(self, index: int) -> int | None:
        """The core that process ``index`` is pinned to; None: none."""
        return self.cpus[index % len(self.cpus)] if self.cpus else None

    @property
    def is_cpu(self) -> bool:
        """Its 100 % is CPU time."""
        return self.generator not in demands.NO_CPU

    @property
    def is_governed(self) -> bool:
        """It brings the machine to a total."""
        return self.mode == "total"

    def cores(self, load: float, capacity: Capacity) -> float:
        """A load in cores, all processes together."""
        return measure.cores(self.of, load, self.workers, capacity)


def check(settings: Settings, most: int, host: Host) -> None:
    """Refuse what cannot be.

    Args:
        settings: what was asked for.
        most: how many processes one daemon may have burn.
        host: the machine.

    Raises:
        InvalidParams: something is outside its limits; the message says what they are.
    """
    check_workers(settings.workers, most)
    check_load(settings.load)
    check_seconds(settings.seconds)
    check_cpus(settings.cpus, host.cpus)
    demands.check_kind(settings.generator, settings.params)
    demands.check_unit(settings.generator, settings.of, settings.mode)
    check_delivery(settings, host.capacity())
    if not -20 <= settings.nice <= 19:
        raise InvalidParams(f"niceness {settings.nice} is outside -20 to 19", hint="10 is gentle, 0 is ordinary")


def check_load(load: float) -> None:
    """Refuse a load that no core can have.

    Raises:
        InvalidParams: it is outside 0 to 100.
    """
    if not 0 <= load <= 100:
        raise InvalidParams(
            f"a load of {load:g} % is outside 0 to 100",
            hint="the load is each process's share of one core; for more than one core, raise the number of workers",
        )


def check_delivery(settings: Settings, capacity: Capacity) -> None:
    """Refuse a load of the machine or the quota that its processes cannot make.

    Raises:
        InvalidParams: with the arithmetic.
    """
    measure.check_deliverable(settings.of, settings.load, settings.workers, settings.cpus, capacity)


def check_workers(workers: int, most: int) -> None:
    """Refuse a number of processes that cannot be.

    Raises:
        InvalidParams: it is outside 1 to ``most``.
    """
    if workers < 1:
        raise InvalidParams(
            f"a burner needs at least 1 worker, not {workers}", hint="stop the burner, or pause it, to end its load"
        )
    if workers > most:
        raise InvalidParams(
            f"{workers} workers are too many: this daemon allows {most} burner processes in all",
            hint="more processes than cores add no load",
        )


def check_seconds(seconds: float) -> None:
    """Refuse a time limit that is over before it begins.

    Raises:
        InvalidParams: it is not above 0.
    """
    if math.isnan(seconds) or seconds <= 0:
        raise InvalidParams(f"a time limit of {seconds:g} s is not above 0", hint="for no limit, ask for `inf`")


def check_cpus(cpus: tuple[int, ...], allowed: Iterable[int]) -> None:
    """Refuse cores that this daemon cannot pin to.

    Raises:
        InvalidParams: one does not exist, or is outside the daemon's affinity.
    """
    usable = sorted(allowed)
    if wrong := sorted(set(cpus) - set(usable)):
        raise InvalidParams(
            f"{'core' if len(wrong) == 1 else 'cores'} {_listed(wrong)} cannot be used here",
            hint=f"the cores that this daemon may use: {_listed(usable)}",
            data={"allowed": usable},
        )


def _listed(cores: list[int]) -> str:
    return ", ".join(map(str, cores))
