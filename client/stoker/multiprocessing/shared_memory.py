"""``multiprocessing.shared_memory`` for processes that are no descendants of each other.

The memory is the system's own, and fast; the daemon has no part in it, so both sides have to be on one machine. The
standard library's classes have whoever attaches to a segment remove it at its end, on Pythons before 3.13: its helper
takes all users for one family. These leave that to whoever made it, who calls ``unlink``, as on Python 3.13 with
``track=False``.
"""

from __future__ import annotations

import sys
from multiprocessing import resource_tracker, shared_memory
from typing import Any

__all__ = ["ShareableList", "SharedMemory"]

_TRACKS = sys.version_info >= (3, 13)
"""Whether the standard library lets one choose."""
_made: set[str] = set()
"""Segments that this process has made and is kept track of for: to attach to them once more changes nothing."""


class SharedMemory(shared_memory.SharedMemory):
    """See :class:`multiprocessing.shared_memory.SharedMemory`."""

    def __init__(self, name: str | None = None, create: bool = False, size: int = 0, *, track: bool = True) -> None:  # noqa: FBT001, FBT002 - the standard library's
        self._tracked = create and track
        if _TRACKS:
            more: dict[str, Any] = {"track": self._tracked}
            super().__init__(name, create, size, **more)
            return
        super().__init__(name, create, size)
        self._tracked = _keep_track(vars(self)["_name"], made=self._tracked)

    def unlink(self) -> None:
        """Remove the segment from the system; whoever is attached keeps it until it closes it."""
        if not _TRACKS and not self._tracked:
            resource_tracker.register(vars(self)["_name"], "shared_memory")  # super() takes it back
        super().unlink()
        _made.discard(vars(self)["_name"])


class ShareableList(shared_memory.ShareableList[Any]):
    """See :class:`multiprocessing.shared_memory.ShareableList`."""

    def __init__(self, sequence: Any = None, *, name: str | None = None) -> None:
        super().__init__(sequence, name=name)
        _keep_track(vars(self.shm)["_name"], made=sequence is not None)


def _keep_track(name: str, *, made: bool) -> bool:
    """Have the standard library's helper forget a segment that somebody else has made. Whether it knows of it."""
    if made:
        _made.add(name)
    elif name not in _made:
        resource_tracker.unregister(name, "shared_memory")
        return False
    return True
