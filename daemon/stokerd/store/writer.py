"""The thread that writes: it alone owns the connection, and it alone waits for the disk.

One turn: take all that was handed over, write it as one transaction, tell the loop, and in the pauses prune a little
and work the log into the database. So one fsync is shared by all that came while the one before it was under way.

When the system refuses, new batches are refused with the reason, and moves are kept in order and tried again: first
without the new batches, then with the space of the reserve, then by a deadline that grows, or when new work comes.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import deque
from collections.abc import Iterable, Sequence
from queue import Empty

from stoker.errors import StokerError, Unavailable
from stokerd.promise import internal_error
from stokerd.store import faults
from stokerd.store.faults import Fault
from stokerd.store.folder import StateFolder
from stokerd.store.health import Health
from stokerd.store.ledger import Ledger
from stokerd.store.orders import Accepts, Channel, Drop, Moves, Read, Stop, Work

_GROUP_BYTES = 4 * 1024 * 1024
"""Of one transaction: it bounds the log, and how long the first in a group waits for the last."""
_ROW_BYTES = 512
"""What a row weighs beside its payload: its place in the database and the indexes, and the work."""
_TURNS_BETWEEN_PRUNES = 8
"""While there is always something to be written, a step of pruning comes after so many groups."""


class Writer:
    """What the thread does.

    Args:
        folder: locked.
        ledger: made in this thread, and closed by whoever made it.
        health: what is known of the disk when this begins.
        channel: what the loop hands over, and what it is to be told.
    """

    def __init__(self, folder: StateFolder, ledger: Ledger, health: Health, channel: Channel) -> None:
        self._folder = folder
        self._ledger = ledger
        self._health = health
        self._channel = channel
        self._outcomes = channel.outcomes
        self._orders = channel.orders
        self._fresh: list[Work] = []
        self._waiting: deque[Work] = deque()
        self._asked = False
        self._turns = 0
        self._prune_fails = False

    def run(self) -> tuple[Stop, StokerError | None]:
        """Serve until told to stop; returns that order, which is not answered yet, and what could not be written."""
        try:
            return self._serve()
        except Exception as bug:  # whoever waits gets an answer, also from a thread that cannot go on
            return self._refuse_all(internal_error(bug))

    def _serve(self) -> tuple[Stop, StokerError | None]:
        while True:
            barrier = self._gather()
            if self._channel.aborted:
                if isinstance(barrier, Stop):
                    return barrier, None
                continue
            self._write_waiting(hurry=barrier is not None)
            match barrier:
                case Read():
                    self._answer(barrier)
                case Stop():
                    return barrier, self._finish()
            self._keep_house()
            self._outcomes.ring()

    def _refuse_all(self, error: StokerError) -> tuple[Stop, StokerError | None]:
        self._health.broke(Fault(error.message, error.hint))
        while True:
            for order in (*self._waiting, *self._fresh):
                self._settle(order, error)
            self._waiting.clear()
            self._fresh.clear()
            self._outcomes.ring()
            match self._orders.get():
                case Accepts() | Moves() as work:
                    self._fresh.append(work)
                case Read() as read:
                    read.answer.put(error)
                case Stop() as stop:
                    return stop, error

    # --- taking -------------------------------------------------------------------------------------------------------

    def _gather(self) -> Read | Stop | None:
        """Take what was handed over. Waits if there is nothing to do; stops at what has to come after all before it."""
        patience = self._patience()
        for _ in range(max(1, self._orders.qsize())):
            try:
                order = self._orders.get(timeout=patience)
            except Empty:
                break
            match order:
                case Accepts() | Moves():
                    self._fresh.append(order)
                    self._asked = True
                case Drop():
                    self._ledger.doom(order.first_ids)
                case _:
                    return order
            patience = 0
        return None

    def _patience(self) -> float | None:
        """Seconds to wait for an order; None: for ever."""
        if self._ledger.prunable and not self._prune_fails:
            return 0
        if self._health.fault is not None:
            return self._health.patience(asked=self._asked)
        return None

    # --- writing ------------------------------------------------------------------------------------------------------

    def _write_waiting(self, *, hurry: bool) -> None:
        """Write group after group, until all is written or the system refuses. ``hurry``: now, or never."""
        early = self._health.fault is not None and self._health.early and not hurry
        if self._health.fault is not None and not early and any(isinstance(order, Accepts) for order in self._fresh):
            self._mend()
        self._waiting += self._fresh if self._health.fault is None else self._without_accepts(self._fresh)
        self._fresh = []
        if early:
            return
        self._asked = False
        while self._waiting and not self._channel.aborted:
            group = self._next_group()
            try:
                if not self._write_group(group):
                    self._waiting = deque(self._without_accepts(self._waiting))
                    break
            except BaseException:
                self._waiting.extendleft(reversed(group))  # whoever refuses them finds them there
                raise
            self._outcomes.ring()
            self._tidy()
            self._turns += 1
            if self._turns >= _TURNS_BETWEEN_PRUNES:
                self._prune()
        self._outcomes.ring()

    def _next_group(self) -> list[Work]:
        group: list[Work] = []
        weight = 0
        while self._waiting and weight < _GROUP_BYTES:
            order = self._waiting.popleft()
            group.append(order)
            weight += _weight(order)
        return group

    def _write_group(self, group: Sequence[Work]) -> bool:
        """False: the system refuses, and the moves of the group wait again."""
        rest, fault = self._attempt(group)
        if fault is not None:
            rest, fault = self._attempt(self._without_accepts(rest))
        if fault is not None and self._relieve(fault):
            rest, fault = self._attempt(rest)
        self._waiting.extendleft(reversed(rest))
        return not rest

    def _attempt(self, group: Sequence[Work]) -> tuple[list[Work], Exception | None]:
        if not group:
            return [], None
        dealt, fault, rest = self._ledger.write(group)
        for order, error in dealt:
            self._settle(order, error)
        if fault is not None:
            self._health.broke(faults.describe(fault, self._folder.database))
        elif any(isinstance(error, Unavailable) for _, error in dealt):
            self._health.check()  # a file was too large for the disk: is it full, or is that one file large?
        else:
            self._prune_fails = False
            self._health.worked()
        return rest, fault

    def _relieve(self, fault: Exception) -> bool:
        """Give the reserve up, if space is what is missing and there is one; what failed can be tried again then."""
        if not faults.lacks_space(fault) or not self._health.relieve():
            return False
        self._tidy(now=True)  # worked in, the log can begin anew without growing
        return True

    def _without_accepts(self, group: Iterable[Work]) -> list[Work]:
        """The moves of a group; its new batches are refused because of the fault."""
        moves: list[Work] = []
        for order in group:
            if isinstance(order, Moves):
                moves.append(order)
            else:
                self._ledger.forget(order)
                self._settle(order, self._unavailable("the batch cannot be kept"))
        return moves

    def _settle(self, order: Work, error: StokerError | None) -> None:
        if error is None:
            self._outcomes.add(order.promise.resolve, None)
        else:
            self._outcomes.add(order.promise.reject, error)

    def _unavailable(self, what: str) -> Unavailable:
        fault = self._health.fault
        return Unavailable(f"{what}: {fault.reason}", hint=fault.hint) if fault is not None else Unavailable(what)

    def _mend(self) -> None:
        """See whether the fault is over."""
        try:
            self._ledger.probe()
        except (sqlite3.Error, OSError) as error:
            self._health.broke(faults.describe(error, self._folder.database))
        else:
            self._prune_fails = False
            self._health.check()

    # --- in the pauses ------------------------------------------------------------------------------------------------

    def _keep_house(self) -> None:
        if self._health.fault is not None and not self._waiting and not self._health.patience(asked=False):
            self._mend()
        if self._orders.empty():
            self._prune()
            self._tidy()

    def _prune(self) -> None:
        self._turns = 0
        if not self._ledger.prunable or self._prune_fails:
            return
        try:
            self._ledger.prune()
        except sqlite3.Error as error:
            self._health.broke(faults.describe(error, self._folder.database))
            self._prune_fails = not self._relieve(error)  # until something else could be written
        else:
            self._health.worked()

    def _tidy(self, *, now: bool = False) -> None:
        with contextlib.suppress(sqlite3.Error):  # the log is as good; when it cannot grow any more, a commit says so
            self._ledger.tidy(now=now)

    def _answer(self, order: Read) -> None:
        try:
            order.answer.put(self._ledger.read(order.above, order.most))
        except Exception as error:
            order.answer.put(faults.unusable(error, self._folder.database))

    def _finish(self) -> StokerError | None:
        """Say of what could not be written that it will not be, and remove what is to be removed."""
        records = sum(len(order.items) for order in self._waiting)
        lost = self._unavailable(f"{records} records of jobs could not be kept") if self._waiting else None
        for order in self._waiting:
            self._ledger.forget(order)
            self._settle(order, lost)
        with contextlib.suppress(sqlite3.Error):  # whoever drops them does it again after the next start
            self._ledger.prune_batches()
        return lost


def _weight(order: Work) -> int:
    """How much there is to be written for an order, in rows or files, roughly and in bytes."""
    if isinstance(order, Accepts):
        data = sum(len(one.payload) + len(one.lengths) for one in order.items)
    else:
        data = sum(len(one.data) for one in order.items)
    return _ROW_BYTES * len(order.items) + data
