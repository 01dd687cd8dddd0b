"""What every burner process does whatever it burns: it takes orders from the page and leaves a record of each tick.

Standard library and siblings only: it runs under the interpreter of its environment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from stokerd.burners.control import PERIOD, Ledger
from stokerd.burners.page import Order, Page, Record

OBSERVED_TICKS = 5
"""A load counts as observed after this many ticks of it …"""

OBSERVED_SECONDS = 0.5
"""… or this long: a starved process has few ticks."""


class Clocks(NamedTuple):
    """Where the loop takes its time from.

    Args:
        wall: seconds of CLOCK_MONOTONIC.
        sleep: waits for so many seconds.
        rest: waits for so many seconds, or until there may be a new order.
    """

    wall: Callable[[], float]
    sleep: Callable[[float], None]
    rest: Callable[[float], None]


class Diary:
    """Leaves a record of every tick in the page, and knows when an order's load has been observed."""

    __slots__ = ("_note", "_page", "_since", "epoch", "observed", "tick")

    def __init__(self, page: Page) -> None:
        self._page = page
        self._since = (0, 0.0, 0.0)
        self._note = ""
        self.tick = self.epoch = self.observed = 0

    def enter(self, order: Order, ledger: Ledger, work: float = 0.0) -> bool:
        """Record this tick. True: with it, the load of the order has been observed.

        Args:
            order: what holds from this tick on.
            ledger: settled at this tick.
            work: what got done so far.
        """
        self.tick += 1
        if order.epoch != self.epoch:
            self.epoch, self._since = order.epoch, (self.tick, ledger.at, ledger.cpu)
        fresh = self.observed != self.epoch and self._is_observed(order, ledger)
        if fresh:
            self.observed = self.epoch
        self._page.write(
            Record(
                tick=self.tick,
                since=self._since[0],
                epoch=self.epoch,
                observed=self.observed,
                wall=ledger.at,
                cpu=ledger.cpu,
                wanted=ledger.wanted,
                forgiven=ledger.forgiven,
                work=work,
            )
        )
        return fresh

    def note(self, text: str) -> None:
        """Leave a note where it is another than the last."""
        if text != self._note:
            self._note = text
            self._page.set_note(text)

    def is_at_rest(self, order: Order, ledger: Ledger) -> bool:
        """Nothing is to be burnt, and everybody knows."""
        return order.target == 0 and self.observed == order.epoch and ledger.debt <= 0

    def _is_observed(self, order: Order, ledger: Ledger) -> bool:
        tick, wall, cpu = self._since
        long_enough = self.tick - tick >= OBSERVED_TICKS or ledger.at - wall >= OBSERVED_SECONDS
        return long_enough and (ledger.cpu > cpu or order.target == 0)


def first_order(page: Page, sleep: Callable[[float], None]) -> Order:
    """The order that the process begins with. Forked before the daemon came to write it, it burns nothing unasked."""
    while (order := page.order()) is None:
        sleep(PERIOD)
    return order
