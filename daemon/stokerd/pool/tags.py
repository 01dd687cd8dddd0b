"""How many jobs with a tag may run at a time, in all pools together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

UNLIMITED = sys.maxsize


class TagLimits:
    """Counts what runs by tag, whether there is a limit yet or not.

    A session's own bound (``most`` of its hello) is a limit of a tag that no user can write: see :func:`of_session`.

    Args:
        limits: by tag, from the configuration.
    """

    def __init__(self, limits: dict[str, int]) -> None:
        self._limits = dict(limits)
        self._running: dict[str, int] = {}
        self.on_room: Callable[[], object] = lambda: None
        """Called when a tag that was full is no longer."""

    def set(self, tag: str, most: int | None) -> None:
        """Allow so many at a time; None: as many as like."""
        if most is None:
            self._limits.pop(tag, None)
        else:
            self._limits[tag] = most
        self.on_room()

    def limits(self) -> dict[str, int]:
        """Those that users have set."""
        return {tag: most for tag, most in sorted(self._limits.items()) if not tag.startswith("\0")}

    def is_limited(self, tags: Iterable[str]) -> bool:
        """Whether any of these has a limit."""
        return any(tag in self._limits for tag in tags)

    def room(self, tags: Iterable[str]) -> int:
        """How many more jobs with all of these tags may run now."""
        rooms = (self._limits[tag] - self._running.get(tag, 0) for tag in tags if tag in self._limits)
        return max(0, min(rooms, default=UNLIMITED))

    def take(self, tags: Iterable[str], count: int) -> None:
        """So many begin to run."""
        for tag in tags:
            self._running[tag] = self._running.get(tag, 0) + count

    def give(self, tags: Iterable[str], count: int) -> None:
        """So many have ended, or were not started after all."""
        room = False
        for tag in tags:
            left = self._running.get(tag, 0) - count
            if left > 0:
                self._running[tag] = left
            else:
                self._running.pop(tag, None)
            limit = self._limits.get(tag)
            room = room or (limit is not None and left < limit <= left + count)
        if room:
            self.on_room()


def of_session(session: str) -> str:
    """The tag that stands for everything that one session runs."""
    return f"\0{session}"
