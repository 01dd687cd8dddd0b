"""Whether the source of a module that this worker has imported has changed since. Standard library only.

A worker is warm and so runs what it once imported; whoever edits a function and calls it again means the new one. The
kernel tells of changes (inotify on the modules' directories), so that looking costs one system call per message and
not one per module. Where the kernel has no watch left, the files are looked at instead.

Only a user's own modules are watched: not the standard library's, not those of installed packages, not Stoker's.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import sysconfig
from pathlib import Path

_CHANGED = 0x2 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200  # MODIFY, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE
_ONLYDIR = 0x01000000
_libc = ctypes.CDLL(None, use_errno=True)
_STOKERD = str(Path(__file__).parents[1]) + os.sep

Stamp = tuple[int, int, int]
_COMPILED = struct.Struct("<4xIII")
"""Of a compiled file, after its magic number: flags (0: checked by time), time in seconds and size of its source, as
PEP 552 says."""


class Sources:
    """The files of the modules that have been imported."""

    def __init__(self) -> None:
        self._inotify = -2
        """Its descriptor; -1: there is none to be had; -2: nothing is watched yet."""
        self._stamps: dict[str, Stamp] = {}
        self._late = False
        """One had changed already when the job that imported it ended."""
        self._directories: set[str] = set()
        self._seen: set[str] = set(sys.modules)
        self._count = len(sys.modules)
        self._foreign = _foreign()

    def note_imports(self) -> None:
        """A job has ended: watch what it has imported."""
        if len(sys.modules) == self._count:
            return
        self._count = len(sys.modules)
        for name, module in list(sys.modules.items()):
            if name in self._seen:
                continue
            self._seen.add(name)
            path = getattr(module, "__file__", None)
            if isinstance(path, str) and path.endswith(".py") and not path.startswith(self._foreign):
                self._watch(os.path.abspath(path), getattr(module, "__cached__", None))

    def changed(self) -> bool:
        """Whether one of them is not what was imported."""
        if self._late or not self._stamps:
            return self._late
        if self._inotify >= 0 and not self._news():
            return False
        return any(_stamp(path) != stamp for path, stamp in self._stamps.items())

    def _watch(self, path: str, cached: object) -> None:
        stamp = _stamp(path)
        if stamp is None:
            return
        if self._inotify == -2:
            self._inotify = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        directory = path.rpartition(os.sep)[0]
        if self._inotify >= 0 and directory not in self._directories:
            if _libc.inotify_add_watch(self._inotify, os.fsencode(directory), _CHANGED | _ONLYDIR) < 0:
                os.close(self._inotify)
                self._inotify = -1
            self._directories.add(directory)
        # After the watch has begun: what changes from here on is told, what changed before shows in the stamp.
        stamp = self._stamps[path] = _stamp(path) or stamp
        self._late = self._late or (isinstance(cached, str) and _is_of_another(cached, stamp))

    def _news(self) -> bool:
        """Whether anything happened in one of the directories since the last look."""
        found = False
        while True:
            try:
                told = os.read(self._inotify, 65536)
            except BlockingIOError:
                return found
            except OSError:
                self._inotify = -1
                return True
            found = found or bool(told)


def _stamp(path: str) -> Stamp | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - before jobs: no Path is needed
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _is_of_another(cached: str, stamp: Stamp) -> bool:
    """Whether the compiled file that an import has left or used is of a source other than this; False: not known.

    Where imports leave none, the one that is there may be older than what was imported.
    """
    if sys.dont_write_bytecode or not os.access(os.path.dirname(cached), os.W_OK):  # noqa: PTH120 - as above
        return False
    try:
        with open(cached, "rb") as file:  # noqa: PTH123 - as above
            flags, modified, size = _COMPILED.unpack(file.read(_COMPILED.size))
    except (OSError, struct.error):
        return False
    return not flags and (modified, size) != (stamp[0] // 10**9 & 0xFFFF_FFFF, stamp[1] & 0xFFFF_FFFF)


def _foreign() -> tuple[str, ...]:
    """Where modules lie that are nobody's work in progress."""
    paths = sysconfig.get_paths()
    roots = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib") if name in paths}
    roots |= {entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")}
    return (*(os.path.abspath(root) + os.sep for root in sorted(roots)), _STOKERD)
