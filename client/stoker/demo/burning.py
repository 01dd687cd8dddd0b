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

    It holds when both readings agree, and each burner reached its target or said that it could not: on a busy machine
    others take the CPU, and a burner that falls short must not read as fine.
    """
    try:
        pids = [client.start_burner(name, load=LOAD, seconds=LIMIT).pids[0] for name in NAMES]
        first = _read(client, pids)
        reasons = _watch(client)
        second = _read(client, pids)
    finally:
        survivors = client.stop(*NAMES).survivors
    gone = not any(psutil.pid_exists(pid) for pid in pids)
    told, seen = ([_percent(first[pid], second[pid], side) for pid in pids] for side in (1, 2))
    agree = all(abs(one - other) <= AGREEMENT for one, other in zip(told, seen, strict=True))
    reached = all(abs(LOAD - one) <= AGREEMENT or reasons[name] for name, one in zip(NAMES, seen, strict=True))
    said = (
        f"target {LOAD:g} % each; status says {told[0]:.2f} and {told[1]:.2f} %,"
        f" psutil saw {seen[0]:.2f} and {seen[1]:.2f} %"
        f" over {SECONDS:g} s; survivors {survivors}"
    )
    for name in NAMES:
        if reasons[name]:
            said += f"; {name}: {reasons[name]}"
    facts = {
        "target": LOAD,
        "pids": pids,
        "status": told,
        "psutil": seen,
        "reasons": reasons,
        "survivors": survivors,
    }
    return Verdict(agree and reached and gone and not survivors, said, facts)


def _watch(client: Client) -> dict[str, str]:
    """Let the stretch pass; why each burner fell short in it, empty where it did not."""
    reasons = dict.fromkeys(NAMES, "")
    end = time.monotonic() + SECONDS
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(1.0, left))  # what is measured is this stretch
        for burner in client.status(*NAMES).burners:
            reasons[burner.name] = reasons[burner.name] or burner.reason
    return reasons


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
