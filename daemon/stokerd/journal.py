"""The last events, in memory: what `events` answers with."""

from __future__ import annotations

from collections import deque

from stoker.protocol.events import Event


class Journal:
    """A listener of the bus that remembers the newest events.

    Args:
        size: how many.
    """

    def __init__(self, size: int) -> None:
        self._events: deque[tuple[int, float, Event]] = deque(maxlen=size)
        self.seq = 0

    def note(self, seq: int, time: float, event: Event) -> None:
        """Remember one event."""
        self.seq = seq
        self._events.append((seq, time, event))

    def since(self, after: int, limit: int, topic: str = "") -> tuple[list[tuple[int, float, Event]], bool]:
        """The newest ``limit`` events with a higher number and a topic that begins so, oldest first; and whether some
        may be missing before them.
        """
        kept = [entry for entry in self._events if entry[0] > after]
        its = [entry for entry in kept if entry[2].topic.startswith(topic)]
        forgotten = kept[0][0] > after + 1 if kept else self.seq > after
        return its[-limit:], forgotten or len(its) > limit
