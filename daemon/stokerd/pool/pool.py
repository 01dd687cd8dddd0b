"""One pool: a queue, a crew of workers, and who gets what next."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from stoker.errors import EnvironmentBroken, QueueFull, ShuttingDown, StartFailed, StokerError, WorkerDied
from stoker.protocol.events import JobsEnded, JobsQueued, JobsStarted, PoolChanged
from stoker.protocol.models import Environment, PoolInfo
from stoker.protocol.states import JobEvent, JobState, WorkerState
from stokerd.bus import Bus
from stokerd.child import Exit, Forker
from stokerd.clock import Clock, Timer
from stokerd.pool import endings, messages
from stokerd.pool.batch import RUNNING, Batch, Estimate, Piece
from stokerd.pool.crew import Crew
from stokerd.pool.jobs import JobTable
from stokerd.pool.results import keep_error, runs
from stokerd.pool.scheduler import Scheduler
from stokerd.pool.settings import PoolSettings
from stokerd.pool.worker import Span, Worker
from stokerd.promise import Promise

MAX_SPAN = 4096
"""Jobs handed over at once, at most."""
SPAN_BYTES = 4 * 1024 * 1024
"""Payload handed over at once, about, where a batch has many jobs."""
UNKNOWN_COST = 0.001
"""Seconds charged for a job of a function that has never run."""
STUCK = 0.005
"""Seconds that a job runs before the jobs behind it are taken back for an idle worker."""
TENURE = 0.25
"""Seconds that a worker may work before it has to make room for an environment that has none."""
TRIM_FIRST, TRIM_EVERY = 0.01, 0.25
"""Seconds between looks at the output of jobs that are running: at least, while they write much, and at most."""
KEPT_WORKERS = 1000
"""Batches with more jobs do not remember which worker ran each."""
MAX_ESTIMATES = 4096


class Pool:
    """See the module; the owner of its workers."""

    def __init__(
        self, name: str, settings: PoolSettings, jobs: JobTable, *, clock: Clock, bus: Bus, forker: Forker
    ) -> None:
        self.name = name
        self.settings = settings
        self.paused = False
        self.closing: Promise[None] | None = None
        self.queue = Scheduler()
        self._jobs, self._clock, self._bus = jobs, clock, bus
        self._default = forker.default
        self._limits = endings.TimeLimits(clock)
        self._estimates: dict[bytes, Estimate] = {}
        self._awaiting_staff: list[Promise[list[int]]] = []
        self._trimmer: Timer | None = None
        self._trim_in = TRIM_FIRST
        self._sharer: Timer | None = None
        self._turn: Timer | None = None
        self.crew = Crew(
            name,
            settings.workers,
            clock=clock,
            bus=bus,
            forker=forker,
            nice=settings.nice,
            output_bytes=settings.output_bytes,
            result_bytes=settings.result_bytes,
        )
        self.crew.employer = self
        self._staff()
        bus.emit(PoolChanged(name=name, change="created", size=settings.workers))

    # --- what can be asked of it

    def submit(self, batches: Sequence[Batch]) -> None:
        """Queue batches, all of which :meth:`admit` has let pass."""
        for batch in batches:
            batch.submitted = self._clock.time()
            batch.estimate = self._estimate(batch.template)
            self._jobs.add(batch)
            self.queue.push(batch)
            self._bus.emit(JobsQueued(id=batch.first_id, count=batch.count, name=batch.name, pool=self.name))
        self._dispatch()

    def admit(self, batches: Sequence[Batch]) -> None:
        """See whether these can be queued, together.

        Raises:
            QueueFull: it would go over the pool's bounds.
            ShuttingDown: the pool is closing.
        """
        if self.closing is not None:
            raise ShuttingDown(f"pool {self.name} is closing and takes no more jobs")
        count = sum(batch.count for batch in batches)
        nbytes = sum(batch.nbytes for batch in batches)
        limits = self.settings
        if self.queue.jobs + count > limits.queue_jobs:
            raise QueueFull(
                f"{self.queue.jobs} jobs wait in pool {self.name}, {count} more would go over its limit of"
                f" {limits.queue_jobs}",
                hint="submit again when some have ended, or raise limits.queue_jobs",
                data={"queued": self.queue.jobs, "limit": limits.queue_jobs},
            )
        if self.queue.nbytes + nbytes > limits.queue_bytes:
            raise QueueFull(
                f"the jobs that wait in pool {self.name} hold {self.queue.nbytes} bytes, {nbytes} more would"
                f" go over its limit of {limits.queue_bytes}",
                hint="submit again when some have ended, or raise limits.queue_bytes",
                data={"bytes": self.queue.nbytes, "limit": limits.queue_bytes},
            )

    def resize(self, size: int) -> None:
        """Have this many workers; surplus ones end when their job does."""
        self.crew.size = size
        surplus = -self.crew.vacancies
        if surplus > 0:
            for worker in sorted(self.crew.active(), key=lambda worker: worker.outstanding)[:surplus]:
                self.crew.retire(worker)
        self._staff()
        self._bus.emit(PoolChanged(name=self.name, change="resized", size=size))
        self._dispatch()

    def staffed(self) -> Promise[list[int]]:
        """Settles with the workers' process ids once as many are up as there should be.

        Rejected with StartFailed when none can be started, and with ShuttingDown when the pool closes first.
        """
        promise: Promise[list[int]] = Promise()
        self._awaiting_staff.append(promise)
        self._look_at_staff()
        return promise

    def _look_at_staff(self) -> None:
        active = self.crew.active()
        if len(active) < self.crew.size or any(worker.state is WorkerState.STARTING for worker in active):
            return
        waiting, self._awaiting_staff = self._awaiting_staff, []
        for promise in waiting:
            promise.resolve([worker.pid for worker in active if worker.pid is not None])

    def _give_up_on_staff(self, error: StokerError) -> None:
        waiting, self._awaiting_staff = self._awaiting_staff, []
        for promise in waiting:
            promise.reject(error)

    def pause(self, *, paused: bool) -> None:
        """Hold back what is queued, or go on."""
        if paused != self.paused:
            self.paused = paused
            self._bus.emit(PoolChanged(name=self.name, change="paused" if paused else "resumed", size=self.crew.size))
            self._dispatch()

    def cancel(self, batch: Batch, index: int, grace: float) -> Promise[None]:
        """End one job; settles when it has ended."""
        ended = _when_ended(batch, index)
        if batch.state(index) is JobState.QUEUED:
            self._cancel_queued(batch, index)
        else:
            self._cancel_running(batch, index, grace)
        return ended

    def cancel_batch(self, batch: Batch, grace: float) -> None:
        """End all of its jobs that have not ended."""
        self._end_queued([batch], JobEvent.CANCEL, endings.error(endings.CANCELLED, batch))
        index = batch.states.find(RUNNING)
        while index >= 0:
            self._cancel_running(batch, index, grace)
            index = batch.states.find(RUNNING, index + 1)

    def retry(self, batch: Batch, index: int) -> None:
        """Queue a job again that ended without a value. Its payload must still be there."""
        batch.move(index, 1, JobEvent.RETRY)
        batch.errors.pop(index, None)
        batch.values.pop(index, None)
        batch.forget_output(index)
        batch.attempts[index] = batch.attempts.get(index, 1) + 1
        self.queue.put_back(batch, 1)
        self._dispatch()

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
            workers=tuple(worker.info(_job_of(worker)) for worker in workers),
        )

    def close(self, grace: float) -> Promise[None]:
        """Take no more jobs, let running ones end within ``grace`` seconds, end all workers; settles when reaped."""
        if self.closing is None:
            self.closing = Promise()
            self.crew.close()
            for timer in (self._trimmer, self._sharer, self._turn):
                if timer is not None:
                    timer.cancel()
            self._give_up_on_staff(ShuttingDown(f"pool {self.name} is closing"))
            self._fail_unstarted(self.queue.batches())
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
                worker.ending.setdefault(running[0], endings.CLOSED)
            worker.kill()

    def _fail_unstarted(self, batches: list[Batch]) -> None:
        self._end_queued(batches, JobEvent.FAIL, ShuttingDown("the pool was closed before the job was started"))

    def _closed_if_empty(self) -> None:
        if self.closing is not None and not self.crew.members:
            self.closing.resolve(None)

    # --- who gets what

    def _dispatch(self) -> None:
        if self.paused or self.closing is not None:
            return
        progress = True
        while progress and self.queue.jobs:
            progress = False
            for worker in self._with_room():
                batch = self.queue.choose(worker.environment_key)
                if batch is not None and (most := self._room(worker, batch)):
                    self._hand_over(worker, batch, most)
                    progress = True
        if self.queue.jobs:
            self._bring_in_environments()
        elif any(worker.outstanding > 1 for worker in self.crew.members.values()):
            self._share_out()

    def _with_room(self) -> list[Worker]:
        prefetch = self.settings.prefetch
        ready = [worker for worker in self.crew.members.values() if worker.has_room(prefetch, STUCK)]
        if len(ready) > 1:
            ready.sort(key=lambda worker: worker.ahead)
        return ready

    def _room(self, worker: Worker, batch: Batch) -> int:
        """How many jobs of the batch to hand to the worker now: about ``prefetch`` seconds of work ahead of it.

        Adaptive prefetch by measured run time: one job at a time while nothing is known or jobs are slow.
        """
        cost = batch.estimate.seconds
        if cost is None:
            return 0 if worker.outstanding else 1
        room = int((self.settings.prefetch - worker.ahead) / max(cost, 1e-6))
        if room < 1:
            return 0 if worker.outstanding else 1
        share = -(-self.queue.queued(worker.environment_key) // max(1, len(self.crew.members)))
        room = min(room, share, MAX_SPAN)
        if batch.count > 1 and batch.nbytes > SPAN_BYTES:
            room = min(room, SPAN_BYTES * batch.count // batch.nbytes)
        return max(room, 0 if worker.outstanding else 1)

    def _hand_over(self, worker: Worker, batch: Batch, most: int) -> None:
        first, count = batch.take(most)
        batch.move(first, count, JobEvent.DISPATCH)
        cost = batch.estimate.seconds or UNKNOWN_COST
        self.queue.taken(batch, count, cost * count)
        now = self._clock.time()
        if count == 1:
            batch.started[first] = now
        else:
            batch.started[first : first + count] = array("d", [now]) * count
        worker.hand_over(batch, first, count, cost)
        self._watch_spans()
        if batch.timeout is not None:
            self._limits.watch(worker, batch.timeout)
        if self._trimmer is None:
            self._trim_in = TRIM_FIRST
            self._trimmer = self._clock.later(TRIM_FIRST, self._look_around)
        self._bus.emit(JobsStarted(id=batch.first_id + first, count=count, pool=self.name, pid=worker.pid))

    def _share_out(self) -> None:
        """The queue is empty and somebody idle: take back what is stuck behind a slow job."""
        if not any(worker.state is WorkerState.IDLE for worker in self.crew.members.values()):
            return
        for worker in self.crew.members.values():
            if worker.outstanding > 1 and (running := worker.current()) is not None and running[1] >= STUCK:
                worker.take_back()

    def _watch_spans(self) -> None:
        """While anybody has several jobs: see that neither those before nor those behind a slow one wait for it."""
        if self._sharer is None and any(worker.outstanding > 1 for worker in self.crew.members.values()):
            self._sharer = self._clock.later(STUCK, self._look_at_spans)

    def _look_at_spans(self) -> None:
        self._sharer = None
        for worker in list(self.crew.members.values()):
            if worker.outstanding > 1:
                worker.collect(STUCK)
        self._dispatch()
        self._watch_spans()

    # --- staff

    def _staff(self) -> None:
        """Fill vacancies with workers of the default environment."""
        for _ in range(self.crew.vacancies):
            if not self.crew.hire(self._default):
                return

    def _bring_in_environments(self) -> None:
        """Jobs wait for environments that have too few workers, or none: hire, in place of idle ones of others."""
        for key, environment in self.queue.environments():
            if not self.crew.can_hire(key):
                continue
            coming = sum(worker.state is not WorkerState.BUSY for worker in self.crew.of(key))
            for _ in range(self.queue.queued(key) - coming):
                if not self._bring_in(key, environment):
                    break
            if not self.crew.of(key):
                self._make_room()

    def _bring_in(self, key: str, environment: Environment) -> bool:
        if self.crew.vacancies <= 0:
            idle = self._dispensable(key)
            if idle is None:
                return False
            self.crew.retire(idle)
        return self.crew.hire(environment)

    def _dispensable(self, key: str) -> Worker | None:
        """An idle worker of another environment for which nothing is queued."""
        for worker in self.crew.active():
            if (
                worker.environment_key != key
                and worker.state is WorkerState.IDLE
                and not self.queue.queued(worker.environment_key)
            ):
                return worker
        return None

    def _make_room(self) -> None:
        """All are busy with other environments, and one has nobody: the one with most workers gives one up.

        Each has had its time before that, so that environments which share one place take turns in it.
        """
        active = self.crew.active()
        if self.crew.vacancies > 0 or any(worker.state is WorkerState.STARTING for worker in active) or not active:
            return  # a place is free, or its taker is on the way
        now = self._clock.monotonic()
        worker = max(active, key=lambda worker: (len(self.crew.of(worker.environment_key)), now - worker.ready_at))
        left = worker.ready_at + TENURE - now
        if left <= 0:
            self.crew.retire(worker)
        elif self._turn is None:
            self._turn = self._clock.later(left, self._next_turn)

    def _next_turn(self) -> None:
        self._turn = None
        self._dispatch()

    def environment_broken(self, environment: Environment, reason: str) -> None:
        """See :class:`~stokerd.pool.crew.Employer`."""
        key = environment.key
        if any(worker.state is not WorkerState.STARTING for worker in self.crew.of(key)):
            return  # there are others, who will do what waits
        if key == self._default.key:
            self._give_up_on_staff(StartFailed(f"no worker of pool {self.name} can be started: {reason}"))
        self._end_queued(
            [batch for batch in self.queue.batches() if batch.environment_key == key],
            JobEvent.FAIL,
            EnvironmentBroken(
                f"no worker can be started with {environment.executable}: {reason}",
                hint="check that this interpreter runs, from the directory and with the path that the client gave",
                data={"executable": environment.executable, "cwd": environment.cwd},
            ),
        )

    def crew_changed(self) -> None:
        """See :class:`~stokerd.pool.crew.Employer`."""
        if self.closing is not None:
            self._closed_if_empty()
            return
        if self.queue.jobs:
            self._bring_in_environments()
        if not self.queue.jobs or self.crew.vacancies > 0:
            self._staff()
        self._look_at_staff()
        self._dispatch()

    # --- what workers report

    def worker_ready(self, worker: Worker) -> None:
        """See :class:`~stokerd.pool.worker.Owner`."""
        self.crew.ready(worker)
        self._look_at_staff()
        self._dispatch()

    def worker_has_room(self, _worker: Worker) -> None:
        """See :class:`~stokerd.pool.worker.Owner`."""
        self._dispatch()

    def jobs_ended(self, worker: Worker, span: Span, lengths: array[int], blob: bytes, ran: float) -> None:
        """See :class:`~stokerd.pool.worker.Owner`."""
        batch = span.batch
        batch.estimate.learn(ran)
        self.queue.correct(batch, (ran - span.cost) * len(lengths))
        for first, part, data, failed in runs(lengths, blob):
            index, count = span.index + first, len(part)
            if batch.count <= KEPT_WORKERS:
                batch.workers.update(dict.fromkeys(range(index, index + count), (worker.id, worker.pid)))
            ending = worker.ending.pop(span.seq + first, None) if failed and worker.ending else None
            if ending is not None:
                self._end(batch, index, count, endings.event(ending), ran, endings.error(ending, batch))
            else:
                if failed:
                    keep_error(batch, index, data)
                elif batch.keep:
                    _keep_values(batch, index, part, data)
                event = JobEvent.FAIL if failed else JobEvent.SUCCEED
                self._end(batch, index, count, event, ran, None, part, data)
        self._finish(batch)

    def jobs_returned(self, worker: Worker, span: Span) -> None:
        """See :class:`~stokerd.pool.worker.Owner`."""
        batch = span.batch
        batch.move(span.index, span.count, JobEvent.RETURN)
        self.queue.put_back(batch, span.count)
        self.queue.correct(batch, -span.cost * span.count)
        for offset in range(span.count) if worker.ending else ():
            if worker.ending.pop(span.seq + offset, None) is not None:
                self._cancel_queued(batch, span.index + offset)
        if self.closing is not None:
            self._fail_unstarted([batch])

    def worker_gone(self, worker: Worker, how: Exit, victim: Span | None) -> None:
        """See :class:`~stokerd.pool.worker.Owner`."""
        job = None
        if victim is not None:
            batch, index = victim.batch, victim.index
            job = batch.first_id + index
            batch.workers[index] = (worker.id, worker.pid)
            ending = worker.ending.get(victim.seq)
            if ending is not None:
                self._end(batch, index, 1, endings.event(ending), 0.0, endings.error(ending, batch))
            else:
                self._end(batch, index, 1, JobEvent.WORKER_DIE, 0.0, _died(worker, how, job, batch, index))
            self._finish(batch)
        self.crew.ended(worker, how, job)

    # --- ends of jobs

    def _end(  # noqa: PLR0913, PLR0917 - which jobs, what happened, what came of it
        self,
        batch: Batch,
        index: int,
        count: int,
        event: JobEvent,
        ran: float,
        error: StokerError | None,
        lengths: array[int] | None = None,
        blob: bytes = b"",
    ) -> None:
        state = batch.move(index, count, event)
        now = self._clock.time()
        if count == 1:
            batch.ended[index] = now
            if ran:
                batch.started[index] = now - ran
        else:
            batch.ended[index : index + count] = array("d", [now]) * count
        told = batch.verdict(error) if error is not None else None
        if told is not None and (batch.keep or batch.count <= MAX_SPAN):
            for at in range(index, index + count):
                batch.errors[at] = told
        piece = Piece(index, count, lengths.tobytes() if lengths is not None else b"", blob, state, told)
        self._regret(batch.tell(piece))
        self._bus.emit(
            JobsEnded(
                id=batch.first_id + index,
                count=count,
                pool=self.name,
                state=state,
                message=error.message if error is not None else "",
            )
        )

    def _finish(self, batch: Batch) -> None:
        if batch.over:
            self._regret(batch.tell_end())  # before its record may be pruned
            if batch.counts().keys() == {JobState.DONE}:
                batch.drop_payload()
            self._jobs.ended(batch, self._clock.monotonic())

    def _regret(self, failures: list[Exception]) -> None:
        """Have the loop complain of what listeners raised, when the jobs' own story has been brought to its end."""
        for why in failures:
            self._clock.soon(_raise, why)

    def _cancel_queued(self, batch: Batch, index: int) -> None:
        self._leave_queue(batch, index, 1, JobEvent.CANCEL, endings.error(endings.CANCELLED, batch))

    def _leave_queue(self, batch: Batch, index: int, count: int, event: JobEvent, error: StokerError) -> None:
        self._end(batch, index, count, event, 0.0, error)
        self.queue.taken(batch, count, 0.0)
        self._finish(batch)

    def _cancel_running(self, batch: Batch, index: int, grace: float) -> None:
        for worker in self.crew.members.values():
            seq = worker.running_seq(batch, index)
            if seq is None:
                continue
            running = worker.current()
            if running is not None and running[0] == seq:
                endings.Ladder(self._clock, worker, seq, endings.CANCELLED, grace)
            else:
                # Handed over and not started: it comes back, and is cancelled then; or is started, and is ended then.
                worker.ending[seq] = endings.CANCELLED
                worker.take_back()
                self._clock.later(STUCK, self._cancel_if_running, worker, seq, batch, index, grace)
            return

    def _cancel_if_running(self, worker: Worker, seq: int, batch: Batch, index: int, grace: float) -> None:
        if batch.state(index) is JobState.RUNNING and worker.running_seq(batch, index) == seq:
            running = worker.current()
            if running is not None and running[0] == seq:
                endings.Ladder(self._clock, worker, seq, endings.CANCELLED, grace)
            else:
                self._clock.later(STUCK, self._cancel_if_running, worker, seq, batch, index, grace)

    def _end_queued(self, batches: list[Batch], event: JobEvent, error: StokerError) -> None:
        for batch in batches:
            while True:
                index, count = batch.take(batch.count)
                if not count:
                    break
                self._leave_queue(batch, index, count, event, error)

    # --- the rest

    def _estimate(self, template: bytes) -> Estimate:
        if len(self._estimates) >= MAX_ESTIMATES:
            self._estimates.clear()
        return self._estimates.setdefault(template, Estimate())

    def _look_around(self) -> None:
        """Bound the output of what is running, and see that it does run; goes on by itself only while something is."""
        self._trimmer = None
        busy = [worker for worker in self.crew.members.values() if worker.outstanding]
        flooding = sum(worker.trim() for worker in busy) > 0  # each of them, not up to the first that does
        if busy and self.closing is None:
            self._trim_in = TRIM_FIRST if flooding else min(2 * self._trim_in, TRIM_EVERY)
            self._trimmer = self._clock.later(self._trim_in, self._look_around)
        self._find_stopped(busy)

    def _find_stopped(self, busy: list[Worker]) -> None:
        """A worker that does not begin with its jobs must not keep them from those that would."""
        for worker in busy:
            if worker.begins_late() and any(other.has_room(0.0, STUCK) for other in self.crew.members.values()):
                worker.doubt()


def _raise(why: Exception) -> None:
    raise why


def _when_ended(batch: Batch, index: int) -> Promise[None]:
    ended: Promise[None] = Promise()

    def look(_batch: Batch, _piece: Piece) -> None:
        if batch.is_ended(index):
            batch.on_piece.remove(look)
            ended.resolve(None)

    batch.on_piece.append(look)
    return ended


def _job_of(worker: Worker) -> int | None:
    running = worker.current() if worker.spans else None
    if running is None:
        return None
    for span in worker.spans:
        if span.seq <= running[0] < span.seq + span.count:
            return span.batch.first_id + span.index + running[0] - span.seq
    return None


def _keep_values(batch: Batch, index: int, lengths: array[int], data: bytes) -> None:
    at = 0
    for offset, length in enumerate(lengths):
        size = length & messages.LENGTH
        batch.values[index + offset] = data[at : at + size]
        at += size


def _died(worker: Worker, how: Exit, job: int, batch: Batch, index: int) -> WorkerDied:
    signum = -how.code if how.code is not None and how.code < 0 else None
    return WorkerDied(
        f"worker {worker.id} (pid {worker.pid}) died of {how} while it ran job {job}",
        hint="see `stoker logs` for what the job wrote; other jobs are not affected",
        data={
            "pid": worker.pid,
            "worker": worker.id,
            "job": job,
            "signal": signum,
            "exit_code": how.code if signum is None else None,
            "attempt": batch.attempts.get(index, 1),
        },
    )
