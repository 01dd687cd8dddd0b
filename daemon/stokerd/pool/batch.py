"""A batch of like jobs: the unit in which jobs are queued, dispatched, answered and remembered.

A single job is a batch of one. A million-element map is one batch: a state byte and a few numbers a job, in arrays,
and never an object a job. The payload stays the frame that came off the wire; it is cut, and never looked into.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stoker.errors import StokerError
from stoker.protocol.models import AttemptInfo, Environment, ErrorInfo, ProgressInfo
from stoker.protocol.states import ENDED_JOB_STATES, JOB_MOVES, JobEvent, JobState, step
from stokerd.depot import Lot
from stokerd.output import Output
from stokerd.pool.options import PLAIN, Options

OUTPUT_BYTES = 64 * 1024 * 1024
"""What the jobs of one batch wrote, together; beyond it, that of the jobs that ended first is forgotten."""
STATES = tuple(JobState)
CODE = {state: code for code, state in enumerate(STATES)}
QUEUED, RUNNING, DONE = CODE[JobState.QUEUED], CODE[JobState.RUNNING], CODE[JobState.DONE]
HELD_CODES = (CODE[JobState.DELAYED], CODE[JobState.WAITING])
KEPT_ATTEMPTS = 20
"""Attempts that are remembered of one job, the newest."""
ENDED_CODES = frozenset(CODE[state] for state in ENDED_JOB_STATES)
AFTER: dict[tuple[int, JobEvent], int] = {(CODE[state], event): CODE[to] for (state, event), to in JOB_MOVES.items()}
"""The job's lifecycle table by state codes, for moving whole ranges at once."""


@dataclass(slots=True, weakref_slot=True, eq=False)
class Function:
    """An uploaded function. It lives as long as a session or a batch refers to it."""

    reference: bytes
    code: bytes
    name: str


@dataclass(slots=True)
class Estimate:
    """What one job of one function takes, as a moving mean in seconds; None until the first has ended."""

    seconds: float | None = None

    def learn(self, seconds: float) -> None:
        """Take in a measurement."""
        self.seconds = seconds if self.seconds is None else 0.7 * self.seconds + 0.3 * seconds


@dataclass(slots=True)
class Piece:
    """Results, or one verdict, for the jobs ``first … first+count-1`` of a batch: what a stream passes on."""

    first: int
    count: int
    lengths: bytes
    blob: bytes | memoryview
    state: JobState
    error: ErrorInfo | None = None
    lot: Lot | None = None
    """Where the value of the one job lies; the blob is its parcel then."""


_DOUBLE, _FLOAT, _WORD = array("d", (0.0,)), array("f", (0.0,)), array("I", (0,))
_SELDOM: dict[str, Callable[[], Any]] = {
    **dict.fromkeys(("attempts", "history", "deaths", "progress", "due", "errors", "outputs"), dict),
    "after": set,
}


class Trace:
    """When a job was where: monotonic seconds."""

    __slots__ = ("marks",)

    def __init__(self, read: float) -> None:
        self.marks = [read]
        """Read by the daemon, handed to a worker, begun, ended, heard of; a job that is tried again has none."""


class Batch:
    """Like jobs with consecutive ids. Moving jobs between states goes through :meth:`move` only."""

    __slots__ = (
        "_offsets",
        "after",
        "attempts",
        "blob",
        "count",
        "cpu",
        "deaths",
        "due",
        "ended",
        "ended_count",
        "environment",
        "environment_key",
        "errors",
        "estimate",
        "finished",
        "first_id",
        "flow",
        "form",
        "function",
        "held_by_pool",
        "history",
        "in_queue",
        "keep",
        "lays",
        "lengths",
        "lot",
        "name",
        "nbytes",
        "next",
        "on_end",
        "on_piece",
        "options",
        "output_bytes",
        "outputs",
        "pool",
        "priority",
        "progress",
        "queued_count",
        "rss",
        "session",
        "settling",
        "started",
        "states",
        "submitted",
        "tags",
        "template",
        "timeout",
        "trace",
        "turn",
        "values",
        "weight",
        "workers",
    )

    attempts: dict[int, int]
    """Attempts of jobs that were tried more than once."""
    history: dict[int, list[AttemptInfo]]
    """Attempts that were not the last, by index."""
    deaths: dict[int, int]
    """How many workers, or daemons, died while they ran it."""
    progress: dict[int, ProgressInfo]
    due: dict[int, float]
    """When delayed jobs may run, UTC."""
    after: set[int]
    """Ids of jobs that all of its jobs still wait for."""
    errors: dict[int, ErrorInfo]
    outputs: dict[int, Output]
    """What jobs wrote, by index; to be added to by :meth:`keep_output`."""

    def __init__(  # noqa: PLR0913 - all by name
        self,
        *,
        name: str,
        pool: str,
        session: str,
        form: int,
        template: bytes,
        lengths: array[int],
        blob: bytes | memoryview,
        environment: Environment,
        function: Function | None = None,
        priority: int = 0,
        timeout: float | None = None,
        keep: float = 0.0,
        options: Options = PLAIN,
        tags: tuple[str, ...] = (),
        weight: float = 1.0,
        lot: Lot | None = None,
        lays: bool = False,
    ) -> None:
        """Nothing of it is queued yet. ``lengths`` are the bytes of each job in ``blob``; ``keep`` is for how long
        values are kept, seconds; ``tags`` are those of the options, and what stands for its session where that has a
        bound of its own; ``weight`` is its session's share beside others; ``lot`` is where that lies which its one job
        is called with, and the blob its parcel; with ``lays`` large values may be laid in shared memory.
        """
        self.name, self.pool, self.session = name, pool, session
        self.form, self.template, self.function = form, template, function
        self.lot, self.lays = lot, lays
        self.turn = 0
        """Which of the jobs this is that have been called with what lies in ``lot``."""
        self.lengths, self.blob = lengths, blob
        self.nbytes = blob.nbytes if isinstance(blob, memoryview) else len(blob)
        """Bytes of the whole payload."""
        self.count = len(lengths)
        self.environment, self.environment_key = environment, environment.key
        self.flow = (session, self.environment_key)
        self.priority, self.timeout, self.keep = priority, timeout, keep
        self.options, self.tags, self.weight = options, tags or options.tags, weight
        self.first_id = 0
        self.finished = False
        """Whoever wanted to know its end has been told."""
        self.trace: Trace | None = None
        self.held_by_pool: dict[str, int] | None = None
        """Where it is counted how many jobs are delayed or wait for others, once one of its own is."""
        self.in_queue = False
        """For the scheduler: it stands in a lane."""
        self.estimate = Estimate()
        self.submitted = 0.0
        self.states = bytearray(self.count)
        self.next = 0
        self.queued_count = self.count
        self.ended_count = 0
        self.started: array[float] = _DOUBLE * self.count
        self.ended: array[float] = _DOUBLE * self.count
        self.cpu: array[float] = _FLOAT * self.count
        """CPU seconds of the last attempt."""
        self.rss: array[int] = _WORD * self.count
        """The most resident memory of the last attempt, KiB."""
        self.workers: dict[int, tuple[int, int | None]] = {}
        """Worker id and pid by index, of jobs that have ended; where the batch is huge, of those that died with one."""
        self.settling: list[tuple[int, int]] = []
        """Runs (first, count) that have ended, of which the disk does not know yet: to the world, they have not."""
        self.values: dict[int, bytes] = {}
        self.output_bytes = 0
        self.on_piece: list[Callable[[Batch, Piece], None]] = []
        self.on_end: list[Callable[[Batch], None]] = []
        self._offsets: array[int] | None = None

    if not TYPE_CHECKING:  # which would take any name for one that there is

        def __getattr__(self, name: str) -> Any:
            """What most batches never have is made when it is first asked for."""
            make = _SELDOM.get(name)
            if make is None:
                raise AttributeError(name)
            made = make()
            setattr(self, name, made)
            return made

    # --- the payload

    def offset(self, index: int) -> int:
        """Where the payload of job ``index`` starts in the blob; ``index`` may be the count, for the end."""
        if index == 0:
            return 0
        if self._offsets is None:
            self._offsets = array("Q", itertools.accumulate(self.lengths))
        return self._offsets[index - 1]

    def payload(self, first: int, count: int) -> memoryview:
        """The payload of ``count`` jobs from ``first``, not copied."""
        if count == self.count:
            return memoryview(self.blob)
        return memoryview(self.blob)[self.offset(first) : self.offset(first + count)]

    def drop_payload(self) -> None:
        """All jobs have ended: what they were called with is no longer needed."""
        self.blob, self.lengths, self.function, self._offsets = b"", array("I"), None, None
        self.nbytes = 0
        self.after = set()

    def kept_bytes(self) -> int:
        """Bytes that are held for it: what its jobs were called with, their values and what they wrote."""
        kept = self.nbytes + self.output_bytes
        return kept + sum(map(len, self.values.values())) if self.values else kept

    def keep_output(self, index: int, output: Output) -> None:
        """Remember what a job wrote; what was written longest ago is forgotten where it is too much."""
        self.forget_output(index)
        if not output.out.size and not output.err.size:
            return
        self.outputs[index] = output
        self.output_bytes += output.kept_bytes
        while self.output_bytes > OUTPUT_BYTES and len(self.outputs) > 1:
            self.output_bytes -= self.outputs.pop(next(iter(self.outputs))).kept_bytes

    def forget_output(self, index: int) -> None:
        """What an earlier attempt wrote is no longer of interest."""
        if index in self.outputs:
            self.output_bytes -= self.outputs.pop(index).kept_bytes

    def drop_results(self) -> None:
        """Their time is over."""
        self.values.clear()
        self.outputs.clear()
        self.output_bytes = 0

    # --- states

    def take(self, most: int) -> tuple[int, int]:
        """The next run of at most ``most`` queued jobs as (first, count); (0, 0) when none is queued."""
        first = self.states.find(QUEUED, self.next)
        if first < 0:
            self.next = self.count
            return 0, 0
        end = min(first + most, self.count)
        if self.queued_count < self.count - first:  # there are holes: jobs that were cancelled or run already
            stop = first + 1
            while stop < end and self.states[stop] == QUEUED:
                stop += 1
            end = stop
        self.next = end
        return first, end - first

    def move(self, first: int, count: int, event: JobEvent) -> JobState:
        """Move jobs that are all in one state.

        Raises:
            IllegalMove: the lifecycle has no such step; nothing was changed.
        """
        before = self.states[first]
        after = AFTER.get((before, event))
        if after is None:
            return step(JOB_MOVES, STATES[before], event)
        if count == 1:
            self.states[first] = after
        else:
            self.states[first : first + count] = bytes((after,)) * count
        if self.held_by_pool is not None:
            turns = (after in HELD_CODES) - (before in HELD_CODES)
            self.held_by_pool[self.pool] = self.held_by_pool.get(self.pool, 0) + turns * count
        if before == QUEUED:
            self.queued_count -= count
        if after == QUEUED:
            self.queued_count += count
            self.next = min(self.next, first)
        if after in ENDED_CODES:
            self.ended_count += count
        elif before in ENDED_CODES:
            self.ended_count -= count
            self.finished = False
        return STATES[after]

    def move_all(self, state: JobState, event: JobEvent) -> int:
        """Move every job that is in this state; returns how many there were."""
        code, moved = CODE[state], 0
        first = self.states.find(code)
        while first >= 0:
            end = first + 1
            while end < self.count and self.states[end] == code:
                end += 1
            self.move(first, end - first, event)
            moved += end - first
            first = self.states.find(code, end)
        return moved

    def state(self, index: int) -> JobState:
        """The state of one job."""
        return STATES[self.states[index]]

    def is_ended(self, index: int) -> bool:
        """True when the job has ended, well or not, and that is kept where it is to be kept."""
        if self.settling and any(first <= index < first + count for first, count in self.settling):
            return False
        return self.states[index] in ENDED_CODES

    @property
    def all_done(self) -> bool:
        """True when every job has ended well."""
        return self.states.count(DONE) == self.count

    @property
    def over(self) -> bool:
        """True when every job has ended, and that is kept."""
        return self.ended_count == self.count and not self.settling

    def attempt(self, index: int) -> int:
        """The number of the attempt that a job is at, from 1."""
        return self.attempts.get(index, 1)

    def remember_attempt(self, index: int, attempt: AttemptInfo) -> None:
        """One has ended that was not the last."""
        history = self.history.setdefault(index, [])
        history.append(attempt)
        del history[:-KEPT_ATTEMPTS]

    def held(self) -> int:
        """How many of its jobs are delayed or wait for others."""
        return sum(self.states.count(code) for code in HELD_CODES)

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state, without the states that none is in."""
        if self.count == 1:
            return {str(STATES[self.states[0]]): 1}
        return {str(state): n for code, state in enumerate(STATES) if (n := self.states.count(code))}

    # --- telling

    def tell(self, piece: Piece) -> list[Exception]:
        """Pass results or a verdict on to whoever listens.

        Returns what listeners raised: one that fails must cost neither the others nor the jobs their end.
        """
        failures: list[Exception] = []
        for listener in tuple(self.on_piece):  # they may leave while being told
            try:
                listener(self, piece)
            except Exception as why:
                failures.append(why)
        return failures

    def tell_end(self) -> list[Exception]:
        """Every job has ended: say so, once. Returns as :meth:`tell`."""
        listeners, self.on_end = self.on_end, []
        failures = []
        for listener in listeners:
            try:
                listener(self)
            except Exception as why:
                failures.append(why)
        return failures

    def verdict(self, error: StokerError) -> ErrorInfo:
        """An error as the data that is kept and sent."""
        return ErrorInfo(
            code=error.wire_code, message=error.message, hint=error.hint, retryable=error.retryable, data=error.data
        )
