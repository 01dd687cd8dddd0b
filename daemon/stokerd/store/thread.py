"""The writer's thread: it opens the folder and the database, lets the writer serve, and closes both."""

from __future__ import annotations

import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from stoker.errors import StokerError
from stokerd.store import faults
from stokerd.store.folder import StateFolder
from stokerd.store.health import Health
from stokerd.store.ledger import Ledger
from stokerd.store.migrations import shipped
from stokerd.store.orders import Channel, Stop
from stokerd.store.reserve import Reserve
from stokerd.store.writer import Writer


class Opened(NamedTuple):
    """What is known once the store is open."""

    next_id: int
    failing: str
    folder: StateFolder


class WriterThread(threading.Thread):
    """From the lock on the folder to its release.

    A daemon thread, so that an interpreter that ends in a hurry is not kept by it: what was acknowledged is on disk.

    Args:
        path: the state folder.
        channel: between this thread and the loop's.
        file_bytes: see :class:`~stokerd.store.ledger.Ledger`.
        reserve_bytes: see :class:`~stokerd.store.reserve.Reserve`.
        on_health: to be called in the loop thread.
        on_end: likewise, last of all, with what asked for the end and what could not be written.
    """

    def __init__(
        self,
        path: Path,
        channel: Channel,
        *,
        file_bytes: int,
        reserve_bytes: int,
        on_health: Callable[[str], None],
        on_end: Callable[[Stop, StokerError | None], None],
    ) -> None:
        super().__init__(name="store", daemon=True)
        self._path = path
        self._file_bytes = file_bytes
        self._reserve_bytes = reserve_bytes
        self._on_health = on_health
        self._on_end = on_end
        self.channel = channel
        self.opened: SimpleQueue[Opened | StokerError] = SimpleQueue()

    def run(self) -> None:
        """Open, serve, close."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are the loop thread's
        try:
            folder = StateFolder.take(self._path)
        except Exception as error:
            self.opened.put(faults.unusable(error, self._path))
            return
        try:
            reserve = Reserve(folder.reserve, self._reserve_bytes)
            ledger = self._open_ledger(folder, reserve)
            health = Health(reserve, self._tell)
            health.check()
        except Exception as error:
            folder.release()
            self.opened.put(faults.unusable(error, folder.database))
            return
        self.opened.put(Opened(ledger.next_id, "" if health.fault is None else health.fault.reason, folder))
        stop, lost = Writer(folder, ledger, health, self.channel).run()
        try:
            ledger.close()
        except sqlite3.Error as error:
            lost = lost or faults.unusable(error, folder.database)
        finally:
            folder.release()
            self.channel.outcomes.add(self._on_end, stop, lost)
            self.channel.outcomes.ring()

    def _open_ledger(self, folder: StateFolder, reserve: Reserve) -> Ledger:
        try:
            return Ledger(folder, self._file_bytes, shipped())
        except Exception as error:
            if not (faults.lacks_space(error) and reserve.give_up()):
                raise
        return Ledger(folder, self._file_bytes, shipped())

    def _tell(self, reason: str) -> None:
        self.channel.outcomes.add(self._on_health, reason)
