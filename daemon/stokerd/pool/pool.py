"""One pool: a queue, a crew of workers, and what can be asked of both.

It puts the rooms together that decide, and passes on what workers report.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence

from stoker.errors import (
    DeadlineExceeded,
    EnvironmentBroken,
    InitializerFailed,
    InvalidParams,
    PoolDraining,
    QueueFull,
    ShuttingDown,
    StartFailed,
    TooManyJobs,
    Unavailable,
)
from stoker.protocol.events import JobProgressed, JobsQueued, PoolChanged
from stoker.protocol.models import Environment, PoolInfo, ProgressInfo
from stoker.protocol.states import JobEvent, WorkerState
from stokerd.bus import Bus
from stokerd.child import Exit, Forker
from stokerd.clock import Clock
from stokerd.depot import Depot, Lot
from stokerd.pool import endings
from stokerd.pool.batch import Batch
from stokerd.pool.crew import Crew
from stokerd.pool.dispatcher import Dispatcher
from stokerd.pool.jobs import JobTable
from stokerd.pool.ledger import Ledger
from stokerd.pool.lookout import Lookout
from stokerd.pool.oom import OomKills
from stokerd.pool.results import read_error
from stokerd.pool.scheduler import Scheduler
from stokerd.pool.settings import PoolSettings
from stokerd.pool.staff import Staff
from stokerd.pool.tags import TagLimits
from stokerd.pool.verdicts import Verdicts
from stokerd.pool.waiting import WaitingRoom
from stokerd.pool.worker import Ran, Span, Worker
from stokerd.promise import Promise

_OF_A_WORKER = ("nice", "output_bytes", "result_bytes", "beginning")
"""Settings that a worker is started with."""


class Pool:
    """See the module; the owner of its workers."""

    def __init__(  # noqa: PLR0913 - what pools have in common, by name
        self,
        name: str,
        settings: PoolSettings,
        jobs: JobTable,
        *,
        clock: Clock,
        bus: Bus,
        forker: Forker,
        tags: TagLimits,
        ledger: Ledger,
        waiting: WaitingRoom,
        oom: OomKills,
        depot: Depot | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.paused = self.draining = False
        self.closing: Promise[None] | None = None
        self._reason = ""
        self._for_good = True
        self._jobs, self._clock, self._bus, self._oom = jobs, clock, bus, oom
        self._ledger, self._waiting = ledger, waiting
        self._drained: list[Promise[None]] = []
        self._seekers: deque[tuple[Promise[None], tuple[str, int, int]]] = deque()
        """Who waits for room in the queue, and for how much: session, jobs, bytes."""
        self.queue = Scheduler(lambda batch_tags: not tags.room(batch_tags))
        self.crew = Crew(name, settings, clock=clock, bus=bus, forker=forker, claim_path=ledger.claim_path, depot=depot)
        self.crew.employer = self
        self._staff = Staff(self.crew, self.queue, clock, settings.environment or forker.default, self.dispatch)
        self._lookout = Lookout(self.crew, clock, settings.memory_bytes, lambda: 0 if depot is None else depot.nbytes)
        self._dispatcher = Dispatcher(
            name,
            settings,
            queue=self.queue,
            crew=self.crew,
            staff=self._staff,
            tags=tags,
            ledger=ledger,
            limits=endings.TimeLimits(clock),
            clock=clock,
            bus=bus,
        )
        self.verdicts = Verdicts(
            name,
            settings,
            jobs=jobs,
            queue=self.queue,
            crew=self.crew,
            tags=tags,
            ledger=ledger,
            waiting=waiting,
            clock=clock,
            bus=bus,
        )
        self._staff.fill()
        bus.emit(PoolChanged(name=name, change="created", size=settings.workers))

    @property
    def held(self) -> int:
        """How many of its jobs are delayed or wait for others."""
        return self._waiting.held(self.name)

    # --- jobs

    def admit(self, batches: Sequence[Batch]) -> None:
        """See whether these can be taken, together.

        Raises:
            InvalidParams: one could never be run here.
            QueueFull: it would go over the pool's bounds, or the session's.
            PoolDraining, ShuttingDown: it takes no more.
            Unavailable: no worker can be started at the moment.
        """
        if self.closing is not None:
            raise ShuttingDown(f"pool {self.name} is closing and takes no more jobs")
        if self.draining:
            raise PoolDraining(
                f"pool {self.name} is being drained and takes no new jobs",
                hint=f"`stoker set {self.name} --resume` opens it again",
            )
        if self._reason and not self.crew.active():
            raise Unavailable(
                f"pool {self.name} has no worker, and none can be started: {self._reason}",
                hint="what was accepted waits; submit again when the system has room",
            )
        self._check_slots(batches)
        self._check_room(batches)

    def _check_slots(self, batches: Sequence[Batch]) -> None:
        most = 1
        for batch in batches:
            most = max(most, batch.options.slots)
        if most > 1 and most > self.crew.size:
            raise InvalidParams(
                f"submit: a job wants {most} slots, and pool {self.name} has {self.crew.size}",
                hint=f"ask for fewer, or `stoker set {self.name} --workers {most}`",
            )

    def _check_room(self, batches: Sequence[Batch]) -> None:
        if len(batches) == 1:
            [batch] = batches
            self._check_queue(batch.count, batch.nbytes)
            self._check_session(batch.session, batch.count)
            return
        count = sum(batch.count for batch in batches)
        nbytes = sum(batch.nbytes for batch in batches)
        self._check_queue(count, nbytes)
        for session in {batch.session for batch in batches}:
            self._check_session(session, sum(batch.count for batch in batches if batch.session == session))

    def room_for(self, session: str, jobs: int, nbytes: int) -> Promise[None]:
        """Settles when so many more jobs of a session can be queued; at once where that can't be foreseen to end.

        Jobs that are more than the pool may ever hold are let pass here, so that their submit is refused with why.
        """
        want = (session, min(jobs, self.settings.queue_jobs), min(nbytes, self.settings.queue_bytes))
        promise: Promise[None] = Promise(on_abandon=lambda: self._seekers.remove(entry))
        entry = (promise, want)
        self._seekers.append(entry)
        self._look_for_room()
        return promise

    def _look_for_room(self) -> None:
        """Let those pass for whom there is room, in the order in which they came."""
        while self._seekers:
            promise, (session, jobs, nbytes) = self._seekers[0]
            try:
                if self.closing is None:
                    self._check_queue(jobs, nbytes)
                    self._check_session(session, jobs)
            except QueueFull:
                return
            self._seekers.popleft()
            promise.resolve(None)

    def _check_queue(self, count: int, nbytes: int) -> None:
        limits, waiting = self.settings, self.queue.jobs + self.held
        if waiting + count > limits.queue_jobs:
            raise QueueFull(
                f"{waiting} jobs wait in pool {self.name}, {count} more would go over its limit of {limits.queue_jobs}",
                hint="submit again when some have ended, or raise limits.queue_jobs",
                data={"queued": waiting, "limit": limits.queue_jobs},
            )
        if self.queue.nbytes + nbytes > limits.queue_bytes:
            raise QueueFull(
                f"the jobs that wait in pool {self.name} hold {self.queue.nbytes} bytes, {nbytes} more would"
                f" go over its limit of {limits.queue_bytes}",
                hint="submit again when some have ended, or raise limits.queue_bytes",
                data={"bytes": self.queue.nbytes, "limit": limits.queue_bytes},
            )

    def _check_session(self, session: str, count: int) -> None:
        most, unfinished = self.settings.session_jobs, self._jobs.unfinished(session)
        if unfinished + count > most:
            raise TooManyJobs(
                f"this session has {unfinished} unfinished jobs, {count} more would go over the limit of"
                f" {most} for one session",
                hint="submit again when some have ended, or raise limits.session_jobs",
                data={"unfinished": unfinished, "limit": most},
            )

    def introduce(self, batch: Batch) -> None:
        """A batch that was let pass has its ids: learn about it, and say so."""
        batch.estimate = self._dispatcher.estimate(batch)
        self._bus.emit(JobsQueued(id=batch.first_id, count=batch.count, name=batch.name, pool=self.name))

    def enqueue(self, batch: Batch, count: int) -> None:
        """So many jobs of the batch may run: new ones, or such that have waited."""
        if self.closing is not None:
            self._fail_unstarted([batch])
            return
        if self._dispatcher.at_once(batch):
            if self._lookout.rests:
                self._lookout.begin()
            return
        self.queue.release(batch, count)
        self.dispatch()

    def dispatch(self) -> None:
        """Hand over what can be."""
        self._dispatcher.dispatch()
        if self._lookout.rests and any(worker.outstanding for worker in self.crew.members.values()):
            self._lookout.begin()

    def cancel(self, batch: Batch, index: int, grace: float) -> Promise[None]:
        """End one job; settles when it has ended."""
        ended = self.verdicts.cancel(batch, index, grace)
        self._look_for_room()
        return ended

    def retry(self, batch: Batch, index: int) -> None:
        """Queue a job again that ended without a value. Its payload must still be there."""
        self.verdicts.retry(batch, index)
        self.dispatch()

    # --- the pool itself

    def resize(self, size: int) -> None:
        """Have this many workers; surplus ones end when their job does."""
        self.crew.size = size
        self._staff.shrink()
        self._staff.fill()
        self._bus.emit(PoolChanged(name=self.name, change="resized", size=size))
        self.dispatch()

    def adopt(self, settings: PoolSettings) -> None:
        """Go by these settings from now on, but for the number of workers. Where that takes other workers, each makes
        way for a fresh one when it has ended what it has.
        """
        anew = any(getattr(self.settings, key) != getattr(settings, key) for key in _OF_A_WORKER)
        self.settings = self.crew.settings = settings
        self._dispatcher.adopt(settings)
        self.verdicts.adopt(settings)
        self._lookout.adopt(settings.memory_bytes)
        if anew:
            for worker in self.crew.active():
                self.crew.retire(worker)
            self._staff.adjust()

    def staffed(self) -> Promise[list[int]]:
        """Settles with the workers' process ids once as many are up as there should be.

        Rejected with StartFailed when none can be started, and with ShuttingDown when the pool closes first.
        """
        return self._staff.complete()

    def pause(self, *, paused: bool) -> None:
        """Hold back what is queued, or go on; going on also ends a drain."""
        if not paused and self.draining:
            self.draining = False
            self._bus.emit(PoolChanged(name=self.name, change="opened", size=self.crew.size))
            self._give_up_draining(DeadlineExceeded(f"pool {self.name} was opened again before it was drained"))
        if paused != self.paused and self.closing is None:
            self.paused = self._dispatcher.held = paused
            self._bus.emit(PoolChanged(name=self.name, change="paused" if paused else "resumed", size=self.crew.size))
            self.dispatch()

    def drain(self) -> Promise[None]:
        """Take no new jobs; settles when there is none left."""
        if not self.draining:
            self.draining = True
            self._bus.emit(PoolChanged(name=self.name, change="draining", size=self.crew.size))
        promise: Promise[None] = Promise()
        self._drained.append(promise)
        self._look_whether_drained()
        return promise

    def _look_whether_drained(self) -> None:
        if self._drained and not self.unfinished():
            promises, self._drained = self._drained, []
            for promise in promises:
                promise.resolve(None)

    def _give_up_draining(self, why: ShuttingDown | DeadlineExceeded) -> None:
        promises, self._drained = self._drained, []
        for promise in promises:
            promise.reject(why)

    def unfinished(self) -> int:
        """How many of its jobs have not ended."""
        running = sum(worker.outstanding for worker in self.crew.members.values())
        return self.queue.jobs + self.held + running

    def info(self) -> PoolInfo:
        """Its snapshot."""
        workers = sorted(self.crew.members.values(), key=lambda worker: worker.id)
        return PoolInfo(
            name=self.name,
            engine="local",
            size=self.crew.size,
            queued=self.queue.jobs,
            running=sum(worker.outstanding for worker in workers),
            paused=self.paused,
            draining=self.draining,
            held=self.held,
            reason=self._reason,
            workers=tuple(worker.info(_job_of(worker)) for worker in workers),
        )

    def close(self, grace: float, *, for_good: bool) -> Promise[None]:
        """Take no more jobs, let running ones end within ``grace`` seconds, end all workers; settles when reaped.

        Args:
            grace: seconds.
            for_good: the pool is not to come back. Else durable jobs that have not been started stay queued on disk,
                for the daemon's next start, and those that are ended now are queued there again if that was asked for.
        """
        if self.closing is None:
            self.closing = Promise()
            self._for_good = for_good
            self._dispatcher.close()
            self._lookout.close()
            self._staff.close()
            self._give_up_draining(ShuttingDown(f"pool {self.name} is closing"))
            self._fail_unstarted(self.queue.batches())
            self._look_for_room()
            for worker in self.crew.active():
                self.crew.retire(worker)
            self.hurry(grace)
            self._closed_if_empty()
        return self.closing

    def hurry(self, grace: float) -> None:
        """While closing: kill in ``grace`` seconds what has not ended by then."""
        self._clock.later(grace, self._kill_all)

    def _kill_all(self) -> None:
        for worker in self.crew.members.values():
            running = worker.current()
            if running is not None:
                worker.ending.setdefault(running[0], endings.CLOSED if self._for_good else endings.SUSPENDED)
            worker.kill()

    def _fail_unstarted(self, batches: list[Batch]) -> None:
        why = ShuttingDown("the pool was closed before the job was started")
        ending = [batch for batch in batches if self._for_good or not batch.options.durable]
        self.verdicts.end_queued(ending, JobEvent.FAIL, why)

    def _closed_if_empty(self) -> None:
        if self.closing is not None and not self.crew.members:
            self.closing.resolve(None)

    # --- a job that waits for jobs

    def lend(self, pid: int, session_of: int, *, lent: bool) -> bool:
        """A process says that it waits for jobs, or no longer; True where it is, or is in, one of the workers.

        Args:
            pid: the process.
            session_of: its session (``setsid``), which is its worker's where a job has started it.
            lent: whether it waits.
        """
        for worker in self.crew.members.values():
            if worker.pid is not None and worker.pid in (pid, session_of):
                worker.lent = max(0, worker.lent + (1 if lent else -1))
                if lent:
                    worker.take_back()  # what waits behind it would wait for it
                self._staff.shrink()
                self._staff.adjust()
                self.dispatch()
                return True
        return False

    # --- what the crew reports

    def environment_broken(self, environment: Environment, reason: str) -> None:
        """See :class:`~stokerd.pool.crew.Employer`."""
        key = environment.key
        if any(worker.state is not WorkerState.STARTING for worker in self.crew.of(key)):
            return  # there are others, who will do what waits
        if key == self._staff.default.key:
            self._staff.give_up(StartFailed(f"no worker of pool {self.name} can be started: {reason}"))
        self._end_queued_of(
            key,
            EnvironmentBroken(
                f"no worker can be started with {environment.executable}: {reason}",
                hint="check that this interpreter runs, from the directory and with the path that the client gave",
                data={"executable": environment.executable, "cwd": environment.cwd},
            ),
        )

    def beginning_failed(self, environment: Environment, packed: bytes) -> None:
        """See :class:`~stokerd.pool.crew.Employer`."""
        told = read_error(packed)
        what = f"{told.type}: {told.message}" if told.type else told.message
        message = f"the initializer of pool {self.name} failed: {what}"
        self._reason = message
        self._staff.give_up(StartFailed(message, data={"traceback": told.traceback}))
        self._end_queued_of(environment.key, InitializerFailed(message, data={"traceback": told.traceback}))

    def _end_queued_of(self, key: str, error: EnvironmentBroken | InitializerFailed) -> None:
        its = [batch for batch in self.queue.batches() if batch.environment_key == key]
        self.verdicts.end_queued(its, JobEvent.FAIL, error)
        self._look_whether_drained()

    def short_of_means(self, reason: str) -> None:
        """See :class:`~stokerd.pool.crew.Employer`."""
        self._reason = reason
        if not self.crew.active():
            self._staff.give_up(Unavailable(f"no worker of pool {self.name} can be started: {reason}"))

    def crew_changed(self) -> None:
        """See :class:`~stokerd.pool.crew.Employer`."""
        if self.closing is not None:
            self._closed_if_empty()
            return
        self._staff.adjust()
        self.dispatch()

    # --- what workers report

    def worker_ready(self, worker: Worker) -> None:
        """See :class:`~stokerd.pool.worker.Owner`."""
        self._reason = ""
        self.crew.ready(worker)
        self._staff.look()
        self.dispatch()

    def worker_has_room(self, worker: Worker) -> None:
        """See :class:`~stokerd.pool.worker.Owner`."""
        if worker.places and not worker.outstanding:
            self._dispatcher.give_places_back(worker)
        if self._drained:
            self._look_whether_drained()
        self.dispatch()
        if self._seekers:
            self._look_for_room()

    def worker_stale(self, worker: Worker) -> None:
        """See :class:`~stokerd.pool.worker.Owner`."""
        if worker.state is not WorkerState.STOPPING:
            self.crew.retire(worker)
            self._staff.adjust()

    def worker_refused(self, worker: Worker, packed: bytes) -> None:
        """See :class:`~stokerd.pool.worker.Owner`."""
        self.crew.refused(worker, packed)

    def worker_progressed(self, batch: Batch, index: int, done: float, total: float | None, note: str) -> None:
        """See :class:`~stokerd.pool.worker.Owner`."""
        batch.progress[index] = ProgressInfo(done=done, total=total, note=note)
        self._bus.emit(JobProgressed(id=batch.first_id + index, done=done, total=total, note=note))

    def jobs_ended(
        self, worker: Worker, span: Span, lengths: array[int], blob: bytes, ran: Ran, lot: Lot | None
    ) -> None:
        """See :class:`~stokerd.pool.worker.Owner`."""
        self.verdicts.ended(worker, span, lengths, blob, ran, lot)

    def jobs_returned(self, worker: Worker, span: Span) -> None:
        """See :class:`~stokerd.pool.worker.Owner`."""
        self.verdicts.returned(worker, span)
        if self.closing is not None:
            self._fail_unstarted([span.batch])

    def worker_gone(self, worker: Worker, how: Exit, victim: Span | None) -> None:
        """See :class:`~stokerd.pool.worker.Owner`."""
        self._dispatcher.give_places_back(worker)
        job = None
        oom = self._why_killed(worker, how)
        if victim is not None:
            job = victim.batch.first_id + victim.index
            self.verdicts.died(worker, how, victim, oom)
        self._ledger.worker_gone(worker.id)
        self.crew.ended(worker, how, job)
        self._look_whether_drained()
        self._look_for_room()

    def _why_killed(self, worker: Worker, how: Exit) -> dict[str, int | bool]:
        """Empty, unless it was for its memory."""
        used = self._lookout.too_large.pop(worker.id, None)
        if used is not None:
            return {"memory_bytes": used, "limit": self.settings.memory_bytes}
        return {"kernel": True} if how.code == -9 and self._oom.struck() else {}


def _job_of(worker: Worker) -> int | None:
    running = worker.current() if worker.spans else None
    if running is None:
        return None
    for span in worker.spans:
        if span.seq <= running[0] < span.seq + span.count:
            return span.batch.first_id + span.index + running[0] - span.seq
    return None
