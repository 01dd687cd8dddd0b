"""Events from the parts to whoever listens: publisher, journal, metrics. The parts know only :meth:`Bus.emit`."""

from __future__ import annotations

from collections.abc import Callable

from stoker.protocol.events import Event

Listener = Callable[[int, float, Event], None]
"""Called with the event's number, its time (UTC seconds) and the event."""


def _everything(_kind: type[Event]) -> bool:
    return True


class Bus:
    """Numbers events and hands them to every listener that hears them, in order, at once."""

    def __init__(self, now: Callable[[], float], on_bug: Callable[[Exception], None] | None = None) -> None:
        """``on_bug`` is told what a listener raised; None: it is raised to whoever emits, after all have been told."""
        self._now = now
        self._on_bug = on_bug
        self._listeners: list[tuple[Listener, Callable[[type[Event]], bool]]] = []
        self._hearing: dict[type[Event], tuple[Listener, ...]] = {}
        """Who hears events of a kind, as far as it has been asked."""
        self.seq = 0

    def listen(self, listener: Listener, hears: Callable[[type[Event]], bool] = _everything) -> None:
        """From now on, tell ``listener`` of every event of the kinds that it ``hears``.

        That is asked once a kind: there are three events a job, and most listeners are deaf to them most of the time.
        """
        self._listeners.append((listener, hears))
        self.ask_again()

    def ask_again(self) -> None:
        """What somebody hears has changed."""
        self._hearing.clear()

    def _who_hears(self, kind: type[Event]) -> tuple[Listener, ...]:
        found = self._hearing[kind] = tuple(listener for listener, hears in self._listeners if hears(kind))
        return found

    def emit(self, event: Event) -> int:
        """Number the event and tell everybody; returns its number."""
        self.seq = seq = self.seq + 1
        now = self._now()
        failures: tuple[Exception, ...] = ()
        for listener in self._hearing.get(type(event)) or self._who_hears(type(event)):
            try:
                listener(seq, now, event)
            except Exception as bug:  # neither the part nor the next listener may suffer from it
                failures = (*failures, bug)
        for failure in failures:
            if self._on_bug is None:
                raise failure
            self._on_bug(failure)
        return seq
