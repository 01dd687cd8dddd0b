"""Large payloads: one file each, named by a number, whole or not there at all.

A file is written under a temporary name, synchronised, and renamed; the folder is synchronised before the row that
names it is committed. So a row never names a file that a power failure could take back. A file that no row names is
what a crash left between the two, and is removed at the next start.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path

_NAME = re.compile(r"([0-9a-f]{16})(\.tmp)?")
_MOST_AT_ONCE = 64 * 1024 * 1024
"""Bytes per write: the kernel takes 2 GiB at most, and a signal must not have to wait for all of it."""


class Payloads:
    """The files of one folder. A number becomes a path only here, so no row can point outside the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._next = 1
        self._unsynchronised = False

    def path(self, number: int) -> Path:
        """Where the file with this number lies."""
        return self._folder / f"{number:016x}"

    def sweep(self, named: Collection[int]) -> int:
        """Remove the files that are not ``named``, and every temporary one; returns how many. Other files stay."""
        removed = 0
        self._next = 1 + max(named, default=0)
        for entry in list(self._folder.iterdir()):
            match = _NAME.fullmatch(entry.name)
            if match is not None and (match[2] or int(match[1], 16) not in named):
                entry.unlink(missing_ok=True)
                removed += 1
        return removed

    def write(self, *pieces: bytes | memoryview) -> int:
        """Write one file and return its number. It is only certain to stay after :meth:`synchronise`.

        Raises:
            OSError: nothing is left of it.
        """
        number = self._next
        path = self.path(number)
        unfinished = path.with_suffix(".tmp")
        fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                for piece in pieces:
                    _write_all(fd, memoryview(piece))
                os.fsync(fd)
            finally:
                os.close(fd)
            unfinished.rename(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        self._next += 1
        self._unsynchronised = True
        return number

    def synchronise(self) -> None:
        """Make the names of all that was written certain to stay."""
        if not self._unsynchronised:
            return
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        self._unsynchronised = False

    def remove(self, numbers: Iterable[int]) -> None:
        """Remove files that no row names any more. One that cannot be removed now is swept at the next start."""
        for number in numbers:
            with contextlib.suppress(OSError):
                self.path(number).unlink(missing_ok=True)

    def read(self, number: int, size: int) -> bytes:
        """A whole file.

        Raises:
            ValueError: it is missing or has another size; the message says which.
            OSError: it cannot be read.
        """
        try:
            data = self.path(number).read_bytes()
        except FileNotFoundError:
            raise ValueError(f"{self.path(number)} is missing") from None
        if len(data) != size:
            raise ValueError(f"{self.path(number)} has {len(data)} bytes of {size}")
        return data


def _write_all(fd: int, data: memoryview) -> None:
    while data.nbytes:
        data = data[os.write(fd, data[:_MOST_AT_ONCE]) :]
