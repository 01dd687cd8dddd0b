"""The workers of one pool: hired, retired, replaced; which environment each is bound to."""

from __future__ import annotations

import itertools
from typing import Protocol

from stoker.errors import StokerError
from stoker.protocol.events import WorkerEnded, WorkerStarted
from stoker.protocol.models import Environment
from stoker.protocol.states import WorkerState
from stokerd.bus import Bus
from stokerd.child import Child, Exit, Forker, ForkSpec
from stokerd.clock import Clock, Timer
from stokerd.pool import page
from stokerd.pool.worker import Owner, Worker

TARGET = "stokerd.pool.worker_main:main"
TRIES = 3
"""An environment whose workers end this often in a row before they are ready is broken."""
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
"""Seconds before another worker is tried in an environment that failed; doubled each time."""
MAX_KNOWN = 1000
"""Environments of which it is remembered whether they work."""

_numbers = itertools.count(1)


class Employer(Owner, Protocol):
    """Whom a crew reports to."""

    def environment_broken(self, environment: Environment, reason: str) -> None:
        """No worker can be had in this environment for now: whatever waits for one must be told."""

    def crew_changed(self) -> None:
        """A worker has gone, or one may be tried again."""


class Crew:
    """See the module.

    Args:
        pool: the pool's name.
        size: how many workers there should be.
        nice: their niceness.
        output_bytes: kept per job and stream.
        result_bytes: the largest value of one job.
    """

    def __init__(  # noqa: PLR0913 - all but two by name
        self,
        pool: str,
        size: int,
        *,
        clock: Clock,
        bus: Bus,
        forker: Forker,
        nice: int,
        output_bytes: int,
        result_bytes: int,
    ) -> None:
        self.pool = pool
        self.size = size
        self.members: dict[int, Worker] = {}
        self._clock, self._bus, self._forker = clock, bus, forker
        self._nice, self._output_bytes, self._result_bytes = nice, output_bytes, result_bytes
        self._failures: dict[str, int] = {}
        self._proven: set[str] = set()
        """Environments in which a worker came up: there, a single failure says nothing of the environment."""
        self._blocked: dict[str, Timer] = {}
        self.employer: Employer

    # --- who is there

    def active(self) -> list[Worker]:
        """Those that are or will be able to take jobs."""
        return [
            worker for worker in self.members.values() if worker.state not in (WorkerState.STOPPING, WorkerState.DEAD)
        ]

    def of(self, environment_key: str) -> list[Worker]:
        """The active ones of one environment."""
        return [worker for worker in self.active() if worker.environment_key == environment_key]

    @property
    def vacancies(self) -> int:
        """How many more workers there should be."""
        return self.size - len(self.active())

    # --- hiring and retiring

    def can_hire(self, key: str) -> bool:
        """False while an environment is held back after failures."""
        return key not in self._blocked

    def hire(self, environment: Environment) -> bool:
        """Order one more worker; False while the environment is held back after failures."""
        key = environment.key
        if not self.can_hire(key):
            return False
        worker = Worker(next(_numbers), environment, self._clock, self.employer, self._output_bytes)
        spec = ForkSpec(
            target=TARGET,
            name=f"stoker:{self.pool}",
            args={"result_bytes": self._result_bytes},
            channel=True,
            page_bytes=page.SIZE,
            capture=True,
            nice=self._nice,
        )
        try:
            child = self._forker.fork(
                environment, spec, lambda _child: None, lambda child, how: self._gone(worker, child, how)
            )
        except StokerError as why:
            # Told later: whoever is just handing in jobs must have its answer before their verdict.
            self._hold_back(key)
            self._clock.soon(self.employer.environment_broken, environment, why.message)
            return False
        self.members[worker.id] = worker
        worker.attach(child)
        return True

    def retire(self, worker: Worker) -> None:
        """Let it finish what it has, then end."""
        worker.take_back()
        worker.stop()

    def ready(self, worker: Worker) -> None:
        """It came up: its environment works."""
        self._failures.pop(worker.environment_key, None)
        if len(self._proven) >= MAX_KNOWN:
            self._proven.clear()
        self._proven.add(worker.environment_key)
        assert worker.pid is not None  # noqa: S101 - it has told
        self._bus.emit(WorkerStarted(pool=self.pool, worker=worker.id, pid=worker.pid))

    # --- ends

    def _gone(self, worker: Worker, _child: Child, how: Exit) -> None:
        starting = worker.state is WorkerState.STARTING
        self.members.pop(worker.id, None)
        worker.gone(how)
        if starting:
            self._failed_to_start(worker.environment, str(how), never_ran=how.code is None)
        self.employer.crew_changed()

    def ended(self, worker: Worker, how: Exit, job: int | None) -> None:
        """Tell the world."""
        self._bus.emit(WorkerEnded(pool=self.pool, worker=worker.id, pid=worker.pid, reason=str(how), job=job))

    def _failed_to_start(self, environment: Environment, reason: str, *, never_ran: bool) -> None:
        key = environment.key
        hopeless = never_ran and key not in self._proven
        if not hopeless and not never_ran and self._failures.get(key, 0) + 1 < TRIES:
            self._failures[key] = self._failures.get(key, 0) + 1
            return
        self._hold_back(key)
        if hopeless or self._failures[key] >= TRIES:
            self.employer.environment_broken(environment, reason)

    def _hold_back(self, key: str) -> None:
        if len(self._failures) >= MAX_KNOWN:
            self._failures.clear()
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        if (blocked := self._blocked.pop(key, None)) is not None:
            blocked.cancel()
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures, 16))
        self._blocked[key] = self._clock.later(delay, self._try_again, key)

    def _try_again(self, key: str) -> None:
        del self._blocked[key]
        self.employer.crew_changed()

    def close(self) -> None:
        """No more tries."""
        for timer in self._blocked.values():
            timer.cancel()
        self._blocked.clear()
