"""Whose job is next: deficit round robin between sessions, strict priority above it.

Pure: no clock, no worker, no socket. A *flow* is what one session has queued for one environment. Each flow has a
deficit, the run time that it may still take before the others have had their turn; a flow that uses up more waits
longer. What it gains in a turn is in proportion to its session's weight. So a million-element map never starves a
client with one job, whatever either's jobs take.

Source: M. Shreedhar, G. Varghese, "Efficient Fair Queuing using Deficit Round Robin", SIGCOMM 1995, with run time in
place of bytes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from stoker.protocol.models import Environment
from stokerd.pool.batch import Batch

QUANTUM = 0.005
"""Seconds of run time that a flow gains each time its turn comes."""

FlowKey = tuple[str, str]
HeldUp = Callable[[tuple[str, ...]], bool]
"""Whether jobs with these tags have to wait, because as many run as may."""


class Flow:
    """What one session has queued for one environment, oldest first, in a lane for each set of tags.

    Tags may hold a lane up, and never the lane beside it.
    """

    __slots__ = ("deficit", "key", "lanes", "quantum")

    def __init__(self, key: FlowKey, weight: float) -> None:
        self.key = key
        self.quantum = QUANTUM * weight
        self.deficit = self.quantum
        self.lanes: dict[tuple[str, ...], deque[Batch]] = {}

    def enter(self, batch: Batch, *, first: bool) -> bool:
        """Queue a batch, last or first; False where it is queued already."""
        lane = self.lanes.setdefault(batch.tags, deque())
        if batch.in_queue:
            return False
        batch.in_queue = True
        if first:
            lane.appendleft(batch)
        else:
            lane.append(batch)
        return True

    def leave(self, batch: Batch) -> None:
        """Nothing of the batch is queued any more."""
        lane = self.lanes[batch.tags]
        lane.remove(batch)
        batch.in_queue = False
        if not lane:
            del self.lanes[batch.tags]

    def next(self, held_up: HeldUp | None) -> Batch | None:
        """The oldest batch whose tags do not hold it up."""
        if len(self.lanes) == 1:
            tags, lane = next(iter(self.lanes.items()))
            return None if tags and held_up is not None and held_up(tags) else lane[0]
        free = [lane[0] for tags, lane in self.lanes.items() if not tags or held_up is None or not held_up(tags)]
        return min(free, key=lambda batch: batch.first_id, default=None)

    def batches(self) -> list[Batch]:
        """All that are queued in it."""
        return [batch for lane in self.lanes.values() for batch in lane]


class Level:
    """The flows of one priority, in the order of their turns."""

    __slots__ = ("flows", "turns")

    def __init__(self) -> None:
        self.flows: dict[FlowKey, Flow] = {}
        self.turns: deque[Flow] = deque()

    def flow(self, key: FlowKey, weight: float) -> Flow:
        """The flow with this key, made where it is not there; ``weight`` is its share beside the others'."""
        found = self.flows.get(key)
        if found is None:
            found = self.flows[key] = Flow(key, weight)
            self.turns.append(found)
        else:
            found.quantum = QUANTUM * weight
        return found

    def drop(self, flow: Flow) -> None:
        """Forget an empty flow, and its deficit with it, as the algorithm has it."""
        del self.flows[flow.key]
        self.turns.remove(flow)

    def choose(self, environment: str | None, held_up: HeldUp | None) -> Batch | None:
        """The batch whose turn it is, of this environment or of any."""
        eligible = [
            (flow, batch)
            for flow in self.turns
            if (environment is None or flow.key[1] == environment) and (batch := flow.next(held_up)) is not None
        ]
        if not eligible:
            return None
        for flow, batch in eligible:
            if flow.deficit > 0:
                return batch
        # Nobody has any left: as many rounds for everybody as bring the first one above zero, at once.
        rounds = min(math.floor(-flow.deficit / flow.quantum) + 1 for flow, _ in eligible)
        for flow, _ in eligible:
            flow.deficit += rounds * flow.quantum
        return next((batch for flow, batch in eligible if flow.deficit > 0), eligible[0][1])


class Scheduler:
    """The queue of one pool."""

    def __init__(self, held_up: HeldUp | None = None) -> None:
        self._held_up = held_up
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
        self._enter(batch, batch.queued_count, first=False)

    def release(self, batch: Batch, count: int) -> None:
        """``count`` jobs of the batch have waited for their time or for others, and are queued now: last."""
        self._enter(batch, count, first=False)

    def put_back(self, batch: Batch, count: int) -> None:
        """``count`` jobs of the batch are queued again: first in their flow, and at no cost."""
        self._enter(batch, count, first=True)

    def _enter(self, batch: Batch, count: int, *, first: bool) -> None:
        if self._level(batch.priority).flow(batch.flow, batch.weight).enter(batch, first=first):
            self.nbytes += batch.nbytes
        self._count(batch, count)

    def taken(self, batch: Batch, count: int, cost: float) -> None:
        """``count`` jobs of the batch left the queue (dispatched, or cancelled at cost 0), at a cost in seconds."""
        self._count(batch, -count)
        level = self._levels[batch.priority]
        flow = level.flows[batch.flow]
        if batch.queued_count == 0:
            flow.leave(batch)
            self.nbytes -= batch.nbytes
        if not flow.lanes:
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
            flow.deficit = min(flow.deficit - cost, flow.quantum)

    def choose(self, environment: str | None = None) -> Batch | None:
        """The batch that the next job should come from, of one environment or of any; it stays queued."""
        for priority in self._order:
            level = self._levels[priority]
            if level.turns and (batch := level.choose(environment, self._held_up)) is not None:
                return batch
        return None

    def queued(self, environment: str) -> int:
        """How many jobs are queued for one environment."""
        return self._by_environment.get(environment, 0)

    def environments(self) -> list[tuple[str, Environment]]:
        """Every environment for which something is queued, by key; the one that waits longest first."""
        return list(self._environments.items())

    def batches(self) -> list[Batch]:
        """Every batch of which something is queued."""
        return [batch for level in self._levels.values() for flow in level.turns for batch in flow.batches()]

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
