"""Step: two burners at 60 % of a core, as they tell it and as an outside reading sees it."""

from __future__ import annotations

import time

import psutil

from stoker.client import Client
from stoker.demo.verdict import Verdict

LOAD = 60.0
SECONDS = 5
LIMIT = 60.0
"""Seconds after which they would end by themselves."""
AGREEMENT = 2.0
"""Points by which the outside reading may differ from what the burner tells, and either from the target."""
NAMES = ("heat-1", "heat-2")


def run(client: Client) -> Verdict:
    """Burn for some seconds; compare CPU time over the same stretch, theirs and the kernel's.

    On a busy machine a burner may fall short. That it then says so is part of what must hold.
    """
    try:
        pids = [client.start_burner(name, load=LOAD, seconds=LIMIT).pids[0] for name in NAMES]
        first = _read(client, pids)
        short = [max(each) for each in zip(*(_shortfall_after_a_second(client) for _ in range(SECONDS)), strict=True)]
        second = _read(client, pids)
    finally:
        survivors = client.stop(*NAMES).survivors
    told, seen = ([_percent(first[pid], second[pid], side) for pid in pids] for side in (1, 2))
    agree = all(abs(one - other) <= AGREEMENT for one, other in zip(told, seen, strict=True))
    reached = all(
        one <= LOAD + AGREEMENT and (one >= LOAD - AGREEMENT or admitted >= AGREEMENT)
        for one, admitted in zip(seen, short, strict=True)
    )
    said = (
        f"target {LOAD:g} % each; status says {told[0]:.2f} and {told[1]:.2f} %,"
        f" psutil saw {seen[0]:.2f} and {seen[1]:.2f} % over {SECONDS} s; survivors {survivors}"
    )
    if max(short) >= AGREEMENT:
        said += f" (others wanted the CPU too: in one second {max(short):.1f} % fell short, and status said so)"
    facts = {"target": LOAD, "pids": pids, "status": told, "psutil": seen, "shortfall": short, "survivors": survivors}
    gone = not any(psutil.pid_exists(pid) for pid in pids)
    return Verdict(agree and reached and gone and not survivors, said, facts)


def _shortfall_after_a_second(client: Client) -> list[float]:
    """What each burner admits for the second that this takes."""
    time.sleep(1)
    return [burner.shortfall for burner in client.status(*NAMES).burners]


def _read(client: Client, pids: list[int]) -> dict[int, tuple[float, float, float]]:
    """Process id -> (moment, CPU seconds as the burner tells, CPU seconds as the kernel tells)."""
    told = {worker.pid: worker.cpu_seconds for burner in client.status(*NAMES).burners for worker in burner.workers}
    found = {}
    for pid in pids:
        times = psutil.Process(pid).cpu_times()
        found[pid] = (time.monotonic(), told[pid], times.user + times.system)
    return found


def _percent(before: tuple[float, float, float], after: tuple[float, float, float], side: int) -> float:
    return 100 * (after[side] - before[side]) / (after[0] - before[0])
