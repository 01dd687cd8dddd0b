"""All pools and all jobs: what the handlers ask."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from stoker.errors import IllegalMove, InvalidParams, NameTaken, NoSuchPool, ShuttingDown, StokerError
from stoker.protocol.events import JobProgressed, PoolChanged
from stoker.protocol.models import JobInfo, PoolInfo, ProgressInfo
from stoker.protocol.states import JobEvent, JobState, WorkerState
from stokerd.bus import Bus
from stokerd.child import Forker
from stokerd.clock import Clock, Timer
from stokerd.depot import Depot
from stokerd.output import EMPTY, Output
from stokerd.pool.batch import Batch, Piece
from stokerd.pool.describe import describe, describe_batch
from stokerd.pool.jobs import JobTable
from stokerd.pool.ledger import Ledger, lost, lost_error
from stokerd.pool.oom import OomKills
from stokerd.pool.options import PLAIN
from stokerd.pool.pool import Pool
from stokerd.pool.settings import PoolSettings
from stokerd.pool.tags import TagLimits
from stokerd.pool.waiting import WaitingRoom, dependency_failed
from stokerd.promise import Promise, gather

DEFAULT = "default"
CANCEL_GRACE = 2.0
"""Seconds between the rungs of the ladder for the jobs of a session that is over."""


@dataclass(slots=True, frozen=True)
class Cancelled:
    """What a cancel came to: ids of jobs that it ended, and of those that had ended before."""

    cancelled: tuple[int, ...]
    already_ended: tuple[int, ...]


class Order(NamedTuple):
    """A batch to be queued, and the jobs that it comes after."""

    batch: Batch
    before: tuple[tuple[Batch, int], ...] = ()


@dataclass(slots=True, frozen=True)
class Filter:
    """Which jobs are listed.

    Args:
        states: in one of these; empty: in any.
        pool: of this pool; None: of any.
        tags: with all of these tags.
        since, until: submitted between these, UTC.
    """

    states: frozenset[JobState] = frozenset()
    pool: str | None = None
    tags: frozenset[str] = frozenset()
    since: float | None = None
    until: float | None = None

    def admits(self, batch: Batch) -> bool:
        """Whether jobs of this batch are meant, whatever their state."""
        return (
            (self.pool is None or batch.pool == self.pool)
            and self.tags <= set(batch.options.tags)
            and (self.since is None or batch.submitted >= self.since)
            and (self.until is None or batch.submitted <= self.until)
        )


class Pools:
    """See the module.

    Args:
        settings: by pool name; ``default`` must be among them.
        history_jobs: how many ended jobs are remembered whose values are not kept.
        history_bytes: how many bytes of values are kept.
        kept_jobs: how many ended jobs are remembered whose values are kept.
        tag_limits: how many jobs with a tag may run at a time.
        ledger: where durable jobs are written; None: nothing is durable.
        depot: where shared memory is kept; None: there is none.
    """

    def __init__(  # noqa: PLR0913 - all by name
        self,
        settings: dict[str, PoolSettings],
        *,
        clock: Clock,
        bus: Bus,
        forker: Forker,
        history_jobs: int,
        history_bytes: int,
        kept_jobs: int = 100_000,
        tag_limits: dict[str, int] | None = None,
        ledger: Ledger | None = None,
        depot: Depot | None = None,
    ) -> None:
        self._depot = depot
        self._clock, self._bus, self._forker = clock, bus, forker
        self._template = settings[DEFAULT]
        self._ledger = ledger or Ledger()
        self.tags = TagLimits(tag_limits or {})
        self.tags.on_room = self._room_for_tags
        self._waiting = WaitingRoom(clock, self._released, self._refused, self._ledger.met)
        self._oom = OomKills()
        self._table = JobTable(
            history_jobs=history_jobs,
            history_bytes=history_bytes,
            kept_jobs=kept_jobs,
            next_id=self._ledger.next_id,
            on_forget=self._ledger.forget,
        )
        self._accepting: dict[Batch, Promise[None]] = {}
        self._sweeper: Timer | None = None
        self._sweep_at = 0.0
        self._dispatching: Timer | None = None
        self._pools: dict[str, Pool] = {}
        for name, its in settings.items():
            self._pools[name] = self._make(name, its)

    def _make(self, name: str, settings: PoolSettings) -> Pool:
        return Pool(
            name,
            settings,
            self._table,
            clock=self._clock,
            bus=self._bus,
            forker=self._forker,
            tags=self.tags,
            ledger=self._ledger,
            waiting=self._waiting,
            oom=self._oom,
            depot=self._depot,
        )

    @property
    def can_keep(self) -> bool:
        """Whether jobs can be durable here."""
        return self._ledger.keeps

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

    def settings(self, workers: int | None = None) -> PoolSettings:
        """Those of the default pool, for another one of so many workers."""
        return replace(self._template, workers=self._template.workers if workers is None else workers)

    def adopt(self, name: str, settings: PoolSettings, *, resize: bool) -> None:
        """Have a pool go by other settings from now on; ``default``'s are those of pools to come too.

        Args:
            name: which.
            settings: all of them.
            resize: have their number of workers too, rather than keep the present one.

        Raises:
            NoSuchPool: it does not exist.
        """
        pool = self.get(name)
        if name == DEFAULT:
            self._template = settings
        pool.adopt(settings)
        if resize:
            pool.resize(settings.workers)

    def create(self, name: str, settings: PoolSettings) -> Pool:
        """A new pool.

        Raises:
            NameTaken: there is one already.
        """
        if name in self._pools:
            raise NameTaken(f"there is a pool {name!r} already", hint=f"`stoker set {name} --workers N` resizes it")
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
            self._cancel_held(pool.name)
            pool.close(grace, for_good=True).when_settled(lambda _, pool=pool: self._removed(pool))  # type: ignore[misc]
        closed: Promise[list[str]] = Promise()
        gather([pool.close(grace, for_good=True) for pool in pools]).when_settled(lambda _: closed.resolve(list(names)))
        return closed

    def _removed(self, pool: Pool) -> None:
        if self._pools.pop(pool.name, None) is not None:
            self._bus.emit(PoolChanged(name=pool.name, change="removed", size=0))

    def info(self) -> list[PoolInfo]:
        """A snapshot of each."""
        return [pool.info() for pool in self._pools.values()]

    @property
    def busy_workers(self) -> int:
        """Workers of all pools that have a job to run."""
        return sum(
            worker.state is WorkerState.BUSY for pool in self._pools.values() for worker in pool.crew.members.values()
        )

    def hurry(self, grace: float) -> None:
        """While closing: wait no longer than this."""
        for pool in self._pools.values():
            pool.hurry(grace)

    def close(self, grace: float) -> Promise[list[None]]:
        """Close all; settles when every worker is reaped."""
        self._waiting.close()
        for timer in (self._sweeper, self._dispatching):
            if timer is not None:
                timer.cancel()
        return gather([pool.close(grace, for_good=False) for pool in self._pools.values()])

    # --- jobs

    def submit(self, orders: Sequence[Order]) -> tuple[list[Batch], Promise[None] | None]:
        """Queue batches: all of them, or none.

        Returns:
            The batches in order, in place of one whose key is known the one that has it; and what settles when those
            that are durable are on disk, rejected where they can't be and nothing was queued. None: all is done.

        Raises:
            NoSuchPool, InvalidParams, QueueFull, PoolDraining, ShuttingDown, Unavailable: as of the first that is
                refused.
        """
        if len(orders) == 1 and orders[0].batch.options is PLAIN:  # most submits: nothing of what follows concerns it
            batch = orders[0].batch
            pool = self.get(batch.pool)
            pool.admit((batch,))
            batch.submitted = self._clock.time()
            self._add(batch)
            self._ledger.give_out(self._table.next_id, batch.count)
            pool.introduce(batch)
            pool.enqueue(batch, batch.count)
            return [batch], None
        new: list[Order] = []
        batches: list[Batch] = []
        for order in orders:
            known = self._known(order.batch, new)
            batches.append(known or order.batch)
            if known is None:
                new.append(order)
        fresh = [order.batch for order in new]
        self._admit(fresh)
        now = self._clock.time()
        for order in new:
            batch = order.batch
            batch.submitted = now
            self._add(batch)
            if batch.options.after:  # those of the same request have their ids only now
                ids = tuple(other.first_id + index for other, index in order.before)
                batch.options = replace(batch.options, after=ids)
            elif batch.options.delay:
                batch.due[0] = now + batch.options.delay
        self._ledger.give_out(self._table.next_id, sum(batch.count for batch in fresh))
        accepted = self._ledger.accept(fresh)
        if accepted is None:
            self._begin(new)
            waits = [self._accepting[batch] for batch in batches if batch in self._accepting]
            return batches, _all_of(waits) if waits else None
        self._accepting |= dict.fromkeys(fresh, accepted)
        accepted.when_settled(lambda done: self._accepted(new, done.error))
        waits = [self._accepting.get(batch, accepted) for batch in batches]
        return batches, _all_of([accepted, *waits])

    def _add(self, batch: Batch) -> None:
        self._table.add(batch)
        if batch.keep:
            batch.on_end.append(self._ended)

    def _known(self, batch: Batch, new: Sequence[Order]) -> Batch | None:
        """The batch with the same key.

        Raises:
            InvalidParams: it is another kind of thing.
        """
        key = batch.options.key
        if key is None:
            return None
        known = self._table.with_key(key)
        known = known or next((order.batch for order in new if order.batch.options.key == key), None)
        if known is not None and (known.count != batch.count or known.form != batch.form):
            raise InvalidParams(
                f"submit: the key {key!r:.100} belongs to job {known.first_id}, which is a {known.name} of"
                f" {known.count} jobs",
                hint="the same key means the same job: choose another for another job",
                data={"id": known.first_id},
            )
        return known

    def _admit(self, batches: Sequence[Batch]) -> None:
        if len(batches) == 1:  # most submits
            self.get(batches[0].pool).admit(batches)
            self._ledger.check(batches)
            return
        by_pool: dict[str, list[Batch]] = {}
        for batch in batches:
            by_pool.setdefault(batch.pool, []).append(batch)
        for name, its in by_pool.items():
            self.get(name).admit(its)
        self._ledger.check(batches)

    def _accepted(self, orders: Sequence[Order], error: StokerError | None) -> None:
        """The disk has them, or refuses them."""
        for order in orders:
            self._accepting.pop(order.batch, None)
        if error is None:
            self._begin(orders)
            return
        for order in orders:
            self._table.withdraw(order.batch)

    def _begin(self, orders: Sequence[Order]) -> None:
        for order in orders:
            batch = order.batch
            pool = self._pools.get(batch.pool)
            if pool is None:  # it was removed while the disk was written to
                self._homeless(batch)
                continue
            pool.introduce(batch)
            if batch.queued_count and self._waiting.enter(batch, order.before):
                continue
            if batch.queued_count:
                pool.enqueue(batch, batch.queued_count)

    def _homeless(self, batch: Batch) -> None:
        """Its pool has gone: it ends as those did that were queued there."""
        why = ShuttingDown("the pool was closed before the job was started")
        self._pools[DEFAULT].verdicts.end_unstarted(batch, JobEvent.FAIL, why)

    def _released(self, batch: Batch, count: int) -> None:
        pool = self._pools.get(batch.pool)
        if pool is not None:
            pool.enqueue(batch, count)
        else:
            self._homeless(batch)

    def _refused(self, batch: Batch, why: StokerError) -> None:
        self._pools.get(batch.pool, self._pools[DEFAULT]).verdicts.end_unstarted(batch, JobEvent.FAIL, why)

    def _room_for_tags(self) -> None:
        """A tag that held jobs up does so no longer, in whichever pool they are: in the next turn, once for all."""
        if self._dispatching is None:
            self._dispatching = self._clock.soon(self._dispatch)

    def _dispatch(self) -> None:
        self._dispatching = None
        for pool in self._pools.values():
            pool.dispatch()

    def _cancel_held(self, pool: str) -> None:
        """The pool goes, and with it what has not got as far as its queue."""
        for batch in list(self._table.newest()):
            if batch.pool == pool and not batch.over and batch.held():
                self._pools[pool].verdicts.cancel_all(batch, CANCEL_GRACE)

    # --- a start after another daemon's end

    def recover(self) -> int:
        """Take up what the last daemon left; returns how many jobs have not ended."""
        left = 0
        for batch in self._ledger.recover():
            if batch.pool not in self._pools and not batch.over:  # what has ended needs no workers
                self.create(batch.pool, self.settings())
            self._table.restore(batch)
            if batch.over:
                batch.finished = True
                now = self._clock.time()
                age = max(0.0, now - (max(batch.ended) or now))  # of a record that can't be read, nobody knows
                self._table.ended(batch, self._clock.monotonic() - age)
                self._sweep_in(0.0)
                continue
            left += batch.count - batch.ended_count
            batch.on_end.append(self._ended)
            self._take_up(batch)
        return left

    def _take_up(self, batch: Batch) -> None:
        untouched = not batch.history and not any(batch.started)
        if (
            untouched
            and batch.queued_count
            and (batch.options.after or batch.options.delay or batch.options.at is not None)
        ):
            self._take_up_held(batch)
            return
        self._pools[batch.pool].introduce(batch)
        for index in [index for index in batch.due if batch.state(index) is JobState.QUEUED]:
            self._waiting.resume(batch, index)
        queued = batch.queued_count  # without the lost ones: those that are queued again are counted one by one
        for index in list(lost(batch)):
            self._pools[batch.pool].verdicts.lost(batch, index, lost_error(batch, index))
        if queued:
            self._pools[batch.pool].enqueue(batch, queued)

    def _take_up_held(self, batch: Batch) -> None:
        before = []
        for job in batch.options.after:
            try:
                before.append(self._table.find(job))
            except StokerError:
                if not batch.options.after_any:
                    self._refused(batch, dependency_failed(job, None))
                    return
        self._begin([Order(batch, tuple(before))])

    def store_changed(self, reason: str) -> None:
        """Durable jobs can no longer be written, for this reason; or can again."""
        if reason:
            self._ledger.stop_waiting()
            for pool in self._pools.values():
                pool.verdicts.tell_unwritten()

    # --- what can be asked of jobs

    def cancel_session(self, session: str) -> None:
        """End every unfinished job of a session."""
        for batch in list(self._table.newest()):
            if batch.session == session and not batch.over:
                self._pools[batch.pool].verdicts.cancel_all(batch, CANCEL_GRACE)

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
            if batch.pool not in self._pools:
                raise IllegalMove(
                    f"the pool {batch.pool!r} of job {job} is not there any more",
                    hint=f"`stoker start pool {batch.pool}` makes it again",
                )
            if not batch.lengths:
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

    def with_key(self, key: str) -> Batch | None:
        """The batch with this idempotency key."""
        return self._table.with_key(key)

    def jobs(self, which: Filter, limit: int) -> list[JobInfo]:
        """Snapshots of jobs, oldest first, at most the newest ``limit``."""
        found = []
        for batch, index in self._matching(which):
            found.append(self.describe(batch, index))
            if len(found) >= limit:
                break
        return found[::-1]

    def _matching(self, which: Filter) -> Iterator[tuple[Batch, int]]:
        for batch in self._table.newest():
            if which.admits(batch):
                for index in reversed(range(batch.count)):
                    if not which.states or self._shown_state(batch, index) in which.states:
                        yield batch, index

    def _shown_state(self, batch: Batch, index: int) -> JobState:
        """The state that its snapshot has: of a job that was handed over and not begun, queued."""
        state = batch.state(index)
        if state is JobState.RUNNING and self._worker_of(batch, index) is None:
            return JobState.QUEUED
        return state

    def progress(self, job: int, done: float, total: float | None, note: str) -> None:
        """A command says how far it has come.

        Raises:
            NoSuchJob: it is not known.
            IllegalMove: it does not run.
        """
        batch, index = self._table.find(job)
        if batch.state(index) is not JobState.RUNNING:
            raise IllegalMove(f"job {job} is {batch.state(index)}: only a running job makes progress")
        batch.progress[index] = ProgressInfo(done=done, total=total, note=note)
        self._bus.emit(JobProgressed(id=job, done=done, total=total, note=note))

    def lend(self, pid: int, *, lent: bool) -> bool:
        """A process waits for jobs, or no longer; True where a job of some pool lends its slot meanwhile."""
        try:
            session = os.getsid(pid)
        except OSError:
            session = pid
        return any(pool.lend(pid, session, lent=lent) for pool in self._pools.values())

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        return self._table.counts()

    def describe(self, batch: Batch, index: int) -> JobInfo:
        """One job's snapshot."""
        worker = self._worker_of(batch, index)
        return describe(batch, index, worker, self._progress_of(batch, index) if worker is not None else None)

    def describe_batch(self, batch: Batch) -> JobInfo:
        """A snapshot of all of a batch as one."""
        return self.describe(batch, 0) if batch.count == 1 else describe_batch(batch)

    def _progress_of(self, batch: Batch, index: int) -> tuple[float, float | None] | None:
        """How far a running job has come, as it stands in its worker's page."""
        for worker in self._pools[batch.pool].crew.members.values():
            seq = worker.running_seq(batch, index)
            if seq is not None:
                return worker.progress_of(seq)
        return None

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

    def _ended(self, batch: Batch) -> None:
        self._sweep_in(batch.keep)

    def _sweep_in(self, seconds: float) -> None:
        """Have a look then, or earlier."""
        seconds = max(1.0, seconds)
        at = self._clock.monotonic() + seconds
        if self._sweeper is not None:
            if self._sweep_at <= at:
                return
            self._sweeper.cancel()
        self._sweep_at, self._sweeper = at, self._clock.later(seconds, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self._clock.monotonic()
        soonest = self._table.expire(now)
        if soonest is not None:
            self._sweep_in(soonest - now)


def _all_of(promises: Sequence[Promise[None]]) -> Promise[None]:
    """Settles when all have; rejected with the first error in order."""
    whole: Promise[None] = Promise()

    def settle(done: Promise[list[None]]) -> None:
        if done.error is not None:
            whole.reject(done.error)
        else:
            whole.resolve(None)

    gather(list(dict.fromkeys(promises))).when_settled(settle)
    return whole
