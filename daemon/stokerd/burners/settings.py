"""What a burner was asked to be, checked before anything is started."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass

from stoker.errors import InvalidParams
from stoker.protocol.models import Environment
from stoker.protocol.typed import nearest
from stokerd.burners.kinds import KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One burner as ordered.

    Args:
        name: its name.
        workers: number of processes.
        load: target of each in percent of one core.
        seconds: time limit, counted from when the load has been observed; ``inf``: none.
        cpus: process i is pinned to ``cpus[i % len(cpus)]``; empty: not pinned.
        nice: niceness.
        generator: a key of :data:`~stokerd.burners.kinds.KINDS`.
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

    def core(self, index: int) -> int | None:
        """The core that process ``index`` is pinned to; None: none."""
        return self.cpus[index % len(self.cpus)] if self.cpus else None


def check(settings: Settings, most: int) -> None:
    """Refuse what cannot be.

    Args:
        settings: what was asked for.
        most: how many processes one daemon may have burn.

    Raises:
        InvalidParams: something is outside its limits; the message says what they are.
    """
    check_workers(settings.workers, most)
    check_load(settings.load)
    check_seconds(settings.seconds)
    check_cpus(settings.cpus, os.sched_getaffinity(0))
    if not -20 <= settings.nice <= 19:
        raise InvalidParams(f"niceness {settings.nice} is outside -20 to 19", hint="10 is gentle, 0 is ordinary")
    if settings.generator not in KINDS:
        raise InvalidParams(
            f"there is no generator {settings.generator!r}",
            hint=nearest(settings.generator, KINDS) or f"choose from: {', '.join(KINDS)}",
        )


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
