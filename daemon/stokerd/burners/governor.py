"""How much the burners of mode ``total`` burn together, so that the machine as a whole reaches what was asked. Pure.

There is one governor for the whole machine, whatever the number of burners: spinners that each chase one machine-wide
figure chase one another. At every step it is told what the machine's cores did since the last one::

    others = busy - burnt                         (what all else used; a short low-pass filter smooths it)
    debt   = integral of (target - busy)          (what is missing so far, in core-seconds; bounded)
    own    = target - others + debt / CATCH_UP    (deadbeat on the others, and the debt is paid back)

so that a foreign load that comes or goes leaves no error behind once its debt is paid: over some seconds the mean is
the target, even if one step is not. The debt also takes out the noise of the kernel's counters, which are read in steps
of 10 ms per core: they are cumulative, so that what one step saw too much the next sees too little.

``own`` is bounded by what the processes can burn, and moves by a bounded slew. While it is at a bound, no debt is made
that could not be worked at: the machine is fuller than asked for without us, or others keep us from what is missing.
"""

from __future__ import annotations

import math

FILTER_SECONDS = 0.025
"""Time constant of the filter on others' load: half a step, so that one step answers most of a load that comes."""

CATCH_UP_SECONDS = 0.3
"""In which a debt is paid back: several steps, so that the noise of one does not show."""

DEBT_SECONDS = 0.5
"""Of the whole machine, are owed at most; what is beyond is forgiven."""

SLEW = 10.0
"""From nothing to everything takes a tenth of a second at least: two steps."""


class Governor:
    """See the module. All figures are cores, or core-seconds."""

    __slots__ = ("_others", "debt", "own")

    def __init__(self) -> None:
        self._others: float | None = None
        self.own = 0.0
        """Cores that the burners of mode ``total`` are to burn together."""
        self.debt = 0.0
        """Core-seconds that are missing so far; negative: that were too many."""

    @property
    def others(self) -> float:
        """Cores that all else uses, filtered."""
        return self._others or 0.0

    def step(self, seconds: float, busy: float, burnt: float, target: float, most: float, machine: float) -> float:
        """What to burn until the next step.

        Args:
            seconds: since the last step.
            busy: core-seconds that were used of the machine in them.
            burnt: core-seconds of those that the governed processes burnt.
            target: cores that the machine should be at.
            most: cores that the governed processes can burn.
            machine: cores that there are.
        """
        if seconds <= 0:
            return self.own
        others = max(0.0, busy - burnt) / seconds
        known = others if self._others is None else self._others
        self._others = known + (others - known) * (1 - math.exp(-seconds / FILTER_SECONDS))
        self._owe(target * seconds - busy, machine, most)
        wanted = min(max(target - self._others + self.debt / CATCH_UP_SECONDS, 0.0), most)
        slew = SLEW * most * seconds
        self.own = min(max(wanted, self.own - slew), self.own + slew, most)
        return self.own

    def _owe(self, missing: float, machine: float, most: float) -> None:
        """Add to the debt, unless that could not be worked at."""
        at_bound = (self.own >= most and missing > 0) or (self.own <= 0 and missing < 0)
        if not at_bound:
            bound = DEBT_SECONDS * machine
            self.debt = min(max(self.debt + missing, -bound), bound)
        elif self.debt * missing > 0:
            self.debt = 0.0
