"""The lock on a path: who holds it may make, and unlink, what lies there. The kernel frees it when its holder ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from stoker.errors import EndpointInUse


def in_use(path: str, why: str) -> EndpointInUse:
    """The verdict on an endpoint that somebody else has."""
    return EndpointInUse(
        f"the endpoint {path} is in use: {why}",
        hint="use that daemon, end it with `stoker down`, or choose another endpoint with --socket",
    )


def identity(path: str) -> tuple[int, int] | None:
    """Device and inode of what lies at a path, which tell whether it is still the same."""
    try:
        facts = os.lstat(path)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


class PathLock:
    """Holds ``PATH.lock``; made by :meth:`take`."""

    def __init__(self, path: str, fd: int) -> None:
        self._path = path
        self._fd = fd

    @classmethod
    def take(cls, path: str) -> PathLock:
        """Take the lock.

        Raises:
            EndpointInUse: a living process has it.
            OSError: the file cannot be made.
        """
        name = f"{path}.lock"
        while True:
            fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                raise in_use(path, "another daemon owns it") from None
            facts = os.fstat(fd)
            if identity(name) == (facts.st_dev, facts.st_ino):
                return cls(path, fd)
            os.close(fd)  # its owner unlinked it between our open and our flock

    def release(self) -> None:
        """Unlink the file, then let go of it: in this order nobody can hold a lock on a file that is gone."""
        with contextlib.suppress(OSError):
            Path(f"{self._path}.lock").unlink()
        os.close(self._fd)
