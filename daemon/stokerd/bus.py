"""Events from the parts to whoever listens: publisher, journal, metrics. The parts know only :meth:`Bus.emit`."""

from __future__ import annotations

from collections.abc import Callable

from stoker.protocol.events import Event

Listener = Callable[[int, float, Event], None]
"""Called with the event's number, its time (UTC seconds) and the event."""


class Bus:
    """Numbers events and hands them to every listener, in order, at once."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._listeners: list[Listener] = []
        self.seq = 0

    def listen(self, listener: Listener) -> None:
        """From now on, tell ``listener`` of every event."""
        self._listeners.append(listener)

    def emit(self, event: Event) -> int:
        """Number the event and tell everybody; returns its number."""
        self.seq += 1
        now = self._now()
        for listener in self._listeners:
            listener(self.seq, now, event)
        return self.seq
