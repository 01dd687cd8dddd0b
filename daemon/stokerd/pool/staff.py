"""Who is to work in a pool: vacancies filled, environments brought in and taking turns, and waits for both."""

from __future__ import annotations

from collections.abc import Callable

from stoker.errors import ShuttingDown, StokerError
from stoker.protocol.models import Environment
from stoker.protocol.states import WorkerState
from stokerd.clock import Clock, Timer
from stokerd.pool.crew import Crew
from stokerd.pool.scheduler import Scheduler
from stokerd.pool.worker import Worker
from stokerd.promise import Promise

TENURE = 0.25
"""Seconds that a worker may work before it has to make room for an environment that has none."""


class Staff:
    """See the module.

    Args:
        crew: the workers.
        queue: what waits for them.
        clock: time.
        default: the environment of those that stand by.
        dispatch: called when somebody else's turn has come.
    """

    def __init__(
        self, crew: Crew, queue: Scheduler, clock: Clock, default: Environment, dispatch: Callable[[], object]
    ) -> None:
        self._crew, self._queue, self._clock, self._dispatch = crew, queue, clock, dispatch
        self.default = default
        self._waiting: list[Promise[list[int]]] = []
        self._turn: Timer | None = None

    def fill(self) -> None:
        """Fill vacancies with workers of the default environment."""
        for _ in range(self._crew.vacancies):
            if not self._crew.hire(self.default):
                return

    def shrink(self) -> None:
        """Let those go that are too many; each ends the job that it has."""
        surplus = -self._crew.vacancies
        if surplus > 0:
            able = [worker for worker in self._crew.active() if not worker.lent]
            for worker in sorted(able, key=lambda worker: worker.outstanding)[:surplus]:
                self._crew.retire(worker)

    def adjust(self) -> None:
        """As many as there should be, whatever has changed; those that jobs wait for come first."""
        if self._queue.jobs:
            self.bring_in()
        if not self._queue.jobs or self._crew.vacancies > 0:
            self.fill()
        self.look()

    # --- waiting for them

    def complete(self) -> Promise[list[int]]:
        """Settles with the workers' process ids once as many are up as there should be.

        Rejected with why they can't be had, and with ShuttingDown when the pool closes first.
        """
        promise: Promise[list[int]] = Promise()
        self._waiting.append(promise)
        self.look()
        return promise

    def look(self) -> None:
        """Something has changed: tell whoever waits, if all are there."""
        active = self._crew.active()
        if len(active) < self._crew.size or any(worker.state is WorkerState.STARTING for worker in active):
            return
        waiting, self._waiting = self._waiting, []
        for promise in waiting:
            promise.resolve([worker.pid for worker in active if worker.pid is not None])

    def give_up(self, error: StokerError) -> None:
        """They can't be had: tell whoever waits."""
        waiting, self._waiting = self._waiting, []
        for promise in waiting:
            promise.reject(error)

    def close(self) -> None:
        """The pool closes."""
        self._crew.close()
        if self._turn is not None:
            self._turn.cancel()
        self.give_up(ShuttingDown(f"pool {self._crew.pool} is closing"))

    # --- environments

    def bring_in(self) -> None:
        """Jobs wait for environments that have too few workers, or none: hire, in place of idle ones of others."""
        for key, environment in self._queue.environments():
            if not self._crew.can_hire(key):
                continue
            coming = sum(worker.state is not WorkerState.BUSY for worker in self._crew.of(key))
            for _ in range(self._queue.queued(key) - coming):
                if not self._bring_in(key, environment):
                    break
            if not self._crew.of(key):
                self._make_room()

    def _bring_in(self, key: str, environment: Environment) -> bool:
        if self._crew.vacancies <= 0:
            idle = self._dispensable(key)
            if idle is None:
                return False
            self._crew.retire(idle)
        return self._crew.hire(environment)

    def _dispensable(self, key: str) -> Worker | None:
        """An idle worker of another environment for which nothing is queued."""
        for worker in self._crew.active():
            if (
                worker.environment_key != key
                and worker.state is WorkerState.IDLE
                and not self._queue.queued(worker.environment_key)
            ):
                return worker
        return None

    def _make_room(self) -> None:
        """All are busy with other environments, and one has nobody: the one with most workers gives one up.

        Each has had its time before that, so that environments which share one place take turns in it.
        """
        active = self._crew.active()
        if self._crew.vacancies > 0 or any(worker.state is WorkerState.STARTING for worker in active) or not active:
            return  # a place is free, or its taker is on the way
        now = self._clock.monotonic()
        worker = max(active, key=lambda worker: (len(self._crew.of(worker.environment_key)), now - worker.ready_at))
        left = worker.ready_at + TENURE - now
        if left <= 0:
            self._crew.retire(worker)
        elif self._turn is None:
            self._turn = self._clock.later(left, self._next_turn)

    def _next_turn(self) -> None:
        self._turn = None
        self._dispatch()
