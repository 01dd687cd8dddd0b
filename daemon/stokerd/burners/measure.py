"""What a percentage is of, in cores; what is left free; how what there is is shared out. Pure arithmetic.

===========  ==============================  ====================================================
``of``       100 % is                        a load of ``load`` % is, in cores
===========  ==============================  ====================================================
``core``     one core, for each process      ``load / 100 * workers``
``machine``  all cores of the affinity       ``load / 100 * cores``
``quota``    what the cgroups leave of them  ``load / 100 * quota``
===========  ==============================  ====================================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from stoker.errors import InvalidParams
from stokerd.burners.host import Capacity

RESERVE_CORES, RESERVE_SHARE = 1.0, 0.1
"""What burners leave free: one core, or a tenth of what may be used, whichever is less."""

_ALMOST = 1e-9


def whole(of: str, capacity: Capacity) -> float:
    """What 100 % is, in cores."""
    return {"core": 1.0, "machine": float(capacity.cores), "quota": capacity.quota}[of]


def unit(of: str, capacity: Capacity) -> str:
    """What 100 % is, in words."""
    if of == "core":
        return "one core, for each process"
    if of == "machine":
        return f"all {capacity.cores} cores that the daemon may use"
    return f"the {capacity.quota:.2f} cores that affinity and the CPU quota of its cgroup leave the daemon"


def cores(of: str, load: float, workers: int, capacity: Capacity) -> float:
    """A load in cores, all processes together.

    Args:
        of: what 100 % is.
        load: percent.
        workers: number of processes.
        capacity: of the machine.
    """
    return load / 100 * whole(of, capacity) * (workers if of == "core" else 1)


def usual_workers(of: str, capacity: Capacity) -> int:
    """How many processes a burner has that names no number."""
    return 1 if of == "core" else max(1, math.ceil(whole(of, capacity)))


def reserve(capacity: Capacity) -> float:
    """The cores that burners leave free."""
    return min(RESERVE_CORES, RESERVE_SHARE * capacity.quota)


def check_deliverable(of: str, load: float, workers: int, cpus: Sequence[int], capacity: Capacity) -> None:
    """Refuse a load that its processes cannot make, however free the machine is.

    Of one core, for each process, every load can be tried; that processes share a core is told, not refused.

    Raises:
        InvalidParams: with the arithmetic.
    """
    if of == "core":
        return
    wanted, able = cores(of, load, workers, capacity), min(workers, len(set(cpus)) or workers)
    if wanted > able + _ALMOST:
        pinned = f" pinned on {able} core{'s' * (able != 1)}" if able < workers else ""
        raise InvalidParams(
            f"{load:g} % of {unit(of, capacity)} is {wanted:.2f} cores, and {workers}"
            f" process{'es' * (workers != 1)}{pinned} can burn {able:.2f} at most",
            hint=f"ask for at most {100 * able / whole(of, capacity):g} %, or for {math.ceil(wanted - _ALMOST)} workers"
            f"{' on as many cores' if pinned else ''}",
        )


def share_out(amount: float, wishes: Sequence[float], most: Sequence[float]) -> list[float]:
    """Share an amount out in proportion to what each wishes, none getting more than it can use.

    Args:
        amount: to be shared out; what nobody can use is left over.
        wishes: the weights.
        most: what each can use.
    """
    shares = [0.0] * len(wishes)
    open_ = [index for index, wish in enumerate(wishes) if wish > 0 and most[index] > 0]
    left = amount
    while open_ and left > _ALMOST:
        weight = sum(wishes[index] for index in open_)
        given = {index: left * (wishes[index] / weight) for index in open_}
        full = [index for index in open_ if shares[index] + given[index] >= most[index]]
        for index in full or open_:
            step = min(given[index], most[index] - shares[index])
            shares[index] += step
            left -= step
        open_ = [index for index in open_ if index not in full] if full else []
    return shares
