"""Whose job is next: deficit round robin between sessions, strict priority above it.

Pure: no clock, no worker, no socket. A *flow* is what one session has queued for one environment. Each flow has a
deficit, the run time that it may still take before the others have had their turn; a flow that uses up more waits
longer. So a million-element map never starves a client with one job, whatever either's jobs take.

Source: M. Shreedhar, G. Varghese, "Efficient Fair Queuing using Deficit Round Robin", SIGCOMM 1995, with run time in
place of bytes.
"""

from __future__ import annotations

import math
from collections import deque

from stoker.protocol.models import Environment
from stokerd.pool.batch import Batch

QUANTUM = 0.005
"""Seconds of run time that a flow gains each time its turn comes."""

FlowKey = tuple[str, str]


class Flow:
    """What one session has queued for one environment, oldest first."""

    __slots__ = ("batches", "deficit", "key")

    def __init__(self, key: FlowKey) -> None:
        self.key = key
        self.deficit = QUANTUM
        self.batches: deque[Batch] = deque()


class Level:
    """The flows of one priority, in the order of their turns."""

    __slots__ = ("flows", "turns")

    def __init__(self) -> None:
        self.flows: dict[FlowKey, Flow] = {}
        self.turns: deque[Flow] = deque()

    def flow(self, key: FlowKey) -> Flow:
        """The flow with this key, made where it is not there."""
        found = self.flows.get(key)
        if found is None:
            found = self.flows[key] = Flow(key)
            self.turns.append(found)
        return found

    def drop(self, flow: Flow) -> None:
        """Forget an empty flow, and its deficit with it, as the algorithm has it."""
        del self.flows[flow.key]
        self.turns.remove(flow)

    def choose(self, environment: str | None) -> Flow | None:
        """The flow whose turn it is, of this environment or of any."""
        eligible = [flow for flow in self.turns if environment is None or flow.key[1] == environment]
        if not eligible:
            return None
        for flow in eligible:
            if flow.deficit > 0:
                return flow
        # Nobody has any left: as many rounds for everybody as bring the first one above zero, at once.
        rounds = min(math.floor(-flow.deficit / QUANTUM) + 1 for flow in eligible)
        for flow in eligible:
            flow.deficit += rounds * QUANTUM
        return next(flow for flow in eligible if flow.deficit > 0)


class Scheduler:
    """The queue of one pool."""

    def __init__(self) -> None:
        self._levels: dict[int, Level] = {}
        self._order: list[int] = []
        self.jobs = 0
        """How many jobs are queued."""
        self.nbytes = 0
        """Bytes of the payloads of batches of which something is queued."""
        self._by_environment: dict[str, int] = {}
        self._environments: dict[str, Environment] = {}

    def push(self, batch: Batch) -> None:
        """Queue what of the batch is queued."""
        level = self._level(batch.priority)
        level.flow(batch.flow).batches.append(batch)
        self.nbytes += batch.nbytes
        self._count(batch, batch.queued_count)

    def put_back(self, batch: Batch, count: int) -> None:
        """``count`` jobs of the batch are queued again: first in their flow, and at no cost."""
        flow = self._level(batch.priority).flow(batch.flow)
        if batch not in flow.batches:
            flow.batches.appendleft(batch)
            self.nbytes += batch.nbytes
        self._count(batch, count)

    def taken(self, batch: Batch, count: int, cost: float) -> None:
        """``count`` jobs of the batch left the queue (dispatched, or cancelled at cost 0), at a cost in seconds."""
        self._count(batch, -count)
        level = self._levels[batch.priority]
        flow = level.flows[batch.flow]
        if batch.queued_count == 0:
            flow.batches.remove(batch)
            self.nbytes -= batch.nbytes
        if not flow.batches:
            level.drop(flow)
            return
        flow.deficit -= cost
        if flow.deficit <= 0:
            level.turns.remove(flow)
            level.turns.append(flow)

    def correct(self, batch: Batch, cost: float) -> None:
        """Jobs took ``cost`` seconds more (or less) than was charged. Never brings more than a turn does."""
        level = self._levels.get(batch.priority)
        if level is not None and (flow := level.flows.get(batch.flow)) is not None:
            flow.deficit = min(flow.deficit - cost, QUANTUM)

    def choose(self, environment: str | None = None) -> Batch | None:
        """The batch that the next job should come from, of one environment or of any; it stays queued."""
        for priority in self._order:
            level = self._levels[priority]
            if level.turns and (flow := level.choose(environment)) is not None:
                return flow.batches[0]
        return None

    def queued(self, environment: str) -> int:
        """How many jobs are queued for one environment."""
        return self._by_environment.get(environment, 0)

    def environments(self) -> list[tuple[str, Environment]]:
        """Every environment for which something is queued, by key; the one that waits longest first."""
        return list(self._environments.items())

    def batches(self) -> list[Batch]:
        """Every batch of which something is queued."""
        return [batch for level in self._levels.values() for flow in level.turns for batch in flow.batches]

    def _level(self, priority: int) -> Level:
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = Level()
            self._order = sorted(self._levels, reverse=True)
        return level

    def _count(self, batch: Batch, count: int) -> None:
        self.jobs += count
        key = batch.environment_key
        left = self._by_environment.get(key, 0) + count
        if left:
            self._by_environment[key] = left
            self._environments.setdefault(key, batch.environment)
        else:
            self._by_environment.pop(key, None)
            self._environments.pop(key, None)
