"""The state folder: where each file of the store lies, and the lock that keeps a second daemon out."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

from stoker.errors import StoreUnusable
from stokerd.store import faults


class StateFolder:
    """The folder of one daemon; made by :meth:`take`, which also takes its lock.

    A folder that it makes has mode 0700. One that exists keeps its mode, because it may be somebody's home, or /var/lib
    itself; every file that is made in it is 0600, and payloads are in a folder of 0700.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.database = path / "jobs.sqlite3"
        self.payloads = path / "payloads"
        self.reserve = path / "reserve"
        self._lock = lock
        self._identity: tuple[int, int] | None = None

    @classmethod
    def take(cls, path: Path) -> StateFolder:
        """Make what is missing of the folder, and lock it.

        Raises:
            StoreUnusable: it cannot be made or is no folder, strangers may change it, or a living daemon has it.
        """
        try:
            _make(path)
            lock = _lock(path / "lock")
        except OSError as error:
            raise faults.unusable(error, path) from error
        folder = cls(path, lock)
        try:
            folder.payloads.mkdir(mode=0o700, exist_ok=True)
            # SQLite gives its other files the mode of this one; O_NOFOLLOW: nothing outside the folder is touched
            os.close(os.open(folder.database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            folder._identity = _identity(folder.database)
        except OSError as error:
            folder.release()
            raise faults.unusable(error, folder.database) from error
        return folder

    def verify(self) -> None:
        """The database is still where it was. SQLite writes on into a file that was deleted, and nobody would find it.

        Raises:
            OSError: ESTALE: it was moved, replaced or deleted.
        """
        if _identity(self.database) != self._identity:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), os.fspath(self.database))

    def release(self) -> None:
        """Let another daemon have it. The lock file stays: unlinked, it could be locked by two."""
        os.close(self._lock)


def _make(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = path.stat()
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StoreUnusable(
            f"others than its owner may write to the state folder {path} (mode {stat.S_IMODE(facts.st_mode):o})",
            hint="name a folder that is the daemon's alone",
        )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return facts.st_dev, facts.st_ino


def _lock(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise StoreUnusable(
            f"the state folder {path.parent} is in use by another daemon",
            hint="use that daemon, end it with `stoker down`, or give this one a state folder of its own",
        ) from None
    except OSError:
        os.close(fd)
        raise
    return fd
