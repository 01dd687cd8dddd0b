"""Whether a process that was killed was killed because memory ran out: the kernel's own count says so."""

from __future__ import annotations

from pathlib import Path

from stokerd.cgroups import DAEMON

VMSTAT = Path("/proc/vmstat")
CGROUP = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")


class OomKills:
    """Counts the kernel's out-of-memory kills.

    The count of this daemon's own control group where there is one, because it can be about nobody else; else that of
    the machine.

    Args:
        files: where the counts are; None: wherever this system has them.
    """

    def __init__(self, files: tuple[Path, ...] | None = None) -> None:
        self._files = _sources() if files is None else files
        self._last = self._count()

    def struck(self) -> bool:
        """Whether there has been one since the last time this was asked."""
        count = self._count()
        new, self._last = count > self._last, count
        return new

    def _count(self) -> int:
        for path in self._files:
            try:
                lines = path.read_text(encoding="ascii").splitlines()
            except OSError:
                continue
            for line in lines:
                word, _, number = line.partition(" ")
                if word == "oom_kill" and number.isdigit():
                    return int(number)
        return 0


def _sources() -> tuple[Path, ...]:
    """This daemon's control group (version 2, or the memory controller of version 1), then the whole machine."""
    found: list[Path] = []
    try:
        lines = CGROUP.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        relative = path.lstrip("/")
        if not controllers:
            own = CGROUPS / relative
            # the jobs' group lies beside the daemon's; what happens in either is counted in the one above
            found.append((own.parent if own.name == DAEMON else own) / "memory.events")
        elif "memory" in controllers.split(","):
            found.append(CGROUPS / "memory" / relative / "memory.oom_control")
    return (*(path for path in found if path.exists() and "oom_kill " in _text(path)), VMSTAT)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
