"""Whether writing works; and when it does not, when to try again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from stokerd.store import faults
from stokerd.store.faults import Fault
from stokerd.store.reserve import Reserve

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0
"""Seconds until the next attempt, doubled each time. 5 s is how long a disk that was cleared may be thought full."""
_SPACING = 0.05
"""Seconds between two attempts at least, however much new work asks for one."""


class Health:
    """The fault that there is at the moment, and the reserve, whose being whole is a part of health.

    A fault is over when something was committed *and* the reserve could be renewed, because new work is accepted from
    then on, and a disk with three free pages would take it and then not the word that it has ended.

    Args:
        reserve: renewed when writing works again.
        tell: called with the reason when a fault begins or is another one, and with "" when it is over.
    """

    def __init__(self, reserve: Reserve, tell: Callable[[str], None]) -> None:
        self._reserve = reserve
        self._tell = tell
        self._delay = 0.0
        self._earliest = 0.0
        self.fault: Fault | None = None
        self.due = math.inf

    @property
    def early(self) -> bool:
        """Whether the last attempt is too short a time ago for another one."""
        return time.monotonic() < self._earliest

    def patience(self, *, asked: bool) -> float | None:
        """Seconds until the next attempt; None when none is due. ``asked``: new work asks for one."""
        due = min(self.due, self._earliest) if asked else self.due
        return None if due == math.inf else max(0.0, due - time.monotonic())

    def broke(self, fault: Fault) -> None:
        """Writing was tried and failed."""
        if self.fault is None or self.fault.reason != fault.reason:
            self._tell(fault.reason)
        self.fault = fault
        self._postpone()

    def worked(self) -> None:
        """Something was committed. If it had not worked before: maybe this is the end of it."""
        if self.fault is not None and not self.early:
            self.check()

    def check(self) -> None:
        """Renew the reserve: there is a fault if that cannot be done, and none if it can."""
        try:
            self._reserve.renew()
        except OSError as error:
            self.broke(faults.describe(error, self._reserve.path))
            return
        if self.fault is not None:
            self._tell("")
        self.fault = None
        self.due, self._delay, self._earliest = math.inf, 0.0, 0.0

    def relieve(self) -> bool:
        """Give the reserve up; True if that set space free."""
        return self._reserve.give_up()

    def _postpone(self) -> None:
        self._delay = min(2 * self._delay or _FIRST_DELAY, _LONGEST_DELAY)
        now = time.monotonic()
        self.due, self._earliest = now + self._delay, now + _SPACING
