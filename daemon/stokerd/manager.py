"""What the service manager is told of the daemon's life, in states for it and in a line for people."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, MutableMapping

from stokerd import systemd

ROOM_TO_END = 20.0
"""Seconds beyond the jobs' grace within which the daemon has ended: the ladder to SIGKILL and the last writes."""
ROOM_TO_START = 120.0
"""Seconds for taking up what an earlier daemon left; about ten million jobs."""


class ServiceManager:
    """systemd, or whatever speaks its protocol; where there is none, nobody is told.

    Args:
        environ: the variables of the protocol are taken out of it.
        work: what is going on, in a few words; empty: nothing.
    """

    def __init__(self, environ: MutableMapping[str, str], work: Callable[[], str]) -> None:
        self._notifier = systemd.Notifier(environ)
        self.watchdog = systemd.watchdog_interval(environ, os.getpid())
        """Seconds within which a sign of life is due each time; None: nobody waits for it."""
        self._work = work
        self._endpoint = ""
        self._said = ""

    def __bool__(self) -> bool:
        return bool(self._notifier)

    def starting(self) -> None:
        """The daemon has begun; taking up what is on disk may take longer than a service usually does."""
        text = "Taking up what the last daemon left"
        self._notifier.notify(STATUS=text, EXTEND_TIMEOUT_USEC=int(ROOM_TO_START * 1e6))

    def ready(self, endpoint: str) -> None:
        """The control socket has answered."""
        self._endpoint = endpoint
        self._notifier.notify(READY=1, STATUS=self._serving(), MAINPID=os.getpid())

    def alive(self) -> None:
        """The control socket has answered again; the line for people follows what goes on."""
        before, now = self._said, self._serving()
        if now == before:
            self._notifier.notify(WATCHDOG=1)
        else:
            self._notifier.notify(WATCHDOG=1, STATUS=now)

    def reloading(self) -> None:
        """The configuration is being read; :meth:`reloaded` follows, however that goes."""
        if not self._endpoint:
            return  # the end of a reload is told by READY, which is not true yet
        self._notifier.notify(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000, STATUS="Reloading")

    def reloaded(self, trouble: str = "") -> None:
        """It has been read.

        Args:
            trouble: why it was not applied; empty: it was.
        """
        if not self._endpoint:
            return
        text = self._serving() if not trouble else f"Goes on as it was, the new configuration is wrong: {trouble}"
        self._notifier.notify(READY=1, STATUS=text)

    def stopping(self, grace: float) -> None:
        """The daemon ends, and needs its time for it, whatever the unit's TimeoutStopSec is.

        Args:
            grace: seconds that running jobs get.
        """
        work = self._work()
        text = f"Stopping: {work} may go on for {grace:g} s" if work else "Stopping"
        self._notifier.notify(STOPPING=1, STATUS=text, EXTEND_TIMEOUT_USEC=int((grace + ROOM_TO_END) * 1e6))

    def _serving(self) -> str:
        self._said = f"Serving at {self._endpoint}: {self._work() or 'idle'}"
        return self._said
