"""Every job that is known: found by id or key, the ended ones within bounds."""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Callable, Iterator

from stoker.errors import NoSuchJob
from stokerd.pool.batch import Batch


class JobTable:
    """Gives out ids and finds jobs by them.

    Ended jobs whose values are kept for others to read are remembered until their time is over; of all others, the
    newest.

    Args:
        history_jobs: how many ended jobs are remembered whose values are not kept.
        history_bytes: how many bytes of values are kept.
        kept_jobs: how many ended jobs are remembered whose values are.
        next_id: the first id to give out.
        on_forget: told of each batch whose record is dropped, or whose values are.
    """

    def __init__(
        self,
        *,
        history_jobs: int,
        history_bytes: int,
        kept_jobs: int = 100_000,
        next_id: int = 1,
        on_forget: Callable[[Batch], object] = lambda _batch: None,
    ) -> None:
        self._history_jobs = history_jobs
        self._history_bytes = history_bytes
        self._kept_jobs = kept_jobs
        self._on_forget = on_forget
        self.next_id = next_id
        self._batches: dict[int, Batch] = {}
        """By first id, in order."""
        self._starts: list[int] = []
        """First ids in order, those of forgotten batches among them until it is worth taking them out."""
        self._kept: deque[tuple[float, Batch]] = deque()
        self._ended: deque[Batch] = deque()
        self._kept_count = 0
        self._ended_count = 0
        self._ended_bytes = 0
        self._keys: dict[str, Batch] = {}
        self._unfinished: dict[str, int] = {}

    def add(self, batch: Batch) -> None:
        """Give the batch its ids and remember it."""
        batch.first_id = self.next_id
        self.restore(batch)

    def restore(self, batch: Batch) -> None:
        """Remember a batch that has its ids, which are higher than all others'."""
        self.next_id = max(self.next_id, batch.first_id + batch.count)
        self._starts.append(batch.first_id)
        self._batches[batch.first_id] = batch
        if batch.options.key is not None:
            self._keys[batch.options.key] = batch
        self._count(batch, batch.count)

    def withdraw(self, batch: Batch) -> None:
        """It was not accepted after all."""
        self._drop(batch)
        self._count(batch, -batch.count)

    def _count(self, batch: Batch, count: int) -> None:
        left = self._unfinished.get(batch.session, 0) + count
        if left > 0:
            self._unfinished[batch.session] = left
        else:
            self._unfinished.pop(batch.session, None)

    def unfinished(self, session: str) -> int:
        """How many jobs a session has in batches that have not ended."""
        return self._unfinished.get(session, 0)

    def with_key(self, key: str) -> Batch | None:
        """The batch with this idempotency key."""
        return self._keys.get(key)

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
        self._count(batch, -batch.count)
        self._ended_bytes += batch.kept_bytes()
        if batch.keep:
            self._kept.append((now + batch.keep, batch))
            self._kept_count += batch.count
        else:
            self._ended.append(batch)
            self._ended_count += batch.count
        self._prune(batch)

    def _prune(self, newest: Batch) -> None:
        """Forget what is too much; the newest is kept whatever its size: somebody has just asked for it."""
        while self._ended_count > self._history_jobs and self._ended[0] is not newest:
            self._forget_oldest()
        while self._kept_count > self._kept_jobs and self._kept[0][1] is not newest:
            self._forget_oldest_kept()
        while self._ended_bytes > self._history_bytes:
            if self._ended and self._ended[0] is not newest:
                self._forget_oldest()
            elif self._kept and self._kept[0][1] is not newest:
                self._forget_oldest_kept()
            else:
                return

    def _forget_oldest(self) -> None:
        batch = self._ended.popleft()
        self._ended_count -= batch.count
        self._forget(batch)

    def _forget_oldest_kept(self) -> None:
        _, batch = self._kept.popleft()
        self._kept_count -= batch.count
        self._forget(batch)

    def revived(self, batch: Batch) -> None:
        """The batch had ended and does not count as ended any more (a retry)."""
        kept = [(until, other) for until, other in self._kept if other is not batch]
        if len(kept) != len(self._kept):
            self._kept = deque(kept)
            self._kept_count -= batch.count
        elif batch in self._ended:
            self._ended.remove(batch)
            self._ended_count -= batch.count
        else:
            return
        self._ended_bytes -= batch.kept_bytes()
        self._count(batch, batch.count)

    def expire(self, now: float) -> float | None:
        """Drop the values whose time is over; returns when to call again, None when there is nothing to wait for.

        What they were called with goes as well, on disk too. That they were, how they ended and when is remembered
        among the others for a while longer.
        """
        over = [batch for until, batch in self._kept if until <= now]
        if over:
            self._kept = deque((until, batch) for until, batch in self._kept if until > now)
            for batch in over:
                self._kept_count -= batch.count
                self._ended_bytes -= batch.kept_bytes()
                batch.drop_results()
                batch.drop_payload()
                self._ended.append(batch)
                self._ended_count += batch.count
                self._drop_key(batch)
                self._on_forget(batch)
            self._prune(over[-1])
        return min((until for until, _ in self._kept), default=None)

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
        self._ended_bytes -= batch.kept_bytes()
        self._drop(batch)
        self._on_forget(batch)

    def _drop(self, batch: Batch) -> None:
        self._drop_key(batch)
        del self._batches[batch.first_id]
        if len(self._starts) > 64 and len(self._starts) > 2 * len(self._batches):
            self._starts = list(self._batches)

    def _drop_key(self, batch: Batch) -> None:
        if batch.options.key is not None and self._keys.get(batch.options.key) is batch:
            del self._keys[batch.options.key]
