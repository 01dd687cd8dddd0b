"""All forkservers of the daemon: one per environment, started when it is needed, retired when it is idle."""

from __future__ import annotations

import itertools
import resource
from collections.abc import Callable
from typing import final

from stoker.errors import ShuttingDown
from stoker.protocol.models import Environment
from stokerd.bus import Bus
from stokerd.cgroups import BURNERS, JOBS, Groups
from stokerd.child import Child, Exit, ForkSpec
from stokerd.clock import Clock
from stokerd.forkserver.launch import lent_packages, lent_segments
from stokerd.forkserver.offspring import Offspring
from stokerd.forkserver.server import ForkServer
from stokerd.promise import Promise

_LENT = ("msgpack", "cloudpickle")


@final
class ForkServers:
    """Implements :class:`stokerd.child.Forker`. It has to be used from the daemon's main thread, and only from there.

    Args:
        clock: time and readiness.
        bus: where starts and ends are told.
        default: the environment of whoever does not name one.
        max_idle: forkservers without children that are kept.
        idle_seconds: how long each of them is kept.
        start_seconds: how long an interpreter may take to start.
        open_files: soft and hard limit of descriptors that children get; None: this process's own.
        groups: control groups for what is started here; None: it stays in the daemon's own.
    """

    def __init__(  # noqa: PLR0913 - each is one thing that its composition root knows
        self,
        clock: Clock,
        bus: Bus,
        default: Environment,
        *,
        max_idle: int = 4,
        idle_seconds: float = 300.0,
        start_seconds: float = 30.0,
        open_files: tuple[int, int] | None = None,
        groups: Groups | None = None,
    ) -> None:
        self._groups = groups
        self._open_files = open_files or resource.getrlimit(resource.RLIMIT_NOFILE)
        self._clock = clock
        self._bus = bus
        self._default = default
        self._max_idle = max_idle
        self._idle_seconds = idle_seconds
        self._start_seconds = start_seconds
        self._current: dict[str, ForkServer] = {}
        self._all: set[ForkServer] = set()
        self._numbers = itertools.count(1)
        self._closing: list[Promise[None]] = []
        self._lend = lent_packages(_LENT) | lent_segments()

    @property
    def default(self) -> Environment:
        """See :class:`stokerd.child.Forker`."""
        return self._default

    def fork(
        self,
        environment: Environment,
        spec: ForkSpec,
        on_started: Callable[[Child], None],
        on_exit: Callable[[Child, Exit], None],
    ) -> Child:
        """See :class:`stokerd.child.Forker`.

        Raises:
            Unavailable: the system refuses descriptors or memory.
            ShuttingDown: :meth:`close` was called.
        """
        if self._closing:
            raise ShuttingDown(f"cannot start {spec.name}: the daemon is stopping")
        group = self._groups.directory(BURNERS) if self._groups is not None and spec.load else ""
        child = Offspring(next(self._numbers), spec, on_started, on_exit, group)
        self._server_of(environment).fork(child)
        return child

    def close(self, grace: float) -> Promise[None]:
        """End all forkservers and what they have forked; settles when the last one is reaped.

        Args:
            grace: seconds before those that are left are killed by force.
        """
        closed: Promise[None] = Promise()
        self._closing.append(closed)
        for server in self._all:
            server.close()
        if not self._all:
            closed.resolve(None)
            return closed
        timer = self._clock.later(grace, self._kill_all)
        closed.when_settled(lambda _: timer.cancel())
        return closed

    def pids(self) -> set[int]:
        """Every process that is alive because of this: forkservers and their children."""
        return {pid for server in self._all for pid in server.pids()}

    def keep_idle(self, max_idle: int, idle_seconds: float) -> None:
        """From now on keep so many forkservers without children at hand, each for so many seconds at most."""
        self._max_idle, self._idle_seconds = max_idle, idle_seconds

    def alive(self) -> int:
        """How many processes :meth:`pids` has."""
        return len(self.pids())

    def _server_of(self, environment: Environment) -> ForkServer:
        key = environment.key
        server = self._current.get(key)
        if server is None or not server.open:
            server = ForkServer(environment, self._clock, self._bus, self._childless, self._gone)
            self._current[key] = server
            self._all.add(server)
            group = "" if self._groups is None else self._groups.directory(JOBS)
            server.start(self._lend, self._start_seconds, self._open_files, group)
        return server

    def _childless(self, server: ForkServer) -> None:
        if server.idle_since is None or not server.open:
            return
        self._clock.later(self._idle_seconds, self._retire_if_idle_since, server, server.idle_since)
        idle = [other for other in self._current.values() if other.idle_since is not None and other.open]
        if len(idle) > self._max_idle:
            self._retire(min(idle, key=lambda other: other.idle_since or 0.0))

    def _retire_if_idle_since(self, server: ForkServer, since: float) -> None:
        if server.idle_since == since and server.open:
            self._retire(server)

    def _retire(self, server: ForkServer) -> None:
        self._forget(server)
        server.retire()

    def _forget(self, server: ForkServer) -> None:
        if self._current.get(server.environment.key) is server:
            del self._current[server.environment.key]

    def _gone(self, server: ForkServer) -> None:
        self._forget(server)
        self._all.discard(server)
        if not self._all:
            for closed in self._closing:
                closed.resolve(None)

    def _kill_all(self) -> None:
        for server in self._all:
            server.kill()
