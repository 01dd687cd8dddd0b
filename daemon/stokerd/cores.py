"""How many cores this process may use: by its affinity and by the CPU quota of its cgroup and of those above it; and
how often that quota held it back.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

Read = Callable[[str], str | None]
"""The text of a file, None where it cannot be read."""


class Throttling(NamedTuple):
    """What the CPU quotas of the cgroups have cost so far; counted from their creation on.

    Args:
        periods: in which a group was held back.
        seconds: for which its processes were, summed over the cores.
    """

    periods: int
    seconds: float


def usable_cores() -> int:
    """Cores that this process may use at the same time, at least 1; a fraction of one counts as one."""
    return max(1, math.ceil(min(len(os.sched_getaffinity(0)), cpu_quota(_read))))


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def cpu_quota(read: Read) -> float:
    """The tightest CPU quota in cores; ``inf`` where there is none.

    Args:
        read: reads ``/proc/self/cgroup``, ``/proc/self/mountinfo`` and the files of the cgroups.
    """
    tightest = math.inf
    for version, directory in _own_groups(read):
        quota = _quota_v2(directory, read) if version == 2 else _quota_v1(directory, read)
        tightest = min(tightest, quota)
    return tightest


def throttling(read: Read) -> Throttling:
    """How often our own cgroup and those above it were held back: the sum of their ``cpu.stat``.

    Args:
        read: as for :func:`cpu_quota`.
    """
    periods, seconds = 0, 0.0
    for _, directory in _own_groups(read):
        figures = dict(line.split()[:2] for line in (read(f"{directory}/cpu.stat") or "").splitlines() if " " in line)
        periods += _number(figures.get("nr_throttled"))
        seconds += _number(figures.get("throttled_usec")) / 1e6 + _number(figures.get("throttled_time")) / 1e9
    return Throttling(periods, seconds)


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0


def _own_groups(read: Read) -> Iterator[tuple[int, str]]:
    membership, mounts = read("/proc/self/cgroup") or "", read("/proc/self/mountinfo") or ""
    return cgroups("cpu", membership, mounts)


def cgroups(controller: str, membership: str, mounts: str) -> Iterator[tuple[int, str]]:
    """(version, directory) of each cgroup that may limit us: our own and all above it, as far as they are mounted.

    Args:
        controller: ``cpu``, ``memory`` …
        membership: the text of ``/proc/self/cgroup``.
        mounts: the text of ``/proc/self/mountinfo``.
    """
    groups: dict[int, str] = {}
    for line in membership.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            groups[2] = path
        elif controller in controllers.split(","):
            groups[1] = path
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        version = 2 if kind[0] == "cgroup2" else 1 if kind[0] == "cgroup" and controller in kind[2].split(",") else 0
        if version in groups:
            yield from ((version, each) for each in _upwards(groups.pop(version), fields[3], fields[4]))


def _upwards(group: str, root: str, mount: str) -> Iterator[str]:
    """Directories from a group up to the mount point; a group outside of what is mounted is seen as its root."""
    path, base = PurePosixPath(group), PurePosixPath(root)
    relative = path.relative_to(base) if path.is_relative_to(base) and ".." not in path.parts else PurePosixPath()
    directory = PurePosixPath(mount) / relative
    while True:
        yield str(directory)
        if str(directory) == mount or directory.parent == directory:
            return
        directory = directory.parent


def _quota_v2(directory: str, read: Read) -> float:
    """``cpu.max``: ``$QUOTA $PERIOD`` in microseconds, or ``max $PERIOD``."""
    words = (read(f"{directory}/cpu.max") or "").split()
    return _ratio(*words) if len(words) == 2 else math.inf


def _quota_v1(directory: str, read: Read) -> float:
    """``cpu.cfs_quota_us``, -1 for none, and ``cpu.cfs_period_us``."""
    return _ratio(read(f"{directory}/cpu.cfs_quota_us") or "", read(f"{directory}/cpu.cfs_period_us") or "")


def _ratio(quota: str, period: str) -> float:
    try:
        allowed, every = int(quota), int(period)
    except ValueError:
        return math.inf
    return allowed / every if allowed > 0 and every > 0 else math.inf
