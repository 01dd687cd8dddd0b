"""Events from the parts to whoever listens: publisher, journal, metrics. The parts know only :meth:`Bus.emit`."""

from __future__ import annotations

from collections.abc import Callable

from stoker.protocol.events import Event

Listener = Callable[[int, float, Event], None]
"""Called with the event's number, its time (UTC seconds) and the event."""


class Bus:
    """Numbers events and hands them to every listener, in order, at once."""

    def __init__(self, now: Callable[[], float], on_bug: Callable[[Exception], None] | None = None) -> None:
        """``on_bug`` is told what a listener raised; None: it is raised to whoever emits, after all have been told."""
        self._now = now
        self._on_bug = on_bug
        self._listeners: list[Listener] = []
        self.seq = 0

    def listen(self, listener: Listener) -> None:
        """From now on, tell ``listener`` of every event."""
        self._listeners.append(listener)

    def emit(self, event: Event) -> int:
        """Number the event and tell everybody; returns its number."""
        self.seq += 1
        now = self._now()
        seq = self.seq
        failures: list[Exception] = []
        for listener in self._listeners:
            try:
                listener(seq, now, event)
            except Exception as bug:  # neither the part nor the next listener may suffer from it
                failures.append(bug)
        for failure in failures:
            if self._on_bug is None:
                raise failure
            self._on_bug(failure)
        return seq
