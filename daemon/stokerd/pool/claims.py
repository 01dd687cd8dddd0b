"""Which jobs a worker has begun with, where the daemon's successor can find it after both have died.

The shared page dies with its processes. So a worker of a pool with durable jobs also writes the seq of each job that it
begins with into a file of eight bytes, mapped, which costs it one store to memory. The daemon never maps that file, and
a job that scribbles over it can only lie about itself. The kernel keeps what was stored however the processes end. A
power loss is another matter: the file's name begins with the machine's boot, and of another boot's nothing is believed.

Standard library only: the worker's end runs in any interpreter.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

SIZE = 8
BOOT_CHARS = 8


def boot() -> str:
    """What tells this boot of the machine from others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:BOOT_CHARS]
    except OSError:
        return ""


def write_to(path: str) -> memoryview:
    """A word that is kept in a new file: the worker's end.

    Raises:
        OSError: it can't be made.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.posix_fallocate(fd, 0, SIZE)  # a hole would be filled at the first claim; on a full disk, that is SIGBUS
        return memoryview(mmap.mmap(fd, SIZE)).cast("Q")
    finally:
        os.close(fd)


class Claims:
    """The files of one daemon's workers: the daemon's end.

    Args:
        folder: where they are; made by whoever owns the state directory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._boot = boot()
        folder.mkdir(mode=0o700, exist_ok=True)

    def path(self, worker: str) -> str:
        """Where a worker is to write."""
        return str(self._folder / self.name(worker))

    def name(self, worker: str) -> str:
        """What the file of a worker is called in the store."""
        return f"{self._boot}-{worker}"

    def begun(self, name: str) -> int | None:
        """The seq of the last job that it began with; None where nobody can know."""
        if not self._boot or not name.startswith(f"{self._boot}-"):
            return None
        try:
            word = (self._folder / name).read_bytes()
        except OSError:
            return None  # it could not make the file: the disk was full
        return int.from_bytes(word, "little") if len(word) == SIZE else None

    def forget(self, worker: str) -> None:
        """The worker is gone, and what it began with has been told."""
        (self._folder / self.name(worker)).unlink(missing_ok=True)

    def clear(self) -> None:
        """Those of daemons before this one."""
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)
