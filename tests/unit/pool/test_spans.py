"""Both ends of a worker's channel in one process: whatever happens, and at whatever moment, each job has one end.

The worker's own code runs, on a real socketpair and a real shared page. What the daemon does meanwhile is done between
any two lines of it, as if on another core; and there it may die, as if by SIGKILL.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.pool.parts import HERE, HandClock, Pretence, make_batch

from stoker.protocol.states import WorkerState
from stokerd.child import Exit
from stokerd.output import Output
from stokerd.pool import messages, outbox, page, worker_main
from stokerd.pool.batch import Batch
from stokerd.pool.results import runs
from stokerd.pool.worker import Ran, Span, Worker

STEPPED = {worker_main.__file__, outbox.__file__}
KILLED = Exit(code=-9)


class Case:
    """A worker, its daemon's end, and a tally of what became of each job, by number."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.child = Pretence()
        self.near = Worker(1, HERE, self.clock, self, output_bytes=1000)
        self.near.attach(self.child)
        worker_main.STDOUT, worker_main.STDERR = self.child.far_output
        self.far = worker_main.Worker(FarEnd(self), self.child.far_page, 1_000_000, begins=False, claims="")
        worker_main.STDOUT, worker_main.STDERR = 1, 2
        self.far._functions._known[b"f"] = self.job
        self.actions: dict[int, Callable[[], None]] = {}
        self.ticks = 0
        self.batches: list[tuple[Batch, int]] = []
        self.executed: list[int] = []
        self.ended: list[int] = []
        self.returned: list[int] = []
        self.victims: list[int] = []
        self.output: dict[int, Output] = {}
        self.dead = False
        self.now: Callable[[], None] | None = None
        self.jobs = 0
        self.pump()
        self.read()

    # --- the job, in the worker

    def job(self, what: tuple[int, int, str]) -> bytes:
        number, size, kind = what
        if not self.dead:
            self.executed.append(number)
            if "writes" in kind:
                os.write(self.child.far_output[0], b"job %d;" % number)
        if "acts" in kind and self.now is not None:
            self.now()
        if "fails" in kind:
            raise ValueError(number)
        return _value(number, size)

    # --- what the daemon does

    def hand_over(self, jobs: list[tuple[int, str]]) -> None:
        """Hand it a batch, in spans."""
        first = self.jobs
        self.jobs += len(jobs)
        payloads = [pickle.dumps((first + index, *job)) for index, job in enumerate(jobs)]
        batch = make_batch(payloads=payloads)
        self.batches.append((batch, first))
        half = len(jobs) // 2
        for index, count in ((0, half), (half, len(jobs) - half)):
            if count:
                batch.move(index, count, "dispatch")  # type: ignore[arg-type]
                self.near.hand_over(batch, index, count, 0.001)

    def read(self) -> None:
        if not self.dead:
            self.near.wire.read()

    def take_back(self) -> None:
        if not self.dead:
            self.near.take_back()

    def collect(self) -> None:
        if not self.dead:
            self.near.collect(-1e12)

    def settle(self) -> None:
        self.clock.advance(page.SETTLE)

    def die(self) -> None:
        if not self.dead:
            self.dead = True
            self.near.gone(KILLED)

    # --- what the worker's owner is told

    def worker_ready(self, worker: Worker) -> None:
        assert worker.state is WorkerState.IDLE

    def worker_has_room(self, worker: Worker) -> None:
        assert worker.outstanding == sum(span.count for span in worker.spans) >= 0

    def jobs_ended(
        self, _worker: Worker, span: Span, lengths: array[int], blob: bytes, ran: Ran, _lot: object = None
    ) -> None:
        assert ran.seconds >= 0
        for first, part, data, failed in runs(lengths, blob):
            at = 0
            for offset, length in enumerate(part):
                number = self.number(span, first + offset)
                one = data[at : at + (length & messages.LENGTH)]
                at += len(one)
                if failed:
                    assert str(number).encode() in one
                else:
                    value = pickle.loads(one)
                    assert value == _value(number, len(value))
                self.ended.append(number)

    def jobs_returned(self, _worker: Worker, span: Span) -> None:
        self.returned += [self.number(span, offset) for offset in range(span.count)]

    def worker_gone(self, _worker: Worker, how: Exit, victim: Span | None) -> None:
        if victim is not None:
            assert victim.count == 1
            self.victims.append(self.number(victim, 0))

    def number(self, span: Span, offset: int) -> int:
        return next(first for batch, first in self.batches if batch is span.batch) + span.index + offset

    # --- the run

    def run(self) -> None:
        """Have the worker do all it was handed, then end it, and check what came of each job."""
        with stepped(self.tick):
            self.pump()
        self.now, self.actions = None, {}
        while not self.dead and (self.near.taking_back or self.near.outstanding):
            self.settle()
            self.read()
            self.pump()
        if not self.dead:
            self.near.stop()
            self.pump()
            self.dead = True
            self.near.gone(Exit(code=0))
            assert not self.victims
        self.check()

    def pump(self) -> None:
        try:
            self.far.serve()
        except BlockingIOError:
            return  # it has run all that it was given
        except (BrokenPipeError, ConnectionResetError):
            assert self.dead

    def tick(self) -> None:
        self.ticks += 1
        action = self.actions.get(self.ticks)
        if action is not None:
            action()

    def check(self) -> None:
        ends = [*self.ended, *self.returned, *self.victims]
        assert sorted(ends) == list(range(self.jobs)), "each job ends once, is returned, or is the victim"
        assert len(self.victims) <= 1
        assert sorted(set(self.executed)) == sorted(self.executed), "no job is run twice"
        assert not set(self.returned) & set(self.executed), "what was returned was never run"
        assert set(self.ended) <= set(self.executed)
        assert self.ended == sorted(self.ended)
        assert self.near.outstanding == 0
        for batch, first in self.batches:
            for index, output in batch.outputs.items():
                assert output.out.head == b"job %d;" % (first + index)

    def close(self) -> None:
        if not self.dead:
            self.near.gone(KILLED)
        self.far._words.release()
        self.child.close()
        os.close(self.far._stdout)
        os.close(self.far._stderr)


class FarEnd:
    """The worker's end of the channel: what it sends goes in two parts, between which anything may happen."""

    def __init__(self, case: Case) -> None:
        self._case, self._socket = case, case.child.far

    def fileno(self) -> int:
        return self._case.child.far_output[0]  # a file, which can always be read: nobody sleeps here

    def recv_into(self, view: memoryview) -> int:
        return self._socket.recv_into(view)

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        self._send(view[: len(view) // 2])
        self._case.tick()
        self._send(view[len(view) // 2 :])

    def _send(self, view: memoryview) -> None:
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                self._case.read()


def _value(number: int, size: int) -> bytes:
    return bytes([number % 251]) * size


@contextmanager
def stepped(tick: Callable[[], None]) -> Iterator[None]:
    """Call ``tick`` before each line of the worker's code."""
    inside = False

    def trace(frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal inside
        if frame.f_code.co_filename not in STEPPED or inside:
            return None
        if event == "line":
            inside = True
            try:
                tick()
            finally:
                inside = False
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


KINDS = st.sampled_from(["", "", "", "fails", "writes", "writes fails", "acts"])
SIZES = st.sampled_from([0, 1, 10, 1000, page.OUTBOX_BYTES - 200, page.OUTBOX_BYTES + 1])
BATCHES = st.lists(st.lists(st.tuples(SIZES, KINDS), min_size=1, max_size=8), min_size=1, max_size=3)
ACTIONS = ("read", "take_back", "settle", "collect", "die")


def example(batches: list[list[tuple[int, str]]], schedule: dict[int, str], during: str = "read") -> Case:
    case = Case()
    try:
        for jobs in batches:
            case.hand_over(jobs)
        case.actions = {tick: getattr(case, name) for tick, name in schedule.items()}
        case.now = getattr(case, during)
        case.run()
    finally:
        case.close()
    return case


@given(BATCHES, st.dictionaries(st.integers(1, 250), st.sampled_from(ACTIONS), max_size=8), st.sampled_from(ACTIONS))
@settings(max_examples=400, deadline=None)
def test_each_job_has_exactly_one_end(batches: list[list[tuple[int, str]]], schedule: dict[int, str], during: str):
    example(batches, schedule, during)


@pytest.mark.parametrize("taken_back", [False, True])
def test_death_between_any_two_lines_costs_at_most_the_job_that_ran(taken_back: bool):
    jobs = [[(3, ""), (3, "fails"), (3, "writes"), (page.OUTBOX_BYTES + 1, ""), (3, ""), (3, "")]]
    whole = example(jobs, {})
    assert whole.ticks > 100
    assert len(whole.ended) == 6
    victims = set()
    for moment in range(1, whole.ticks + 1):
        schedule = {moment: "die"}
        if taken_back and moment > 1:
            schedule[moment // 2] = "take_back"
        case = example(jobs, schedule)
        victims.update(case.victims)
    assert len(victims) >= 5, "each of them was hit in its turn"


@pytest.mark.parametrize("settle_after", [1, 2, 5, 20])
def test_jobs_taken_back_between_any_two_lines_are_run_or_returned_and_never_both(settle_after: int):
    jobs = [[(3, "")] * 3, [(3, "")] * 3]
    ticks = example(jobs, {}).ticks
    returned = set()
    for moment in range(1, ticks):
        schedule = {moment: "take_back", moment + settle_after: "settle", moment + 2 * settle_after: "take_back"}
        returned.add(len(example(jobs, schedule).returned))
    assert {1, 2, 3, 4} <= returned


def test_a_worker_is_handed_nothing_while_jobs_are_taken_back_from_it():
    case = Case()
    try:
        case.hand_over([(3, "")] * 4)
        assert case.near.has_room(1.0, 1.0)
        case.take_back()
        assert not case.near.has_room(1.0, 1.0)
        case.settle()
        assert len(case.returned) == 4
        assert case.near.has_room(1.0, 1.0)
        case.hand_over([(3, "")] * 2)
        case.pump()
        case.read()
        assert case.executed == [4, 5], "the worker skipped what had been taken back, and ran what came after"
    finally:
        case.close()


def test_results_that_wait_behind_a_long_job_are_collected_between_any_two_lines_and_once():
    jobs = [[(3, ""), (3, "fails"), (3, "writes"), (3, ""), (3, "")]]
    ticks = example(jobs, {}).ticks
    for moment in range(1, ticks):
        for other in (1, 5, 20):
            example(jobs, {moment: "collect", moment + other: "collect", moment + 2 * other: "read"})
    case = Case()
    try:
        case.hand_over([*jobs[0][:3], (3, "acts")])
        seen: list[list[int]] = []

        def look() -> None:
            case.collect()
            seen.append(list(case.ended))

        case.now = look
        case.run()
        assert seen == [[0, 1, 2]]
    finally:
        case.close()


def test_more_results_than_an_outbox_holds_arrive_in_order():
    case = example([[(0, "")] * (3 * page.OUTBOX_JOBS)], {})
    assert case.ended == list(range(3 * page.OUTBOX_JOBS))


def test_a_dead_worker_s_last_words_are_its_victim_s():
    case = Case()
    try:
        case.hand_over([(3, "writes"), (3, "writes acts"), (3, "writes")])
        case.now = case.die
        case.run()
        assert (case.ended, case.victims, case.returned) == ([0], [1], [2])
        batch = case.batches[0][0]
        assert {index: output.out.head for index, output in batch.outputs.items()} == {0: b"job 0;", 1: b"job 1;"}
    finally:
        case.close()


@pytest.mark.parametrize(
    "nonsense",
    [
        b"hello, world, I am a job that writes where it should not",
        messages.pack(messages.RESULTS, seq=1, count=0),
        messages.pack(messages.RESULTS, size=1 << 60, seq=1, count=1),
        messages.pack(99, size=0),
        messages.pack(messages.RESULTS, size=4, seq=7, count=1) + b"\0\0\0\0",
    ],
)
def test_a_worker_that_talks_nonsense_is_killed_and_no_longer_believed(nonsense: bytes):
    case = Case()
    try:
        case.hand_over([(3, "")] * 3)
        case.child.far.send(nonsense * 3)
        case.read()
        assert case.child.signals
        assert set(case.child.signals) == {9}
        case.read()
        case.die()
        assert (case.victims, sorted(case.returned)) == ([0], [1, 2]), "or else the job would do it again, for ever"
    finally:
        case.close()


def test_a_job_that_scribbles_over_the_shared_page_is_the_victim_of_its_worker_s_death():
    case = Case()
    try:
        case.hand_over([(3, "acts"), (3, ""), (3, "")])

        def scribble() -> None:
            case.child.far_page[:1000] = b"nonsense" * 125
            case.die()

        case.now = scribble
        case.run()
        assert (case.victims, sorted(case.returned)) == ([0], [1, 2])
    finally:
        case.close()


def test_nothing_is_left_open_when_a_worker_is_gone():
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    case = Case()
    case.near.gone(KILLED)
    case.dead = True
    assert case.child.page.closed
    case.close()
    del case
    gc.collect()  # the far end's outbox holds its own view of the page
    assert len(list(Path("/proc/self/fd").iterdir())) == before
