"""Every job that is known: found by id, the ended ones within bounds."""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Iterator

from stoker.errors import NoSuchJob
from stokerd.pool.batch import Batch


class JobTable:
    """Gives out ids and finds jobs by them.

    Args:
        history_jobs: how many ended jobs are remembered.
        history_bytes: how many bytes of their values are kept.
    """

    def __init__(self, *, history_jobs: int, history_bytes: int, next_id: int = 1) -> None:
        self._history_jobs = history_jobs
        self._history_bytes = history_bytes
        self.next_id = next_id
        self._batches: dict[int, Batch] = {}
        """By first id, in order."""
        self._starts: list[int] = []
        """First ids in order, those of forgotten batches among them until it is worth taking them out."""
        self._ended: deque[tuple[float, Batch]] = deque()
        self._ended_jobs = 0
        self._ended_bytes = 0

    def add(self, batch: Batch) -> None:
        """Give the batch its ids and remember it."""
        batch.first_id = self.next_id
        self.next_id += batch.count
        self._starts.append(batch.first_id)
        self._batches[batch.first_id] = batch

    def find(self, job: int) -> tuple[Batch, int]:
        """The batch that a job is in, and its index there.

        Raises:
            NoSuchJob: there never was such a job, or it is forgotten.
        """
        at = bisect.bisect_right(self._starts, job) - 1
        batch = self._batches.get(self._starts[at]) if at >= 0 else None
        if batch is not None and job < batch.first_id + batch.count:
            return batch, job - batch.first_id
        forgotten = 0 < job < self.next_id
        raise NoSuchJob(
            f"job {job} is forgotten: it ended, and its record was pruned" if forgotten else f"there is no job {job}",
            hint="results are kept for the pool's result_ttl" if forgotten else "`stoker jobs` lists them",
            data={"id": job},
        )

    def ended(self, batch: Batch, now: float) -> None:
        """All jobs of the batch have ended; ``now`` is monotonic."""
        self._ended.append((now + batch.keep, batch))
        self._ended_jobs += batch.count
        self._ended_bytes += batch.kept_bytes()
        # The newest is kept whatever its size: somebody has just asked for it.
        while len(self._ended) > 1 and (
            self._ended_jobs > self._history_jobs or self._ended_bytes > self._history_bytes
        ):
            self._forget(self._ended.popleft()[1])

    def revived(self, batch: Batch) -> None:
        """The batch had ended and does not count as ended any more (a retry)."""
        kept = [(until, other) for until, other in self._ended if other is not batch]
        if len(kept) != len(self._ended):
            self._ended = deque(kept)
            self._ended_jobs -= batch.count
            self._ended_bytes -= batch.kept_bytes()

    def expire(self, now: float) -> float | None:
        """Drop the values whose time is over; returns when to call again, None when there is nothing to wait for."""
        soonest: float | None = None
        for until, batch in self._ended:
            if not batch.values and not batch.outputs:
                continue
            if until <= now:
                self._ended_bytes -= batch.kept_bytes() - batch.nbytes
                batch.drop_results()
            elif soonest is None or until < soonest:
                soonest = until
        return soonest

    def newest(self) -> Iterator[Batch]:
        """Every batch, newest first."""
        return reversed(self._batches.values())

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        total: dict[str, int] = {}
        for batch in self._batches.values():
            for state, count in batch.counts().items():
                total[state] = total.get(state, 0) + count
        return total

    def _forget(self, batch: Batch) -> None:
        """Find it no more. It is not touched: whoever waits for it together with others has yet to read it."""
        self._ended_jobs -= batch.count
        self._ended_bytes -= batch.kept_bytes()
        del self._batches[batch.first_id]
        if len(self._starts) > 64 and len(self._starts) > 2 * len(self._batches):
            self._starts = list(self._batches)
