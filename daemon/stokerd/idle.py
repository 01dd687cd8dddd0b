"""Leaving when nobody needs the daemon: for private ones, which a client started and nobody else stops."""

from __future__ import annotations

from collections.abc import Callable

from stokerd.clock import Clock


class IdleExit:
    """Calls ``leave`` after ``seconds`` in which nothing was busy and nobody asked for anything.

    Wakes up once per ``seconds``, and not at all where that is 0.
    """

    def __init__(self, clock: Clock, seconds: float, is_busy: Callable[[], bool], leave: Callable[[], None]) -> None:
        self._clock, self._seconds, self._is_busy, self._leave = clock, seconds, is_busy, leave
        self._last = clock.monotonic()
        self._timer = clock.later(seconds, self._look) if seconds else None

    def set(self, seconds: float) -> None:
        """From now on leave after so many seconds; 0: never."""
        self._seconds = seconds
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.later(seconds, self._look) if seconds else None

    def touch(self) -> None:
        """Somebody asked for something."""
        self._last = self._clock.monotonic()

    def _look(self) -> None:
        if self._is_busy():
            self.touch()
        left = self._last + self._seconds - self._clock.monotonic()
        if left <= 0:
            self._leave()
        else:
            self._timer = self._clock.later(left, self._look)
