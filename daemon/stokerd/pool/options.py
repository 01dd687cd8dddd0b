"""What was asked for with a job beyond what it runs: when, how often, after what, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass

from stoker.protocol.states import JobState

RETRIED_STATES = (JobState.FAILED, JobState.TIMED_OUT, JobState.WORKER_DIED, JobState.LOST_WITH_DAEMON)
"""How an attempt may fail after which there can be another."""
_KINDS = frozenset(map(str, RETRIED_STATES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Of one batch; its jobs share them.

    Args:
        slots: of how many workers a job takes the place.
        tags: words with limits of concurrency.
        delay: seconds before it may run, from when it was accepted.
        at: UTC seconds before which it does not run, by the machine's clock.
        after: ids of the jobs that have to end first.
        after_any: they may end however they like.
        retries: attempts after the first that failed.
        backoff: seconds before the second attempt, doubled before each further one.
        backoff_most: the most seconds between two attempts.
        retry_on: kinds of failure or names of exception classes; empty: any failure.
        requeue: it is queued again when the daemon died while it ran.
        key: its idempotency key.
        durable: it is kept on disk.
    """

    slots: int = 1
    tags: tuple[str, ...] = ()
    delay: float | None = None
    at: float | None = None
    after: tuple[int, ...] = ()
    after_any: bool = False
    retries: int = 0
    backoff: float = 0.0
    backoff_most: float = 600.0
    retry_on: tuple[str, ...] = ()
    requeue: bool = False
    key: str | None = None
    durable: bool = False

    def tries_again(self, attempt: int, state: JobState, classes: tuple[str, ...]) -> bool:
        """Whether there is another attempt.

        Args:
            attempt: the one that failed, from 1.
            state: how it failed.
            classes: qualified names of the exception's class and its bases; empty where it was none.
        """
        if attempt > self.retries or state not in RETRIED_STATES:
            return False
        if not self.retry_on:
            return True
        if state in self.retry_on:
            return True
        plain = {name.rpartition(".")[2] for name in classes}
        return any(wanted in classes or wanted in plain for wanted in self.retry_on if wanted not in _KINDS)

    def pause_after(self, attempt: int) -> float:
        """Seconds between attempt number ``attempt`` and the next."""
        return min(self.backoff * 2.0 ** min(attempt - 1, 64), self.backoff_most)


PLAIN = Options()
"""Of most jobs."""
