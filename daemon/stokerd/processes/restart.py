"""When a process that ended is started again: pure, no clock.

The wait doubles with every run that was a short one, and begins anew after a run that was long enough to say that the
process had come up. A process that only ever has short runs is given up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from stokerd.processes.settings import Restart

_MOST_DOUBLINGS = 64
"""More would leave the range of a float, and the longest wait has been reached long before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """The figures of the policy.

    Args:
        first: seconds before the first new start.
        longest: seconds that are waited at most.
        settled: seconds after which a run counts as one that had come up.
        short_runs: runs shorter than that, one after the other, after which it is given up.
    """

    first: float = 0.25
    longest: float = 30.0
    settled: float = 10.0
    short_runs: int = 10


@dataclass(frozen=True, slots=True)
class Again:
    """Start it again after so many seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Rest:
    """Leave it down: it has done what it was for."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Leave it down: it does not stay up."""

    reason: str


@final
class Restarts:
    """Decides, end after end, for one process.

    Args:
        mode: ``always``, ``on-failure`` (a code other than 0, a signal, or it could not be started) or ``never``.
        patience: the figures.
    """

    def __init__(self, mode: Restart, patience: Patience) -> None:
        self._mode = mode
        self._patience = patience
        self._short = 0

    def decide(self, code: int | None, ran: float) -> Again | Rest | GiveUp:
        """What to do now.

        Args:
            code: how it ended, negative for a signal; None: it could not be started.
            ran: seconds that it ran.
        """
        if self._mode == "never" or (self._mode == "on-failure" and code == 0):
            return Rest()
        patience = self._patience
        self._short = 0 if ran >= patience.settled else self._short + 1
        if self._short >= patience.short_runs:
            return GiveUp(f"it ended {self._short} times within {patience.settled:g} s of its start")
        doublings = min(max(0, self._short - 1), _MOST_DOUBLINGS)
        return Again(min(patience.longest, patience.first * 2.0**doublings))
