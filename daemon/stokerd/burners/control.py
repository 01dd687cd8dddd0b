"""The control law: deadbeat on CPU time. Pure; it neither burns nor looks at a clock.

Time is cut by an absolute grid of 10 ms. At every tick the ledger is brought up to the moment::

    wanted   = integral of the target                  (what was asked for)
    cpu      = the process's own CPU clock             (what was burnt)
    forgiven = what went beyond the clamp              (what will never be caught up)
    debt     = wanted - cpu - forgiven,  |debt| <= 50 ms

and the goal of the tick is the CPU clock's reading at which the debt will be nil at the next edge. Reaching it in
every tick makes the error one chunk of work, not one more every tick: what a tick burns too much, the next burns
less. A process that is kept from the core catches up for at most the clamp; the rest is forgiven and *reported*.

Over any stretch between two ticks, with D for the difference of a figure between its ends::

    target    = D wanted / D wall
    achieved  = D cpu / D wall
    shortfall = (D forgiven + D debt) / D wall         (negative while debt is caught up)

so that ``achieved + shortfall = target`` by definition of the debt. In a steady state without competition debt stays
within one chunk of nil, and shortfall is nil to four digits.
"""

from __future__ import annotations

import math

PERIOD = 0.010
"""Seconds from edge to edge: short enough for any sampler, long enough that a tick's own cost is below 0.1 %."""

CLAMP = 0.050
"""Seconds of CPU time that may be owed: five ticks, more than any scheduler's time slice."""

_ALMOST = 1e-3
"""Of a period: a tick that is this near to its edge has reached it (the clock's floats are not exact)."""


class Ledger:
    """What was asked of one process and what it burnt.

    Args:
        now: wall clock, seconds.
        used: the process's CPU clock, seconds; what it used until now does not count.
    """

    __slots__ = ("_base", "at", "cpu", "forgiven", "target", "wanted")

    def __init__(self, now: float, used: float) -> None:
        self._base = used
        self.at = now
        self.cpu = 0.0
        self.wanted = 0.0
        self.forgiven = 0.0
        self.target = 0.0
        """Share of one core, 0 to 1, from the last settlement on: the mean of it until the next."""

    @property
    def debt(self) -> float:
        """CPU seconds that are owed; negative: burnt in advance."""
        return self.wanted - self.cpu - self.forgiven

    def settle(self, now: float, used: float, credit: float = 0.0) -> None:
        """Bring everything up to this moment, and forgive what is beyond the clamp.

        Args:
            now: wall clock, seconds; never before the last.
            used: the process's CPU clock, seconds.
            credit: seconds beyond the clamp that may have been burnt in advance: work whose pieces are longer than the
                clamp is made up for by as much silence.
        """
        self.wanted += self.target * (now - self.at)
        self.at = now
        self.cpu = used - self._base
        debt = self.debt
        if debt > CLAMP:
            self.forgiven += debt - CLAMP
        elif debt < -CLAMP - credit:
            self.forgiven += debt + CLAMP + credit

    def goal(self, edge: float) -> float:
        """The CPU clock's reading at which nothing is owed at ``edge``, if the target holds until then."""
        return self._base + self.cpu + self.debt + self.target * (edge - self.at)


class Grid:
    """The absolute grid: edges never drift, and missed ones are skipped.

    Args:
        phase: where in the period the edges lie, 0 to 1. Processes with different phases do not burn in step.
    """

    __slots__ = ("_offset",)

    def __init__(self, phase: float = 0.0) -> None:
        self._offset = phase % 1.0 * PERIOD

    def after(self, now: float) -> float:
        """The first edge after ``now``."""
        return self._offset + (math.floor((now - self._offset) / PERIOD + _ALMOST) + 1) * PERIOD
