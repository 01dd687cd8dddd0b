"""Ending a job that runs: SIGINT, then SIGTERM, then SIGKILL, until it is over; and the time limit that asks for it."""

from __future__ import annotations

import signal

from stoker.errors import JobCancelled, JobTimedOut, ShuttingDown, StokerError
from stoker.protocol.states import JobEvent
from stokerd.clock import Clock
from stokerd.pool.batch import Batch
from stokerd.pool.worker import Worker

LADDER = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
TIMEOUT_GRACE = 2.0
"""Seconds between the rungs for a job that is over its time limit."""

CANCELLED, TIMED_OUT, CLOSED, SUSPENDED = "cancel", "time-out", "close", "suspend"
"""Why a running job is ended; the last two with its pool: for good, or until the daemon's next start."""


def event(why: str) -> JobEvent:
    """The lifecycle event of a job that was ended for this reason."""
    return JobEvent.TIME_OUT if why == TIMED_OUT else JobEvent.CANCEL


def error(why: str, batch: Batch) -> StokerError:
    """What whoever waits for it gets."""
    if why == TIMED_OUT:
        return JobTimedOut(
            f"the job ran longer than its limit of {batch.timeout:g} s and was ended",
            hint="give it a longer timeout",
            data={"timeout": batch.timeout},
        )
    if why in (CLOSED, SUSPENDED):
        return ShuttingDown("the job was ended, because its pool was closed and the time it was given was over")
    return JobCancelled("the job was cancelled")


class Ladder:
    """Climbs for one job; each rung does nothing when the job is over."""

    def __init__(self, clock: Clock, worker: Worker, seq: int, why: str, grace: float) -> None:
        self._clock, self._worker, self._seq, self._grace = clock, worker, seq, grace
        self._rungs = iter(LADDER)
        worker.ending.setdefault(seq, why)
        self._climb()

    def _climb(self) -> None:
        running = self._worker.current()
        if running is None or running[0] != self._seq or self._seq not in self._worker.ending:
            return
        number = next(self._rungs, None)
        if number is None:
            return
        self._worker.signal_job(self._seq, number)
        self._clock.later(self._grace, self._climb)


class TimeLimits:
    """Watches the jobs that have a time limit; one timer a worker, none where no job has one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def watch(self, worker: Worker, timeout: float) -> None:
        """A job with this limit was handed to the worker."""
        look_at = self._clock.monotonic() + timeout
        if worker.watchdog is not None:
            if worker.look_at <= look_at:
                return
            worker.watchdog.cancel()
        self._look_in(worker, timeout)

    def _look_in(self, worker: Worker, seconds: float) -> None:
        worker.look_at = self._clock.monotonic() + seconds
        worker.watchdog = self._clock.later(seconds, self._look, worker)

    def _look(self, worker: Worker) -> None:
        worker.watchdog = None
        limits = [span.batch.timeout for span in worker.spans if span.batch.timeout is not None]
        if not limits:
            return
        # One that waits behind another may start at any moment: so look again no later than its limit from now.
        left = min(limits)
        running = worker.current()
        if running is not None:
            seq, elapsed = running
            timeout = worker.timeout_of(seq)
            if timeout is not None and seq not in worker.ending:
                if elapsed >= timeout:
                    Ladder(self._clock, worker, seq, TIMED_OUT, TIMEOUT_GRACE)
                else:
                    left = min(left, timeout - elapsed)
        self._look_in(worker, max(left, 0.001))
