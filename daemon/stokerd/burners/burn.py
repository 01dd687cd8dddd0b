"""One burner process: what runs in the forked child.

It obeys the order in its page until that says stop, its deadline is over, or it is killed. It asks nobody and is asked
by nobody: the daemon reads the figures that it leaves in the page. On its channel it says two things only: one byte
``.`` when the load of an order has been observed, and ``!`` with a reason when it cannot go on. It hears one thing: any
byte means that the order in the page is a new one. A process that burns looks at every tick; one that has nothing to
burn waits for that byte, or for its deadline, and costs nothing.

Standard library and siblings only: it runs under the interpreter of its environment.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stokerd.burners import stressor
from stokerd.burners.control import Grid, Ledger
from stokerd.burners.diary import Clocks, Diary, first_order
from stokerd.burners.kinds import KINDS, Load, Refusal
from stokerd.burners.page import Page

if TYPE_CHECKING:
    from stokerd.forkserver.handles import Handles

OBSERVED, COMPLAINT, BELL = b".", b"!", b"*"
MAX_COMPLAINT = 2000
"""Bytes of a reason that are sent."""

NOTE_SECONDS = 0.5
"""From one look at what a kind has to say to the next."""

_LONGEST_WAIT = 86400.0


def run(page: Page, load: Load, clocks: Clocks, grid: Grid, observed: Callable[[], None]) -> None:
    """Burn as ordered until the order says stop or its deadline is over.

    Args:
        page: shared with the daemon.
        load: what to burn with.
        clocks: where the time comes from.
        grid: the edges of the ticks.
        observed: called whenever the load of an order has been observed.
    """
    wall, sleep, rest = clocks
    chunk, cpu = load.chunk, load.clock
    order = first_order(page, sleep)
    ledger, diary = Ledger(wall(), cpu()), Diary(page)
    next_note = ledger.at
    while True:
        order = page.order() or order
        ledger.settle(wall(), cpu(), load.credit())
        if diary.enter(order, ledger, load.work()):
            observed()
        if ledger.at >= next_note:
            next_note = ledger.at + NOTE_SECONDS
            diary.note(load.note())
        if order.stop or ledger.at >= order.deadline:
            return
        ledger.target = order.target
        if diary.is_at_rest(order, ledger):
            diary.note(load.note())
            rest(order.deadline - ledger.at)
            continue
        edge = grid.after(ledger.at)
        goal = ledger.goal(edge)
        while cpu() < goal and wall() < edge:
            chunk()
        if (left := edge - wall()) > 0:
            sleep(left)


class Ear:
    """The process's end of the channel.

    Args:
        channel: to the daemon.
    """

    __slots__ = ("_channel", "_poll")

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)

    def rest(self, seconds: float) -> None:
        """Wait until the daemon rings, but no longer than so many seconds.

        A ring that came while nobody waited is heard at once: the page has been looked at since, but it costs one tick
        only, and none is ever missed.

        Raises:
            SystemExit: the daemon is gone.
        """
        wait = min(max(seconds, 0.0), _LONGEST_WAIT)
        if self._poll.poll(math.ceil(wait * 1000)) and not self._channel.recv(4096, socket.MSG_DONTWAIT):
            raise SystemExit(0)

    def say(self, word: bytes) -> None:
        """Tell the daemon; where it does not listen now, it will find the same in the page."""
        with contextlib.suppress(OSError):
            self._channel.send(word, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def complain(self, why: Exception) -> None:
        """Say why this process gives up."""
        message, hint = (why.message, why.hint) if isinstance(why, Refusal) else (f"{type(why).__name__}: {why}", "")
        self.say(COMPLAINT + f"{message[: MAX_COMPLAINT // 8]}\0{hint[: MAX_COMPLAINT // 8]}".encode(errors="replace"))


def main(args: dict[str, Any], handles: Handles) -> None:
    """The target of the fork.

    Args:
        args: ``generator``: a key of :data:`~stokerd.burners.kinds.KINDS`, or ``stress-ng:STRESSOR``; ``params``: of
            the kind; ``phase``: see :class:`Grid`.
        handles: the channel and the page; both are needed.
    """
    channel, memory = handles.channel, handles.page
    if channel is None or memory is None:
        raise SystemExit("a burner needs a channel and a page")
    ear, page = Ear(channel), Page(memory)
    try:
        _burn(args, page, ear)
    except Exception as why:
        ear.complain(why)
        raise SystemExit(1) from None


def _burn(args: dict[str, Any], page: Page, ear: Ear) -> None:
    kind, _, name = str(args["generator"]).partition(":")
    params, grid = args.get("params", {}), Grid(args["phase"])
    clocks = Clocks(time.monotonic, time.sleep, ear.rest)
    if name:
        stressor.run(name, params, page, clocks, lambda: ear.say(OBSERVED))
        return
    load = KINDS[kind](params)
    try:
        run(page, load, clocks, grid, lambda: ear.say(OBSERVED))
    finally:
        load.close()
