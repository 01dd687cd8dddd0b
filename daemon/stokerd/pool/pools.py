"""All pools and all jobs: what the handlers ask."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from stoker.errors import IllegalMove, NameTaken, NoSuchPool
from stoker.protocol.events import PoolChanged
from stoker.protocol.models import JobInfo, PoolInfo
from stoker.protocol.states import JobState
from stokerd.bus import Bus
from stokerd.child import Forker
from stokerd.clock import Clock, Timer
from stokerd.output import EMPTY, Output
from stokerd.pool.batch import Batch, Piece
from stokerd.pool.describe import describe, describe_batch
from stokerd.pool.jobs import JobTable
from stokerd.pool.pool import Pool
from stokerd.pool.settings import PoolSettings
from stokerd.promise import Promise, gather

DEFAULT = "default"
CANCEL_GRACE = 2.0
"""Seconds between the rungs of the ladder for the jobs of a session that is over."""


@dataclass(slots=True, frozen=True)
class Cancelled:
    """What a cancel came to: ids of jobs that it ended, and of those that had ended before."""

    cancelled: tuple[int, ...]
    already_ended: tuple[int, ...]


class Pools:
    """See the module.

    Args:
        settings: by pool name; ``default`` must be among them.
        history_jobs: how many ended jobs are remembered.
        history_bytes: how many bytes of their values.
    """

    def __init__(
        self,
        settings: dict[str, PoolSettings],
        *,
        clock: Clock,
        bus: Bus,
        forker: Forker,
        history_jobs: int,
        history_bytes: int,
    ) -> None:
        self._clock, self._bus, self._forker = clock, bus, forker
        self._template = settings[DEFAULT]
        self._table = JobTable(history_jobs=history_jobs, history_bytes=history_bytes)
        self._sweeper: Timer | None = None
        self._pools: dict[str, Pool] = {}
        for name, its in settings.items():
            self._pools[name] = self._make(name, its)

    def _make(self, name: str, settings: PoolSettings) -> Pool:
        return Pool(name, settings, self._table, clock=self._clock, bus=self._bus, forker=self._forker)

    # --- pools

    def __contains__(self, name: str) -> bool:
        return name in self._pools

    def names(self) -> list[str]:
        """Every pool's name."""
        return list(self._pools)

    def get(self, name: str) -> Pool:
        """The pool of this name.

        Raises:
            NoSuchPool: there is none.
        """
        try:
            return self._pools[name]
        except KeyError:
            raise NoSuchPool(
                f"there is no pool {name!r}",
                hint=f"there are: {', '.join(self._pools)}; `stoker start pool {name}` makes one",
                data={"name": name},
            ) from None

    def create(self, name: str, workers: int | None) -> Pool:
        """A new pool, set up as the default one but for its size.

        Raises:
            NameTaken: there is one already.
        """
        if name in self._pools:
            raise NameTaken(f"there is a pool {name!r} already", hint=f"`stoker set {name} --workers N` resizes it")
        settings = replace(self._template, workers=self._template.workers if workers is None else workers)
        pool = self._pools[name] = self._make(name, settings)
        return pool

    def remove(self, names: Sequence[str], grace: float) -> Promise[list[str]]:
        """Close pools; settles when their last workers are reaped.

        Raises:
            NoSuchPool: one of the names is not a pool's.
            IllegalMove: one of them is the default pool, which always exists.
        """
        pools = [self.get(name) for name in names]
        if DEFAULT in names:
            raise IllegalMove(
                "the default pool always exists", hint="`stoker set default --workers 0` leaves it without workers"
            )
        for pool in pools:
            pool.close(grace).when_settled(lambda _, pool=pool: self._removed(pool))  # type: ignore[misc]
        closed: Promise[list[str]] = Promise()
        gather([pool.close(grace) for pool in pools]).when_settled(lambda _: closed.resolve(list(names)))
        return closed

    def _removed(self, pool: Pool) -> None:
        if self._pools.pop(pool.name, None) is not None:
            self._bus.emit(PoolChanged(name=pool.name, change="removed", size=0))

    def info(self) -> list[PoolInfo]:
        """A snapshot of each."""
        return [pool.info() for pool in self._pools.values()]

    def hurry(self, grace: float) -> None:
        """While closing: wait no longer than this."""
        for pool in self._pools.values():
            pool.hurry(grace)

    def close(self, grace: float) -> Promise[list[None]]:
        """Close all; settles when every worker is reaped."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        return gather([pool.close(grace) for pool in self._pools.values()])

    # --- jobs

    def submit(self, batches: Sequence[Batch]) -> None:
        """Queue batches: all of them, or none.

        Raises:
            NoSuchPool, QueueFull, ShuttingDown: as of the first that is refused.
        """
        by_pool: dict[str, list[Batch]] = {}
        for batch in batches:
            by_pool.setdefault(batch.pool, []).append(batch)
        for name, its in by_pool.items():
            self.get(name).admit(its)
        for name, its in by_pool.items():
            for batch in its:
                batch.on_end.append(self._ended)
            self._pools[name].submit(its)

    def cancel_session(self, session: str) -> None:
        """End every unfinished job of a session."""
        for batch in list(self._table.newest()):
            if batch.session == session and not batch.over:
                self._pools[batch.pool].cancel_batch(batch, CANCEL_GRACE)

    def cancel(self, ids: Iterable[int], grace: float) -> Promise[Cancelled]:
        """End jobs; settles when all have ended.

        Raises:
            NoSuchJob: one is not known; none is cancelled then.
        """
        found = [(job, *self._table.find(job)) for job in dict.fromkeys(ids)]
        ended = tuple(job for job, batch, index in found if batch.is_ended(index))
        pending = [(job, batch, index) for job, batch, index in found if not batch.is_ended(index)]
        waits = [self._pools[batch.pool].cancel(batch, index, grace) for _, batch, index in pending]
        answer: Promise[Cancelled] = Promise()

        def settle(_: object) -> None:
            ours = [job for job, batch, index in pending if batch.state(index) is JobState.CANCELLED]
            others = [job for job, batch, index in pending if batch.state(index) is not JobState.CANCELLED]
            answer.resolve(Cancelled(tuple(ours), ended + tuple(others)))

        gather(waits).when_settled(settle)
        return answer

    def retry(self, ids: Iterable[int]) -> list[JobInfo]:
        """Queue jobs again that ended without a value.

        Raises:
            NoSuchJob: one is not known.
            IllegalMove: one has not ended, ended well, or its payload is no longer kept; none is queued then.
        """
        found = [(job, *self._table.find(job)) for job in dict.fromkeys(ids)]
        for job, batch, index in found:
            if not batch.is_ended(index) or batch.state(index) is JobState.DONE:
                raise IllegalMove(
                    f"job {job} is {batch.state(index)}: only a job that ended without a value can be retried"
                )
            if not batch.lengths or batch.pool not in self._pools:
                raise IllegalMove(f"what job {job} was called with is no longer kept", hint="submit it again")
        for _, batch, index in found:
            if batch.over:
                self._table.revived(batch)
                batch.on_end.append(self._ended)
            self._pools[batch.pool].retry(batch, index)
        return [self.describe(batch, index) for _, batch, index in found]

    def find(self, job: int) -> tuple[Batch, int]:
        """The batch and index of a job.

        Raises:
            NoSuchJob: it is not known.
        """
        return self._table.find(job)

    def when_ended(self, ids: Sequence[int]) -> Promise[None]:
        """Settles when all of these jobs have ended.

        Raises:
            NoSuchJob: one is not known.
        """
        pending: dict[Batch, set[int]] = {}
        for batch, index in map(self._table.find, ids):
            if not batch.is_ended(index):
                pending.setdefault(batch, set()).add(index)

        def stop_listening() -> None:
            for batch in pending:
                batch.on_piece.remove(look)

        answer: Promise[None] = Promise(on_abandon=stop_listening)

        def look(batch: Batch, piece: Piece) -> None:
            left = pending.get(batch)
            if left is None:
                return
            left.difference_update(range(piece.first, piece.first + piece.count))
            if not left:
                del pending[batch]
                batch.on_piece.remove(look)
                if not pending:
                    answer.resolve(None)

        for batch in pending:
            batch.on_piece.append(look)
        if not pending:
            answer.resolve(None)
        return answer

    def jobs(self, states: frozenset[JobState], pool: str | None, limit: int) -> list[JobInfo]:
        """Snapshots of jobs, oldest first, at most the newest ``limit``."""
        found: list[JobInfo] = []
        for batch in self._table.newest():
            if pool is not None and batch.pool != pool:
                continue
            for index in reversed(range(batch.count)):
                if not states or batch.state(index) in states:
                    found.append(self.describe(batch, index))
                    if len(found) >= limit:
                        return found[::-1]
        return found[::-1]

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        return self._table.counts()

    def describe(self, batch: Batch, index: int) -> JobInfo:
        """One job's snapshot."""
        return describe(batch, index, self._worker_of(batch, index))

    def describe_batch(self, batch: Batch) -> JobInfo:
        """A snapshot of all of a batch as one."""
        return self.describe(batch, 0) if batch.count == 1 else describe_batch(batch)

    def _worker_of(self, batch: Batch, index: int) -> tuple[int, int | None] | None:
        """Worker id and pid of whoever runs the job now."""
        pool = self._pools.get(batch.pool)
        if pool is None or batch.state(index) is not JobState.RUNNING:
            return None
        for worker in pool.crew.members.values():
            seq = worker.running_seq(batch, index)
            if seq is not None:
                return (worker.id, worker.pid) if worker.has_started(seq) else None
        return None

    def output(self, job: int) -> tuple[Output, bool]:
        """What a job has written, and whether it has ended.

        Raises:
            NoSuchJob: it is not known.
        """
        batch, index = self._table.find(job)
        kept = batch.outputs.get(index)
        if kept is not None:
            return kept, batch.is_ended(index)
        pool = self._pools.get(batch.pool)
        for worker in pool.crew.members.values() if pool is not None else ():
            seq = worker.running_seq(batch, index)
            written = worker.output_of(seq) if seq is not None else None
            if written is not None:
                return written, False
        kept = batch.outputs.get(index)
        if kept is not None:
            return kept, batch.is_ended(index)
        return Output(EMPTY, EMPTY), batch.is_ended(index)

    # --- values that are kept for a time

    def _ended(self, _batch: Batch) -> None:
        if self._sweeper is None:
            self._sweeper = self._clock.soon(self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self._clock.monotonic()
        soonest = self._table.expire(now)
        if soonest is not None:
            self._sweeper = self._clock.later(max(1.0, soonest - now), self._sweep)
