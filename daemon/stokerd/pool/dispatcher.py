"""Who gets what next, and how much of it: queued jobs to workers with room."""

from __future__ import annotations

from array import array

from stoker.protocol.events import JobsStarted
from stoker.protocol.states import JobEvent, WorkerState
from stokerd.bus import Bus
from stokerd.clock import Clock, Timer
from stokerd.pool import messages
from stokerd.pool.batch import Batch, Estimate
from stokerd.pool.crew import Crew
from stokerd.pool.endings import TimeLimits
from stokerd.pool.ledger import Ledger
from stokerd.pool.scheduler import Scheduler
from stokerd.pool.settings import PoolSettings
from stokerd.pool.staff import Staff
from stokerd.pool.tags import TagLimits
from stokerd.pool.worker import Worker

MAX_SPAN = 4096
"""Jobs handed over at once, at most."""
SPAN_BYTES = 4 * 1024 * 1024
"""Payload handed over at once, about, where a batch has many jobs."""
UNKNOWN_COST = 0.001
"""Seconds charged for a job of a function that has never run."""
STUCK = 0.005
"""Seconds that a job runs before the jobs behind it are taken back for an idle worker."""
MAX_ESTIMATES = 4096


class Dispatcher:
    """See the module.

    Args:
        pool: the pool's name.
        settings: the pool's.
        queue: what waits.
        crew: who is there.
        staff: who may be brought in.
        tags: how many may run at a time.
        ledger: what is durable is written there before it is handed over.
        limits: of the jobs' run time.
    """

    def __init__(  # noqa: PLR0913 - what it decides by, by name
        self,
        pool: str,
        settings: PoolSettings,
        *,
        queue: Scheduler,
        crew: Crew,
        staff: Staff,
        tags: TagLimits,
        ledger: Ledger,
        limits: TimeLimits,
        clock: Clock,
        bus: Bus,
    ) -> None:
        self._pool, self._settings = pool, settings
        self._queue, self._crew, self._staff = queue, crew, staff
        self._tags, self._ledger, self._limits = tags, ledger, limits
        self._clock, self._bus = clock, bus
        self._estimates: dict[bytes, Estimate] = {}
        self._shares: dict[str, int] = {}
        self._sharer: Timer | None = None
        self.held = False
        """Nothing is handed over: the pool is paused, or closes."""

    def adopt(self, settings: PoolSettings) -> None:
        """Go by these settings from now on."""
        self._settings = settings

    def estimate(self, batch: Batch) -> Estimate:
        """What is known of the run time of jobs like these. Of commands, nothing is: each is another program."""
        if batch.form == messages.COMMAND:
            return Estimate()
        if len(self._estimates) >= MAX_ESTIMATES:
            self._estimates.clear()
        return self._estimates.setdefault(batch.template, Estimate())

    def at_once(self, batch: Batch) -> bool:
        """Hand a new job over without a queue, where there is none and a worker that suits it is idle; True if so.

        It comes to the same: in an empty queue it would be the first, and a flow that has become empty is forgotten.
        """
        if self.held or self._queue.jobs or batch.count > 1 or batch.tags or batch.options.slots > 1:
            return False
        key, most = batch.environment_key, self._settings.max_jobs
        for worker in self._crew.members.values():
            if worker.is_free and worker.environment_key == key and not (most and worker.handed >= most):
                batch.move(0, 1, JobEvent.DISPATCH)
                self._start(worker, batch, 0, 1, batch.estimate.seconds or UNKNOWN_COST)
                return True
        return False

    def dispatch(self) -> None:
        """Hand over what can be."""
        if self.held:
            return
        if not self._queue.jobs:
            self._unstick()
            return
        self._shares.clear()
        progress = True
        while progress and self._queue.jobs:
            progress = False
            for worker in self._with_room():
                batch = self._queue.choose(worker.environment_key)
                if batch is None:
                    continue
                if batch.options.slots > 1:
                    if not self._place(worker, batch):
                        return  # whoever is free waits until there are enough of them, or large jobs never ran
                    progress = True
                    break
                if most := self._room(worker, batch):
                    self._hand_over(worker, batch, most)
                    progress = True
        if self._queue.jobs:
            self._staff.bring_in()
        else:
            self._unstick()

    def _unstick(self) -> None:
        """Nothing is queued: somebody may be idle while others have several."""
        for worker in self._crew.members.values():
            if worker.outstanding > 1:
                self._share_out()
                return

    def _with_room(self) -> list[Worker]:
        prefetch = self._settings.prefetch
        most = self._settings.max_jobs
        ready = [
            worker
            for worker in self._crew.members.values()
            if worker.has_room(prefetch, STUCK) and not (most and worker.handed >= most)
        ]
        if len(ready) > 1:
            ready.sort(key=lambda worker: worker.ahead)
        return ready

    def _room(self, worker: Worker, batch: Batch) -> int:
        """How many jobs of the batch to hand to the worker now: about ``prefetch`` seconds of work ahead of it.

        Adaptive prefetch by measured run time: one job at a time while nothing is known or jobs are slow.
        """
        alone = 0 if worker.outstanding else 1
        cost = batch.estimate.seconds
        if cost is None:
            return alone
        room = int((self._settings.prefetch - worker.ahead) / max(cost, 1e-6))
        if room < 1 or (batch.tags and self._tags.is_limited(batch.tags)):
            return alone
        share = self._share(worker.environment_key)
        room = min(room, share, MAX_SPAN)
        if batch.count > 1 and batch.nbytes > SPAN_BYTES:
            room = min(room, SPAN_BYTES * batch.count // batch.nbytes)
        room = max(room, alone)
        most = self._settings.max_jobs
        return min(room, most - worker.handed) if most else room

    def _share(self, environment: str) -> int:
        """What one worker gets at once of what is queued for an environment: as of the beginning of the dispatch.

        Of what is left after each handing over, the shares would become smaller and smaller, down to one job, and each
        of them costs a message to the worker, one back and one to the client.
        """
        share = self._shares.get(environment)
        if share is None:
            share = self._shares[environment] = -(-self._queue.queued(environment) // max(1, len(self._crew.members)))
        return share

    def _hand_over(self, worker: Worker, batch: Batch, most: int) -> None:
        first, count = batch.take(most)
        batch.move(first, count, JobEvent.DISPATCH)
        cost = batch.estimate.seconds or UNKNOWN_COST
        self._queue.taken(batch, count, cost * count)
        self._start(worker, batch, first, count, cost)

    def _start(self, worker: Worker, batch: Batch, first: int, count: int, cost: float) -> None:
        """Give the worker these jobs, which are no longer queued; ``cost`` is that of one, seconds."""
        now = self._clock.time()
        if count == 1:
            batch.started[first] = now
        else:
            batch.started[first : first + count] = array("d", [now]) * count
        if batch.tags:
            self._tags.take(batch.tags, count)
        after = None
        if batch.options.durable:
            after = self._ledger.started(batch, first, count, worker.id, worker.next_seq)
        if batch.trace is not None:
            batch.trace.marks.append(self._clock.monotonic())
        worker.hand_over(batch, first, count, cost, after)
        if self._settings.max_jobs and worker.handed >= self._settings.max_jobs:
            worker.stop()
        if worker.outstanding > 1:
            self.watch_spans()
        if batch.timeout is not None:
            self._limits.watch(worker, batch.timeout)
        self._bus.emit(JobsStarted(id=batch.first_id + first, count=count, pool=self._pool, pid=worker.pid))

    # --- jobs that take several places

    def _place(self, worker: Worker, batch: Batch) -> bool:
        """Hand a job with several slots to a worker, if as many others as it needs are idle, and keep those idle."""
        if worker.outstanding:
            return False
        need = min(batch.options.slots, max(1, self._crew.size)) - 1
        others = [
            other
            for other in self._crew.active()
            if other is not worker and other.state is WorkerState.IDLE and other.place_of is None and not other.places
        ]
        if len(others) < need:
            return False
        for other in others[:need]:
            other.place_of = worker
            worker.places.append(other)
        self._hand_over(worker, batch, 1)
        return True

    @staticmethod
    def give_places_back(worker: Worker) -> None:
        """Its job is over, or it is."""
        for other in worker.places:
            other.place_of = None
        worker.places.clear()
        if worker.place_of is not None:
            worker.place_of.places.remove(worker)
            worker.place_of = None

    # --- spans

    def _share_out(self) -> None:
        """The queue is empty and somebody idle: take back what is stuck behind a slow job."""
        if not any(worker.state is WorkerState.IDLE for worker in self._crew.members.values()):
            return
        for worker in self._crew.members.values():
            if worker.outstanding > 1 and (running := worker.current()) is not None and running[1] >= STUCK:
                worker.take_back()

    def watch_spans(self) -> None:
        """While anybody has several jobs: see that neither those before nor those behind a slow one wait for it."""
        if self._sharer is not None:
            return
        for worker in self._crew.members.values():
            if worker.outstanding > 1:
                self._sharer = self._clock.later(STUCK, self._look_at_spans)
                return

    def _look_at_spans(self) -> None:
        self._sharer = None
        for worker in list(self._crew.members.values()):
            if worker.outstanding > 1:
                worker.collect(STUCK)
        self.dispatch()
        self.watch_spans()

    def close(self) -> None:
        """Nothing more is handed over."""
        self.held = True
        if self._sharer is not None:
            self._sharer.cancel()
