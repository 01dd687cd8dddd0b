"""Jobs that may not run yet: until their time has come, or until the jobs have ended that they come after."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence

from stoker.errors import DependencyFailed, StokerError
from stoker.protocol.states import JobEvent, JobState
from stokerd.clock import Clock, Timer
from stokerd.pool.batch import CODE, Batch, Piece

DELAYED, WAITING = CODE[JobState.DELAYED], CODE[JobState.WAITING]
LONGEST = 86_400.0
"""Seconds of one timer, at most: what is due later is looked at again."""

Released = Callable[[Batch, int], object]
"""Takes a batch and how many of its jobs are queued now."""
Refused = Callable[[Batch, StokerError], object]
"""Takes a batch all of whose jobs can't be run any more, and why."""
Met = Callable[[Batch, list[int]], object]
"""Takes a batch and the ids of jobs that it need not wait for any more."""


class WaitingRoom:
    """See the module. One for all pools.

    Args:
        clock: time.
        on_release: called when jobs may run; they are queued then.
        on_refuse: called when the jobs of a batch never may.
        on_met: called when a batch waits for fewer jobs than before.
    """

    def __init__(self, clock: Clock, on_release: Released, on_refuse: Refused, on_met: Met) -> None:
        self._clock = clock
        self._on_release, self._on_refuse, self._on_met = on_release, on_refuse, on_met
        self._held: dict[str, int] = {}
        """How many jobs wait here, by pool; kept up by the batches themselves as they move."""
        self._count = itertools.count()
        self._by_span: list[tuple[float, int, Batch, int]] = []
        """(monotonic, number, batch, index), for delays: setting the clock does not change them."""
        self._by_clock: list[tuple[float, int, Batch, int]] = []
        """(UTC, number, batch, index), for appointments: they follow the clock when it is set."""
        self._newest: dict[tuple[Batch, int], int] = {}
        """The entry that counts, of those that a job has there: one was cancelled, retried, and put off anew."""
        self._timer: Timer | None = None
        self._closed = False
        clock.when_set(self._look)

    def enter(self, batch: Batch, before: Sequence[tuple[Batch, int]]) -> bool:
        """Have a new batch wait, if it has to; False where its jobs may run at once.

        Args:
            batch: none of it is in a queue yet.
            before: the jobs that it comes after.
        """
        options = batch.options
        if before:
            batch.held_by_pool = self._held
            batch.move_all(JobState.QUEUED, JobEvent.DEPEND)
            self._depend(batch, before)
            return True
        if options.delay or options.at is not None:
            batch.held_by_pool = self._held
            batch.move_all(JobState.QUEUED, JobEvent.POSTPONE)
            self._delay(batch)
            return True
        return False

    def held(self, pool: str) -> int:
        """How many jobs of a pool wait here."""
        return self._held.get(pool, 0)

    def postpone(self, batch: Batch, index: int, seconds: float) -> None:
        """Let one job, which is queued and in no queue, wait for so long."""
        batch.held_by_pool = self._held
        batch.move(index, 1, JobEvent.POSTPONE)
        batch.due[index] = self._clock.time() + seconds
        self._push(self._by_span, self._clock.monotonic() + seconds, batch, index)

    def resume(self, batch: Batch, index: int) -> bool:
        """After a start of the daemon: let a job that was tried before wait for its next time; False: it is due."""
        due = batch.due.get(index)
        left = 0.0 if due is None else due - self._clock.time()
        if left <= 0:
            batch.due.pop(index, None)
            return False
        self.postpone(batch, index, left)
        return True

    def close(self) -> None:
        """Nobody is let out any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    # --- delays and appointments

    def _delay(self, batch: Batch) -> None:
        """Of a whole batch: it counts as one, by its first job."""
        options = batch.options
        if options.at is not None:
            batch.due[0] = options.at
            self._push(self._by_clock, options.at, batch, -1)
            return
        due = batch.due.get(0)  # of one that was kept: what is left of its delay
        seconds = max(0.0, due - self._clock.time()) if due is not None else options.delay or 0.0
        batch.due[0] = self._clock.time() + seconds
        self._push(self._by_span, self._clock.monotonic() + seconds, batch, -1)

    def _push(self, heap: list[tuple[float, int, Batch, int]], when: float, batch: Batch, index: int) -> None:
        number = self._newest[batch, index] = next(self._count)
        heapq.heappush(heap, (when, number, batch, index))
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lefts = []
        if self._by_span:
            lefts.append(self._by_span[0][0] - self._clock.monotonic())
        if self._by_clock:
            lefts.append(self._by_clock[0][0] - self._clock.time())
        if lefts and not self._closed:
            self._timer = self._clock.later(min(max(0.0, min(lefts)), LONGEST), self._look)

    def _look(self) -> None:
        """Let everybody out whose time has come; also when the clock was set."""
        if self._closed:
            return
        for heap, now in ((self._by_span, self._clock.monotonic()), (self._by_clock, self._clock.time())):
            while heap and heap[0][0] <= now:
                _, number, batch, index = heapq.heappop(heap)
                if self._newest.get((batch, index)) == number:  # else it was put off again since
                    del self._newest[batch, index]
                    self._let_out(batch, index)
        self._set_timer()

    def _let_out(self, batch: Batch, index: int) -> None:
        released = 0
        if index < 0:
            released = batch.move_all(JobState.DELAYED, JobEvent.RELEASE)
        elif batch.states[index] == DELAYED:
            batch.move(index, 1, JobEvent.RELEASE)
            released = 1
        batch.due.pop(max(index, 0), None)
        if released:
            self._on_release(batch, released)

    # --- dependencies

    def _depend(self, batch: Batch, before: Sequence[tuple[Batch, int]]) -> None:
        """Wait for every one of them. Those that have ended already are looked at in the next turn of the loop."""
        pending: dict[Batch, set[int]] = {}
        for other, index in before:
            pending.setdefault(other, set()).add(index)
            batch.after.add(other.first_id + index)

        def look(other: Batch, piece: Piece) -> None:
            left = pending.get(other)
            if left is not None:
                self._ended(batch, other, left & set(range(piece.first, piece.first + piece.count)), pending)
                if other not in pending or not batch.after:
                    other.on_piece.remove(look)

        for other in pending:
            other.on_piece.append(look)
        self._clock.soon(self._catch_up, batch, pending, look)

    def _catch_up(self, batch: Batch, pending: dict[Batch, set[int]], look: Callable[[Batch, Piece], None]) -> None:
        for other in list(pending):
            ended = {index for index in pending.get(other, ()) if other.is_ended(index)}
            if ended:
                self._ended(batch, other, ended, pending)
            if (other not in pending or not batch.after) and look in other.on_piece:
                other.on_piece.remove(look)

    def _ended(self, batch: Batch, other: Batch, indexes: set[int], pending: dict[Batch, set[int]]) -> None:
        """Some of what it waits for has ended."""
        if WAITING not in batch.states:
            batch.after.clear()
            return  # it was cancelled, or refused for another one
        for index in sorted(indexes):
            batch.after.discard(other.first_id + index)
            state = other.state(index)
            if state is not JobState.DONE and not batch.options.after_any:
                batch.after.clear()
                self._on_refuse(batch, dependency_failed(other.first_id + index, state))
                return
        self._on_met(batch, [other.first_id + index for index in sorted(indexes)])
        left = pending[other]
        left -= indexes
        if not left:
            del pending[other]
        if not pending:
            self._go(batch)

    def _go(self, batch: Batch) -> None:
        if batch.options.delay or batch.options.at is not None:
            batch.move_all(JobState.WAITING, JobEvent.POSTPONE)
            self._delay(batch)
        elif released := batch.move_all(JobState.WAITING, JobEvent.RELEASE):
            self._on_release(batch, released)


def dependency_failed(job: int, state: JobState | None) -> DependencyFailed:
    """Why a job is not run that comes after one that did not end well."""
    how = f"is {state}" if state is not None else "was lost with the daemon, which did not keep it"
    return DependencyFailed(
        f"job {job}, which had to end well first, {how}",
        hint=f"`stoker job {job}` says why; submit with after_end=any to run whatever becomes of it",
        data={"job": job, "state": None if state is None else str(state)},
    )
