"""What the figures were measured on; nothing that tells whose machine it is."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil


def facts() -> dict[str, Any]:
    """Of the machine and of what is the same for all sections."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_gib": round(psutil.virtual_memory().total / (1 << 30), 1),
        "disk": filesystem(Path(tempfile.gettempdir())),
        "kernel": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
        "libraries": {name: metadata.version(name) for name in ("stoker", "pyzmq", "msgpack", "numpy") if _has(name)},
    }


def _has(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def filesystem(folder: Path) -> str:
    """The kind of what holds this directory, and with it what is durable."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    holding = [(len(where), kind) for where, kind in mounts if folder.resolve().is_relative_to(where)]
    return max(holding, default=(0, "unknown"))[1]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def busy() -> tuple[float, float]:
    """The time, and core-seconds in which anything has run since boot; the difference of two says how quiet it was."""
    times = psutil.cpu_times()
    cores = os.cpu_count() or 1
    return time.monotonic(), cores * time.monotonic() - times.idle - times.iowait


def others(seconds: float = 1.0) -> float:
    """Percent of one core that the rest of the machine uses while this process only waits."""
    (begin, before), _ = busy(), time.sleep(seconds)
    end, after = busy()
    return max(0.0, (after - before) / (end - begin) * 100)
