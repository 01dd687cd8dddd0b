"""A burner's time limit: the daemon's timer and the deadline that the processes keep by themselves."""

from __future__ import annotations

import math
from collections.abc import Callable

from stokerd.clock import Clock, Timer


class TimeLimit:
    """See the module.

    Args:
        clock: time.
        on_over: called with a sentence when it is over.
    """

    def __init__(self, clock: Clock, on_over: Callable[[str], object]) -> None:
        self._clock, self._on_over = clock, on_over
        self._timer: Timer | None = None
        self._seconds = math.inf
        self.deadline = math.inf
        """Monotonic seconds; ``inf``: none."""

    @property
    def reason(self) -> str:
        """What to say of a burner that it has ended."""
        return f"its time limit of {self._seconds:g} s is over"

    @property
    def is_over(self) -> bool:
        """The deadline has passed."""
        return self._clock.monotonic() >= self.deadline

    @property
    def ends(self) -> float | None:
        """When it is over, UTC seconds; None: never."""
        if math.isinf(self.deadline):
            return None
        return self._clock.time() + self.deadline - self._clock.monotonic()

    def set(self, seconds: float) -> None:
        """Let it be over in so many seconds from now, ``inf`` for never, in place of what was set before."""
        self.cancel()
        self._seconds = seconds
        self.deadline = self._clock.monotonic() + seconds
        if not math.isinf(seconds):
            self._timer = self._clock.later(seconds, self._over)

    def cancel(self) -> None:
        """Do not call any more; the processes' own deadline stays."""
        if self._timer is not None:
            self._timer.cancel()

    def _over(self) -> None:
        self._on_over(self.reason)
