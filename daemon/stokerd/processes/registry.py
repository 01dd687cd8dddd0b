"""All supervised processes, by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import final

from stoker.errors import NameTaken, NoSuchProcess, ShuttingDown
from stoker.protocol.models import ProcessInfo
from stokerd.bus import Bus
from stokerd.child import Forker
from stokerd.clock import Clock
from stokerd.output import Output
from stokerd.processes.process import Process
from stokerd.processes.restart import Patience
from stokerd.processes.settings import Restart, Settings
from stokerd.promise import Promise, gather

ORPHAN_GRACE = 1.0
"""Seconds that the processes of a session that is over get to end by themselves before they are stopped."""


@final
class Processes:
    """Starts and stops them.

    Args:
        clock: time and readiness.
        bus: told of every change.
        forker: who forks.
        patience: how often and when they are started again.
    """

    def __init__(self, clock: Clock, bus: Bus, forker: Forker, patience: Patience | None = None) -> None:
        self._clock, self._bus, self._forker = clock, bus, forker
        self._patience = patience or Patience()
        self._processes: dict[str, Process] = {}
        self._closing = False

    def __contains__(self, name: str) -> bool:
        return name in self._processes

    def start(
        self,
        name: str,
        argv: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        restart: Restart = "on-failure",
        stop_signal: str = "SIGTERM",
        grace: float = 10.0,
    ) -> Promise[ProcessInfo]:
        """Start a process; settles when its program has been executed, with StartFailed when it could not be.

        One that is over, as nobody wants it up any more, is replaced.

        Args:
            name: its name.
            argv: program and arguments; no shell.
            cwd: absolute path of its working directory.
            env: variables laid over the daemon's environment.
            restart: what to do when it ends.
            stop_signal: the name of the signal that asks it to end.
            grace: seconds from that signal to SIGKILL.

        Raises:
            NameTaken: there is one of this name.
            ShuttingDown: :meth:`close` was called.
            Unavailable: the system refuses descriptors or memory.
        """
        settings = Settings(
            name=name,
            argv=tuple(argv),
            cwd=cwd,
            env=dict(env),
            restart=restart,
            stop_signal=stop_signal,
            grace=grace,
        )
        return self.run(settings)

    def run(self, settings: Settings) -> Promise[ProcessInfo]:
        """Start a process, a program or a Python target; see :meth:`start`. One that has an owner ends with it, and is
        forgotten when it has ended.
        """
        name = settings.name
        if self._closing:
            raise ShuttingDown(f"cannot start {name!r}: the daemon is stopping")
        taken = self._processes.get(name)
        if taken is not None and not taken.over:
            raise NameTaken(
                f"there is a process {name!r} already, and it is {taken.state}",
                hint=f"`stoker stop {name}` first, or take another name",
            )
        process = Process(self._clock, self._bus, self._forker, settings, self._patience, self._forget)
        started = process.start()
        self._processes[name] = process
        return started

    def stop(self, names: Sequence[str], grace: float | None = None) -> Promise[list[str]]:
        """End processes and forget them; settles with their names when all are reaped.

        Args:
            names: which.
            grace: seconds from the stop signal to SIGKILL; None: each one's own.

        Raises:
            NoSuchProcess: one of them does not exist; nothing was stopped.
        """
        chosen = [self._get(name) for name in names]
        return gather([process.stop(grace) for process in chosen])

    def signal(self, name: str, signum: int, *, group: bool) -> bool:
        """Send a signal to a process, or to its whole group; False where it is down.

        Raises:
            NoSuchProcess: it does not exist.
        """
        return self._get(name).signal(signum, group=group)

    def follow(self, name: str, tap: Callable[[bytes, bytes], object], on_end: Callable[[ProcessInfo], object]) -> None:
        """See :meth:`Process.follow`.

        Raises:
            NoSuchProcess: it does not exist.
        """
        self._get(name).follow(tap, on_end)

    def session_closed(self, session: str) -> None:
        """End what belongs to a session that is over.

        Not at once: a process that watches its parent may end in its own way, and say last words to others.
        """
        owned = [process for process in self._processes.values() if process.settings.owner == session]
        for process in owned:
            process.unfollow()
            self._clock.later(ORPHAN_GRACE, self._end_orphan, process)

    def _end_orphan(self, process: Process) -> None:
        if self._processes.get(process.settings.name) is process and process.wanted:
            process.stop(None)

    def info(self) -> list[ProcessInfo]:
        """Snapshots, in order of start."""
        return [process.info() for process in self._processes.values()]

    def output(self, name: str) -> tuple[Output, bool]:
        """What a process wrote, over all of its runs, and whether there will be no more.

        Raises:
            NoSuchProcess: it does not exist.
        """
        return self._get(name).output()

    def when_news(self, name: str, listener: Callable[[], None]) -> None:
        """Call once, when a process has written something or will not write any more.

        Raises:
            NoSuchProcess: it does not exist.
        """
        self._get(name).when_news(listener)

    def close(self, grace: float) -> Promise[list[str]]:
        """End all; no new ones. Settles when all are reaped.

        Args:
            grace: seconds from the stop signal to SIGKILL, where a process's own are more.
        """
        self._closing = True
        chosen = list(self._processes.values())
        return gather([process.stop(min(grace, process.settings.grace)) for process in chosen])

    def _get(self, name: str) -> Process:
        if name in self._processes:
            return self._processes[name]
        close = difflib.get_close_matches(name, self._processes, n=1)
        hint = f'did you mean "{close[0]}"?' if close else "`stoker status` shows what there is"
        raise NoSuchProcess(f"there is no process {name!r:.140}", hint=hint, data={"name": name[:140]})

    def _forget(self, process: Process) -> None:
        if self._processes.get(process.settings.name) is process:
            del self._processes[process.settings.name]
