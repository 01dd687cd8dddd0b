"""Follows a :class:`~stokerd.burners.timeline.Timeline` in real time: one timer for a burner, while it needs one.

A stretch that does not move costs no wake-up. Where the level moves, each slice asks for its mean and for what the
slice before got too little or too much because the timer was late: so the sum is that of the profile.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from stokerd.burners.timeline import GRID, Timeline
from stokerd.clock import Clock, Timer

MOST_OWED = 25.0
"""Percent times seconds that are made good at most: a quarter of a second at full load. Who was stopped for an hour
does not catch up."""

JUMP_POINTS = 2.0
"""From slice to slice: less is the way that a ramp goes."""


class Course:
    """See the module.

    Args:
        clock: time.
        timeline: what to follow; it stands still until :meth:`run`.
        on_move: called when the target has changed by itself; True: by a jump to or from a level that it keeps.
        on_end: called when the timeline is over.
    """

    def __init__(
        self, clock: Clock, timeline: Timeline, on_move: Callable[[bool], object], on_end: Callable[[], object]
    ) -> None:
        self._clock, self._on_move, self._on_end = clock, on_move, on_end
        self.timeline = timeline
        self.target = timeline.at(timeline.still)
        """What is to be burnt now, percent."""
        self._since = clock.monotonic()
        self._owed = 0.0
        self._moves = False
        self._timer: Timer | None = None

    @property
    def is_over(self) -> bool:
        """The end is reached."""
        return self.timeline.is_over(self._clock.monotonic())

    def run(self) -> None:
        """Begin, or go on."""
        self.follow(self.timeline.run(self._clock.monotonic()))

    def stand(self) -> None:
        """Stand still."""
        self.follow(self.timeline.stand(self._clock.monotonic()))

    def follow(self, timeline: Timeline) -> None:
        """Follow this one from now on."""
        self.cancel()
        self.timeline, self._owed = timeline, 0.0
        self._look()

    def cancel(self) -> None:
        """Follow nothing any more; the target stays."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        if self.timeline.is_over(now):
            self._on_end()
            return
        owed = self._owed + self.timeline.area(self._since, now) - self.target * (now - self._since)
        self._owed = min(max(owed, -MOST_OWED), MOST_OWED)
        before, moved = self.target, self._moves
        self._look()
        if self.target != before:
            self._on_move(abs(self.target - before) >= JUMP_POINTS and not (moved and self._moves))

    def _look(self) -> None:
        """Set the target for the slice that begins now, and be called at its end."""
        now = self._clock.monotonic()
        cut = self.timeline.slice(now)
        self._since, self.target, self._moves = now, cut.level, cut.moves
        if cut.moves and cut.until > now:
            seconds = cut.until - now
            self.target = min(max((cut.area + self._owed) / seconds, 0.0), 100.0)
        if not math.isinf(cut.until):
            self._timer = self._clock.later(max(cut.until - now, GRID / 5), self._due)
