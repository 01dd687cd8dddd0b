"""The machine as burners see it: the cores that they may use, and what the kernel tells of them.

Everything is read below one folder, ``/`` outside of tests, when somebody asks; nothing is kept. The CPU times are
those of ``/proc/stat``, per core, of the cores in the affinity only.

Busy is what is not idle: the kernel measures idle time to the microsecond, while the times of what runs are, on most
kernels, sampled by a tick of 1 to 10 ms, which a process that sleeps and burns in step with it escapes, or fills. A
burner does just that. So busy time is wall time less idle, I/O wait and steal, and never the sum of user and system.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from stokerd.cores import Throttling, cpu_quota, throttling

USER_HZ = os.sysconf("SC_CLK_TCK")
_FIELDS = 8
"""user nice system idle iowait irq softirq steal; guest time is part of user time."""


class Capacity(NamedTuple):
    """What may be used of the machine.

    Args:
        cores: in the daemon's affinity, which the cpuset bounds too.
        quota: cores that affinity and the cgroups' CPU quotas leave; may be a fraction.
    """

    cores: int
    quota: float


class CpuTimes(NamedTuple):
    """Seconds of one core since boot, each in its own column."""

    user: float
    nice: float
    system: float
    idle: float
    iowait: float
    irq: float
    softirq: float
    steal: float

    @property
    def free(self) -> float:
        """Seconds in which nothing ran; waiting for a disk keeps no core."""
        return self.idle + self.iowait


Snapshot = Mapping[int, CpuTimes]
"""The times of each core, by its number."""


class Usage(NamedTuple):
    """What became of some cores over a stretch of time, in core-seconds.

    Args:
        wall: cores times seconds.
        busy: used by whatever ran here, interrupts included.
        steal: taken by the hypervisor.
        irq: spent in interrupts and soft interrupts, which is part of ``busy``.
    """

    wall: float
    busy: float
    steal: float
    irq: float

    def percent(self, seconds: float) -> float:
        """So many core-seconds in percent of all."""
        return 100 * seconds / self.wall if self.wall > 0 else 0.0


class Host:
    """See the module.

    Args:
        root: the folder that ``/proc`` and ``/sys`` are in.
        affinity: the cores that the daemon may run on.
    """

    def __init__(
        self, root: str | Path = "/", affinity: Callable[[], Collection[int]] = lambda: os.sched_getaffinity(0)
    ) -> None:
        self._root = Path(root)
        self._affinity = affinity

    @property
    def cpus(self) -> tuple[int, ...]:
        """The cores that the daemon may run on, ascending."""
        return tuple(sorted(self._affinity()))

    def read(self, path: str) -> str | None:
        """The text of a file of the machine; None where it cannot be read."""
        try:
            return (self._root / path.lstrip("/")).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def find(self, pattern: str) -> list[str]:
        """The files of the machine that match a pattern, such as ``/sys/class/thermal/*/temp``."""
        return [f"/{path.relative_to(self._root)}" for path in sorted(self._root.glob(pattern.lstrip("/")))]

    def capacity(self) -> Capacity:
        """What may be used now."""
        cores = max(1, len(self._affinity()))
        return Capacity(cores, min(float(cores), cpu_quota(self.read)))

    def throttling(self) -> Throttling:
        """What the CPU quotas have cost so far."""
        return throttling(self.read)

    def times(self) -> Snapshot:
        """The times of each core that may be used; empty where the kernel does not tell."""
        wanted, found = set(self._affinity()), {}
        for line in (self.read("/proc/stat") or "").splitlines()[1:]:
            name, *columns = line.split()
            if not name.startswith("cpu"):
                break
            number = int(name[3:])
            if number in wanted and len(columns) >= _FIELDS:
                found[number] = CpuTimes(*(int(column) / USER_HZ for column in columns[:_FIELDS]))
        return found

    def waited(self, pid: int) -> float | None:
        """Seconds for which a process was ready and had no core; None where the kernel does not tell."""
        words = (self.read(f"/proc/{pid}/schedstat") or "").split()
        return int(words[1]) / 1e9 if len(words) == 3 else None


def usage(before: Snapshot, after: Snapshot, seconds: float, cpus: Collection[int] = ()) -> Usage:
    """What became of some cores between two snapshots.

    Args:
        before: the earlier one.
        after: the later one.
        seconds: between them, of the monotonic clock.
        cpus: which cores; empty: all that are in both.
    """
    cores = [core for core in (cpus or after) if core in before and core in after]
    wall = seconds * len(cores)
    free = sum(max(0.0, after[core].free - before[core].free) for core in cores)
    steal = sum(max(0.0, after[core].steal - before[core].steal) for core in cores)
    irq = sum(
        max(0.0, after[core].irq + after[core].softirq - before[core].irq - before[core].softirq) for core in cores
    )
    return Usage(wall, max(0.0, wall - free - steal), steal, irq)
