"""When a process that ended is started again: pure, no clock.

The wait doubles with every run that was a short one, and begins anew after a run that was long enough to say that the
process had come up. A process that ends too often within too short a time is given up.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import final

from stoker.protocol.processes import Keeping

_MOST_DOUBLINGS = 64
"""More would leave the range of a float, and the longest wait has been reached long before."""


@dataclass(frozen=True, slots=True)
class Again:
    """Start it again after so many seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Rest:
    """Leave it down: it has done what it was for, or is not to be started again."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Leave it down: it does not stay up."""

    reason: str


@dataclass(frozen=True, slots=True)
class Fatal:
    """Leave it down: it has said that another start is of no use."""

    reason: str


@final
class Restarts:
    """Decides, end after end, for one process.

    Args:
        keep: its policy, which may be exchanged while it runs.
    """

    def __init__(self, keep: Keeping) -> None:
        self.keep = keep
        self._short = 0
        self._ends: deque[float] = deque()

    def forget(self) -> None:
        """Somebody wants it up: what was does not count any more."""
        self._short = 0
        self._ends.clear()

    def decide(self, code: int | None, ran: float, now: float) -> Again | Rest | GiveUp | Fatal:
        """What to do now.

        Args:
            code: how it ended, negative for a signal; None: it could not be started, or did not become ready.
            ran: seconds that it ran.
            now: seconds, monotonic.
        """
        keep = self.keep
        if code in keep.fatal_codes:
            return Fatal(f"exit code {code} is one of fatal_codes")
        if keep.restart == "never" or (keep.restart == "on-failure" and code == 0):
            return Rest()
        short = ran < keep.settled
        self._short = self._short + 1 if short else 0
        if (short or code != 0) and self._flaps(now):
            return GiveUp(f"it ended {len(self._ends)} times within {keep.flap_seconds:g} s")
        doublings = min(max(0, self._short - 1), _MOST_DOUBLINGS)
        return Again(min(keep.backoff_most, keep.backoff * 2.0**doublings))

    def _flaps(self, now: float) -> bool:
        self._ends.append(now)
        while self._ends[0] < now - self.keep.flap_seconds:
            self._ends.popleft()
        return bool(self.keep.flap_ends) and len(self._ends) >= self.keep.flap_ends
