"""Control groups below the service's own: the daemon, the jobs and the burners, each with its share.

Where a service manager has delegated a cgroup of version 2 (``Delegate=yes``), the daemon makes three groups in it and
goes into the first. So the kernel favours the daemon over the jobs and those over the burners when the machine is full,
a job's memory is limited apart from the daemon's, and what has escaped from its process group is ended by
``cgroup.kill``. Anywhere else nothing is touched: no group was given to us.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DAEMON, JOBS, BURNERS = "daemon", "jobs", "burners"
CONTROLLERS = ("cpu", "memory", "pids")
DELEGATED = ("user.delegate", "trusted.delegate")
"""Marks that systemd sets on a cgroup that it has delegated."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one group gets.

    Args:
        weight: its share of the processor beside the other groups, 1 to 10000.
        memory: bytes that it may use; 0: any.
    """

    weight: int
    memory: int = 0


class Groups:
    """The groups of this daemon.

    Args:
        base: the service's own cgroup.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self.controllers: tuple[str, ...] = ()
        """What the groups are controlled in; empty where this machine's controllers are not of version 2."""

    def settle(self, shares: Mapping[str, Share]) -> None:
        """Make the groups, go into that of the daemon, and set what each gets.

        Args:
            shares: by group.

        Raises:
            OSError: the kernel does not let us; what has been made so far does no harm.
        """
        for name in (DAEMON, JOBS, BURNERS):
            (self._base / name).mkdir(exist_ok=True)
        (self._base / DAEMON / "cgroup.procs").write_text(str(os.getpid()))
        # a group with processes of its own cannot have controllers for its children: so this comes after the move
        there = (self._base / "cgroup.controllers").read_text().split()
        self.controllers = tuple(name for name in CONTROLLERS if name in there)
        if self.controllers:
            (self._base / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in self.controllers))
        for name, share in shares.items():
            self._grant(self._base / name, share)

    def _grant(self, group: Path, share: Share) -> None:
        if "cpu" in self.controllers:
            (group / "cpu.weight").write_text(str(share.weight))
        if "memory" in self.controllers:
            (group / "memory.max").write_text(str(share.memory) if share.memory else "max")

    def directory(self, name: str) -> str:
        """Where a process writes itself to be in a group; see :func:`enter`."""
        return str(self._base / name)

    def kill(self) -> None:
        """End whatever is left of jobs and burners, wherever it hides; the kernel does it at once."""
        for name in (JOBS, BURNERS):
            with contextlib.suppress(OSError):  # before Linux 5.14; then the service manager does it
                (self._base / name / "cgroup.kill").write_text("1")


def enter(directory: str, pid: int = 0) -> None:
    """Put a process into a group.

    Args:
        directory: the group's.
        pid: which; 0: this one.

    Raises:
        OSError: it cannot be.
    """
    Path(directory, "cgroup.procs").write_text(str(pid))


def delegated(membership: str, mounts: str) -> Path | None:
    """The cgroup that was delegated to this process; None where there is none.

    Args:
        membership: the text of ``/proc/self/cgroup``.
        mounts: the text of ``/proc/self/mountinfo``.
    """
    path = next((line[3:] for line in membership.splitlines() if line.startswith("0::")), None)
    if path is None:
        return None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or after.split(" ")[0] != "cgroup2":
            continue
        base = Path(fields[4]) / path.lstrip("/") if fields[3] == "/" else None
        if base is not None and _is_delegated(base):
            return base
    return None


def _is_delegated(base: Path) -> bool:
    for mark in DELEGATED:
        with contextlib.suppress(OSError):
            if os.getxattr(base, mark) == b"1":
                return os.access(base / "cgroup.procs", os.W_OK) and os.access(base, os.W_OK)
    return False
