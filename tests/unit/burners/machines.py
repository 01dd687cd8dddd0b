"""A machine of files: what the kernel would tell, in a folder, as the test says."""

from __future__ import annotations

import os
from pathlib import Path

from stokerd.burners.host import USER_HZ, Host

MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"


class Machine:
    """See the module.

    Args:
        root: an empty folder.
        cores: how many there are; their numbers start at 0.
    """

    def __init__(self, root: Path, cores: int) -> None:
        self.root = root
        self.affinity = set(range(cores))
        self.busy = dict.fromkeys(range(cores), 0.0)
        self.idle = dict.fromkeys(range(cores), 1000.0)
        self.steal = dict.fromkeys(range(cores), 0.0)
        self.host = Host(root, lambda: self.affinity)
        self.write("/proc/self/cgroup", "0::/\n")
        self.write("/proc/self/mountinfo", MOUNT)
        self.spend(0.0)

    def write(self, path: str, text: str) -> None:
        """Have a file."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def remove(self, path: str) -> None:
        """Have it no more."""
        (self.root / path.lstrip("/")).unlink()

    def quota(self, cores: float) -> None:
        """The cgroup has a CPU quota."""
        self.write("/sys/fs/cgroup/cpu.max", f"{int(cores * 100_000)} 100000\n")

    def throttled(self, periods: int, seconds: float) -> None:
        """So often, and for so long, it has held processes back."""
        self.write(
            "/sys/fs/cgroup/cpu.stat", f"usage_usec 1\nnr_throttled {periods}\nthrottled_usec {int(seconds * 1e6)}\n"
        )

    def waited(self, pid: int, seconds: float) -> None:
        """A process had to wait for a core for so long."""
        self.write(f"/proc/{pid}/schedstat", f"1 {int(seconds * 1e9)} 1\n")

    def spend(self, seconds: float, busy: float = 0.0, steal: float = 0.0, cores: tuple[int, ...] = ()) -> None:
        """Let time pass on all cores, or on these, of which this share was busy and that stolen."""
        for core in cores or tuple(self.busy):
            self.busy[core] += seconds * busy
            self.steal[core] += seconds * steal
            self.idle[core] += seconds * (1 - busy - steal)
        lines = ["cpu  0 0 0 0 0 0 0 0 0 0"]
        for core in self.busy:
            user, idle, steal_ = (round(each[core] * USER_HZ) for each in (self.busy, self.idle, self.steal))
            lines.append(f"cpu{core} {user} 0 0 {idle} 0 0 0 {steal_} 0 0")
        self.write("/proc/stat", "\n".join([*lines, "intr 1 2 3", ""]))


CORES = max(64, *os.sched_getaffinity(0))
"""Of the machine that tests get unless they make their own: more than they have burners for, and numbered as here."""
