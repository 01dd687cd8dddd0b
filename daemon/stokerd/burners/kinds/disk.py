"""The load on a disk: writes and reads at a rate, in a file that has no name.

The file is opened with O_TMPFILE: it is in no directory, so nothing of it can remain, however this process ends. Where
a file system has no such files, one is made in a directory of its own, and both are unlinked before the first byte.

Each block is written with O_DSYNC: it is on the device before it counts, so that the rate is the device's and not the
page cache's. After that its pages are dropped from the cache (POSIX_FADV_DONTNEED), so that reads come from the device.
"""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from stokerd.burners.kinds.base import Load, Params, Refusal
from stokerd.burners.kinds.room import spell_bytes

QUOTA = 100 << 20
"""The largest that the file of one process gets, unless somebody says otherwise."""

MARGIN_SHARE, MARGIN_BYTES = 0.05, 64 << 20
"""Left free on the file system: a twentieth of it, and never less than 64 MiB."""

LEAST_BLOCK, MOST_BLOCK = 4 << 10, 1 << 20
_BLOCKS_PER_SECOND = 100
"""A block is a tick's worth of the rate, within those bounds."""

_NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)
"""What open(2) says of a file system or kernel without O_TMPFILE."""


def make_disk(params: Params) -> Load:
    """Write or read ``rate`` bytes per second in ``folder``; see the module.

    The clock is the bytes divided by the rate: 100 % is the rate, whatever CPU time it takes.

    Raises:
        Refusal: the folder cannot be written to, or its file system has too little room.
    """
    rate = float(params["rate"])
    block = min(max(int(rate / _BLOCKS_PER_SECOND) // LEAST_BLOCK, 1) * LEAST_BLOCK, MOST_BLOCK)
    blocks = max(int(params.get("quota") or QUOTA) // block, 1)
    folder = str(params["folder"])
    fd = open_nameless(folder)
    try:
        reserve(fd, blocks * block, folder)
    except Refusal:
        os.close(fd)
        raise
    file = Blocks(fd, block, blocks, str(params.get("io") or "write"))
    return Load(
        file.turn, clock=lambda: file.bytes / rate, work=lambda: file.bytes, close=lambda: os.close(fd), note=file.note
    )


class Blocks:
    """A file, written and read block by block, round and round.

    Args:
        fd: the file.
        block: bytes.
        count: blocks in the file.
        io: ``write``; ``read``, for which it is written once first; or ``both``, in turn.
    """

    __slots__ = ("_at", "_buffers", "_count", "_data", "_fd", "_io", "_reads", "_written", "block", "bytes")

    def __init__(self, fd: int, block: int, count: int, io: str) -> None:
        self._fd, self._count, self._io, self.block = fd, count, io, block
        self._data = os.urandom(block)  # nothing that a device could compress or deduplicate within a block
        self._buffers = [bytearray(block)]
        self._at = self._written = self._reads = 0
        self.bytes = 0.0

    def turn(self) -> None:
        """Write or read one block.

        Raises:
            Refusal: the system does not let it.
        """
        try:
            if self._is_read_due():
                self._read()
            else:
                self._write()
        except OSError as why:
            raise Refusal(
                f"the disk gave up: {why.strerror}",
                hint="its file system may be full or failing" if why.errno == errno.ENOSPC else "",
            ) from None
        self.bytes += self.block

    def note(self) -> str:
        """While it is written for the first time in order to be read."""
        left = self._count - self._written
        return f"writes its file first: {left} of {self._count} blocks to go" if self._io == "read" and left else ""

    def _is_read_due(self) -> bool:
        if self._io == "both":
            return self._reads < self._at  # each block that was written is read back, next
        return self._io == "read" and self._written == self._count

    def _write(self) -> None:
        place = self._at % self._count * self.block
        view = memoryview(self._data)
        while view:
            view = view[os.pwrite(self._fd, view, place + self.block - len(view)) :]
        os.posix_fadvise(self._fd, place, self.block, os.POSIX_FADV_DONTNEED)
        self._at += 1
        self._written = min(self._written + 1, self._count)

    def _read(self) -> None:
        place = self._reads % self._count * self.block
        os.preadv(self._fd, self._buffers, place)
        os.posix_fadvise(self._fd, place, self.block, os.POSIX_FADV_DONTNEED)
        self._reads += 1


def open_nameless(folder: str) -> int:
    """A file in this folder's file system that is in no directory.

    Raises:
        Refusal: it cannot be made there.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_DSYNC
    try:
        try:
            return os.open(folder, flags | os.O_TMPFILE, 0o600)
        except OSError as why:
            if why.errno not in _NO_TMPFILE or not Path(folder).is_dir():
                raise
        return _open_unlinked(folder, flags)
    except OSError as why:
        raise Refusal(
            f"the folder {folder} cannot be written to: {why.strerror}",
            hint="give the absolute path of a directory that the daemon's user may write in",
        ) from None


def _open_unlinked(folder: str, flags: int) -> int:
    own = tempfile.mkdtemp(prefix=".stoker-", dir=folder)
    path = os.path.join(own, "load")  # noqa: PTH118  # bytes in, bytes out: nothing of it is kept
    try:
        fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        os.unlink(path)  # noqa: PTH108
        return fd
    finally:
        os.rmdir(own)  # noqa: PTH106


def reserve(fd: int, size: int, folder: str) -> None:
    """Take so much of the file system for the file, and see that enough is left.

    Raises:
        Refusal: too little would be.
    """
    before = os.fstatvfs(fd)
    margin = max(MARGIN_BYTES, MARGIN_SHARE * before.f_blocks * before.f_frsize)
    free = before.f_bavail * before.f_frsize
    if free - size < margin:
        raise _too_large(size, folder, free - margin)
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as why:
        if why.errno not in {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}:
            raise _too_large(size, folder, free - margin, f": {why.strerror}") from None
        return
    after = os.fstatvfs(fd)  # others reserve too: whoever comes last sees it
    if after.f_bavail * after.f_frsize < margin:
        raise _too_large(size, folder, free - margin)


def _too_large(size: int, folder: str, room: float, why: str = "") -> Refusal:
    return Refusal(
        f"a file of {spell_bytes(size)} is more than the {spell_bytes(max(room, 0.0))} that may be taken of the file"
        f" system of {folder}{why}",
        hint="give a smaller quota or another folder: a twentieth of the file system, at least 64 MiB, is left free",
    )
