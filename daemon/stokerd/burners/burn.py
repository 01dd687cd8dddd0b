"""One burner process: what runs in the forked child.

It obeys the order in its page until that says stop, its deadline is over, or it is killed. It asks nobody and is asked
by nobody: the daemon reads the figures that it leaves in the page. On its channel it says two things only: one byte
``.`` when the load of an order has been observed, and ``!`` with a reason when it cannot go on.

Standard library and siblings only: it runs under the interpreter of its environment.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from stokerd.burners.control import PERIOD, Grid, Ledger
from stokerd.burners.kinds import KINDS, Chunk
from stokerd.burners.page import Order, Page, Record

if TYPE_CHECKING:
    from stokerd.forkserver.handles import Handles

OBSERVED_TICKS = 5
"""A load counts as observed after this many ticks of it …"""

OBSERVED_SECONDS = 0.5
"""… or this long: a starved process has few ticks."""

OBSERVED, COMPLAINT = b".", b"!"


class Clocks(NamedTuple):
    """Where the loop takes its time from.

    Args:
        wall: seconds of CLOCK_MONOTONIC.
        cpu: CPU seconds of what the chunks burn.
        sleep: waits for so many seconds.
    """

    wall: Callable[[], float]
    cpu: Callable[[], float]
    sleep: Callable[[float], None]


class Diary:
    """Leaves a record of every tick in the page, and knows when an order's load has been observed."""

    __slots__ = ("_page", "_since", "epoch", "observed", "tick")

    def __init__(self, page: Page) -> None:
        self._page = page
        self._since = (0, 0.0, 0.0)
        self.tick = self.epoch = self.observed = 0

    def enter(self, order: Order, ledger: Ledger) -> bool:
        """Record this tick. True: with it, the load of the order has been observed.

        Args:
            order: what holds from this tick on.
            ledger: settled at this tick.
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
            )
        )
        return fresh

    def _is_observed(self, order: Order, ledger: Ledger) -> bool:
        tick, wall, cpu = self._since
        long_enough = self.tick - tick >= OBSERVED_TICKS or ledger.at - wall >= OBSERVED_SECONDS
        return long_enough and (ledger.cpu > cpu or order.target == 0)


def run(page: Page, chunk: Chunk, clocks: Clocks, grid: Grid, observed: Callable[[], None]) -> None:
    """Burn as ordered until the order says stop or its deadline is over.

    Args:
        page: shared with the daemon.
        chunk: burns about 50 µs.
        clocks: where the time comes from.
        grid: the edges of the ticks.
        observed: called whenever the load of an order has been observed.
    """
    wall, cpu, sleep = clocks
    while (order := page.order()) is None:  # forked before the daemon came to write it: nothing is burnt unasked
        sleep(PERIOD)
    ledger, diary = Ledger(wall(), cpu()), Diary(page)
    while True:
        order = page.order() or order
        ledger.settle(wall(), cpu())
        if diary.enter(order, ledger):
            observed()
        if order.stop or ledger.at >= order.deadline:
            return
        ledger.target = order.target
        edge = grid.after(ledger.at)
        goal = ledger.goal(edge)
        while cpu() < goal and wall() < edge:
            chunk()
        if (left := edge - wall()) > 0:
            sleep(left)


def main(args: dict[str, Any], handles: Handles) -> None:
    """The target of the fork.

    Args:
        args: ``generator``: a key of :data:`~stokerd.burners.kinds.KINDS`; ``phase``: see :class:`Grid`.
        handles: the channel and the page; both are needed.
    """
    channel, memory = handles.channel, handles.page
    if channel is None or memory is None:
        raise SystemExit("a burner needs a channel and a page")
    try:
        kind = KINDS[args["generator"]]
        clocks = Clocks(time.monotonic, kind.clock, time.sleep)
        run(Page(memory), kind.make(), clocks, Grid(args["phase"]), lambda: _say(channel, OBSERVED))
    except Exception as why:
        _say(channel, COMPLAINT + f"{type(why).__name__}: {why}".encode(errors="replace")[:1000])
        raise SystemExit(1) from None


def _say(channel: socket.socket, word: bytes) -> None:
    """Tell the daemon; where it does not listen now, it will find the same in the page."""
    with contextlib.suppress(OSError):
        channel.send(word, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
