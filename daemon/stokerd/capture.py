"""What a child wrote to stdout and stderr: memory files that the daemon reads from behind.

The writer never blocks and never learns of any limit. The daemon cuts the files into one stretch per job, keeps the
beginning and the end of each, and gives the memory of the rest back to the system by punching holes.
"""

from __future__ import annotations

import ctypes
import os

from stokerd.output import Kept, Output

PUNCH_HOLE = 0x01 | 0x02
"""FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE of linux/falloc.h."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class Stream:
    """One memory file, read from ``position`` on; what lies before has been cut off and its memory freed."""

    def __init__(self, fd: int, keep: int) -> None:
        self._fd = fd
        self._keep = keep
        self.position = 0
        self._hole_end = 0
        """Up to here the middle of the stretch that is being written was given back."""

    def size(self) -> int:
        """How far it has been written."""
        return os.fstat(self._fd).st_size

    def peek(self, end: int) -> Kept:
        """The stretch from ``position`` to ``end``."""
        start, hole_end = self._stretch(end)
        size = end - start
        if size <= self._keep and not hole_end:
            return Kept(self._read(start, size), b"", size)
        half = self._keep // 2
        return Kept(self._read(start, half), self._read(end - half, half), size)

    def _stretch(self, end: int) -> tuple[int, int]:
        """Where the stretch starts, and its hole ends. A job that opens /dev/stdout anew, as shells do to
        redirect to it, truncates the file: what it has written since is all that there is.
        """
        return (0, 0) if end < self.position else (self.position, self._hole_end)

    def _read(self, start: int, size: int) -> bytes:
        return os.pread(self._fd, size, start) if size > 0 else b""

    def cut(self, end: int) -> Kept:
        """The stretch up to ``end``; the next one starts there."""
        kept = self.peek(end)
        self._free(self._stretch(end)[0], end)
        self.position, self._hole_end = end, 0
        return kept

    def trim(self, end: int) -> bool:
        """Give back the middle of a stretch that outgrows what is kept; True when it did.

        Args:
            end: up to here, all from ``position`` on belongs to the one stretch.
        """
        start = max(self.position + self._keep // 2, self._hole_end)
        if end - self._keep - start < self._keep:
            return False
        self._hole_end = end - self._keep
        self._free(start, self._hole_end)
        return True

    def _free(self, start: int, end: int) -> None:
        if end - start >= 4096:
            _libc.fallocate(self._fd, PUNCH_HOLE, start, end - start)


class Capture:
    """Both streams of a child. Owns the descriptors.

    Args:
        fds: of the memory files behind stdout and stderr.
        keep: bytes kept per stretch and stream.
    """

    def __init__(self, fds: tuple[int, int], *, keep: int) -> None:
        self._fds = fds
        self.out = Stream(fds[0], keep)
        self.err = Stream(fds[1], keep)

    def cut(self, out_end: int, err_end: int) -> Output:
        """The stretch up to these ends, as one job's output."""
        return Output(self.out.cut(out_end), self.err.cut(err_end))

    def sizes(self) -> tuple[int, int]:
        """How far stdout and stderr have been written."""
        return self.out.size(), self.err.size()

    def peek(self, sizes: tuple[int, int]) -> Output:
        """The stretch that is being written, up to these sizes."""
        return Output(self.out.peek(sizes[0]), self.err.peek(sizes[1]))

    def trim(self, sizes: tuple[int, int]) -> bool:
        """Give back what is not kept of the stretch that is being written; up to these sizes it is all one stretch."""
        trimmed = [self.out.trim(sizes[0]), self.err.trim(sizes[1])]
        return any(trimmed)

    def close(self) -> None:
        """Close the descriptors."""
        for fd in self._fds:
            os.close(fd)
