"""The workers of one pool: hired, retired, replaced; which environment each is bound to."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Protocol

from stoker.errors import StokerError, Unavailable
from stoker.protocol.events import WorkerEnded, WorkerStarted
from stoker.protocol.models import Environment
from stoker.protocol.states import WorkerState
from stokerd.bus import Bus
from stokerd.child import Child, Exit, Forker, ForkSpec
from stokerd.clock import Clock, Timer
from stokerd.depot import Depot
from stokerd.pool import page
from stokerd.pool.settings import PoolSettings
from stokerd.pool.worker import Owner, Worker

TARGET = "stokerd.pool.worker_main:main"
TRIES = 3
"""An environment whose workers end this often in a row before they are ready is broken."""
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
"""Seconds before another worker is tried in an environment that failed; doubled each time."""
MOST_LENT = 64
"""Workers of one pool beyond its size, at most, while jobs wait for jobs: where they wait in deeper nests than that,
somebody's recursion has no end.
"""
MAX_KNOWN = 1000
"""Environments of which it is remembered whether they work."""

_numbers = itertools.count(1)


class Employer(Owner, Protocol):
    """Whom a crew reports to."""

    def environment_broken(self, environment: Environment, reason: str) -> None:
        """No worker can be had in this environment for now: whatever waits for one must be told."""

    def beginning_failed(self, environment: Environment, packed: bytes) -> None:
        """What workers begin with raises; the packed error says what."""

    def short_of_means(self, reason: str) -> None:
        """The system has nothing to spare for a worker; one is tried again by and by. What waits goes on waiting."""

    def crew_changed(self) -> None:
        """A worker has gone, or one may be tried again."""


class Crew:
    """See the module.

    Args:
        pool: the pool's name.
        settings: the pool's.
        claim_path: gives the file in which a worker says what it has begun with; empty: none.
        depot: where shared memory is kept; None: there is none.
    """

    def __init__(
        self,
        pool: str,
        settings: PoolSettings,
        *,
        clock: Clock,
        bus: Bus,
        forker: Forker,
        claim_path: Callable[[int], str] = lambda _worker: "",
        depot: Depot | None = None,
    ) -> None:
        self._depot = depot
        self._claim_path = claim_path
        self.pool = pool
        self.size = settings.workers
        self.settings = settings
        self.members: dict[int, Worker] = {}
        self._clock, self._bus, self._forker = clock, bus, forker
        self._refusals: dict[int, bytes] = {}
        """Packed errors of workers whose beginning failed, until they are gone."""
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
        """How many more workers there should be: one more for each whose job lends its slot to others, and none yet for
        one that is leaving and has a job to end first.
        """
        lent = sum(worker.lent > 0 for worker in self.members.values())
        leaving = sum(
            worker.state is WorkerState.STOPPING and worker.outstanding > 0 for worker in self.members.values()
        )
        return self.size + min(lent, MOST_LENT) - len(self.active()) - leaving

    # --- hiring and retiring

    def can_hire(self, key: str) -> bool:
        """False while an environment is held back after failures."""
        return key not in self._blocked

    def hire(self, environment: Environment) -> bool:
        """Order one more worker; False while the environment is held back after failures."""
        key = environment.key
        if not self.can_hire(key):
            return False
        settings = self.settings
        worker = Worker(next(_numbers), environment, self._clock, self.employer, settings.output_bytes, self._depot)
        spec = ForkSpec(
            target=TARGET,
            name=f"stoker:{self.pool}",
            args={
                "result_bytes": settings.result_bytes,
                "begins": settings.beginning is not None,
                "claims": self._claim_path(worker.id),
            },
            channel=True,
            page_bytes=page.SIZE,
            capture=True,
            nice=settings.nice,
        )
        try:
            child = self._forker.fork(
                environment, spec, lambda _child: None, lambda child, how: self._gone(worker, child, how)
            )
        except StokerError as why:
            # Told later: whoever is just handing in jobs must have its answer before their verdict.
            self._hold_back(key)
            if isinstance(why, Unavailable):
                self._clock.soon(self.employer.short_of_means, why.message)
            else:
                self._clock.soon(self.employer.environment_broken, environment, why.message)
            return False
        self.members[worker.id] = worker
        worker.attach(child)
        if settings.beginning is not None:
            worker.begin(settings.beginning.form, settings.beginning.function, settings.beginning.payload)
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

    def refused(self, worker: Worker, packed: bytes) -> None:
        """What it was to begin with failed; it ends by itself."""
        self._refusals[worker.id] = packed

    # --- ends

    def _gone(self, worker: Worker, _child: Child, how: Exit) -> None:
        starting = worker.state is WorkerState.STARTING
        self.members.pop(worker.id, None)
        worker.gone(how)
        refusal = self._refusals.pop(worker.id, None)
        if refusal is not None:
            self._hold_back(worker.environment_key)
            self.employer.beginning_failed(worker.environment, refusal)
        elif starting and how.scarce:
            self._hold_back(worker.environment_key)
            self.employer.short_of_means(str(how))
        elif starting:
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
