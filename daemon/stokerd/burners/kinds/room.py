"""How much memory may still be taken: by what the kernel says is available, and by the limits of the cgroups."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from stokerd.cores import cgroups

Read = Callable[[str], str | None]
"""The text of a file, None where it cannot be read."""

MARGIN_SHARE, MARGIN_BYTES = 0.05, 128 << 20
"""Left free by whoever takes memory as a load: a twentieth of the machine's, and never less than 128 MiB."""


def read_file(path: str) -> str | None:
    """The text of a file, None where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def spare_memory(read: Read = read_file) -> float:
    """Bytes that may still be taken so that the margin stays free; 0 or less: none. ``inf``: nothing is known.

    MemAvailable is the kernel's own estimate of what can be had without swapping (proc_meminfo(5)); in a cgroup it is
    ``memory.max`` less ``memory.current``, and what of that is inactive page cache can be had as well.
    """
    meminfo = _fields(read("/proc/meminfo") or "")
    available, total = meminfo.get("MemAvailable:", math.inf), meminfo.get("MemTotal:", 0)
    spare = available * 1024 - max(MARGIN_BYTES, MARGIN_SHARE * total * 1024)
    membership, mounts = read("/proc/self/cgroup") or "", read("/proc/self/mountinfo") or ""
    for version, directory in cgroups("memory", membership, mounts):
        spare = min(spare, _spare_of_group(version, directory, read))
    return spare


def _spare_of_group(version: int, directory: str, read: Read) -> float:
    limit_file, used_file, inactive = (
        ("memory.max", "memory.current", "inactive_file")
        if version == 2
        else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    )
    try:
        limit, used = int(read(f"{directory}/{limit_file}") or ""), int(read(f"{directory}/{used_file}") or "")
    except ValueError:
        return math.inf  # "max", or no such file: no limit
    free = limit - used + _fields(read(f"{directory}/memory.stat") or "").get(inactive, 0)
    return free - min(MARGIN_BYTES, MARGIN_SHARE * limit)


def _fields(text: str) -> dict[str, int]:
    """``NAME NUMBER …`` lines."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[1].isdecimal():
            found[words[0]] = int(words[1])
    return found


def spell_bytes(number: float) -> str:
    """Bytes for people, in binary units: ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(number) < 1024:
            return f"{number:.4g} {unit}"
        number /= 1024
    return f"{number:.4g} TiB"
