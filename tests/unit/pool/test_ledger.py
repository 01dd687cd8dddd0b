"""What is durable of jobs: after a restart each batch is what it was. The store is a real one, on disk."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.pool.parts import make_batch
from tests.unit.store.stores import Stored

from stoker.errors import Unavailable
from stoker.protocol.models import AttemptInfo, ErrorInfo
from stoker.protocol.states import JobEvent, JobState
from stokerd.output import Kept, Output
from stokerd.pool import messages
from stokerd.pool.batch import Batch, Function
from stokerd.pool.claims import Claims, write_to
from stokerd.pool.ledger import CODE, ENDED, Ledger
from stokerd.pool.options import Options
from stokerd.promise import Promise

WORKER = 4
OUTPUT = Output(Kept(b"out", b"put", 100), Kept(b"", b"", 0))
TOLD = ErrorInfo(code="job-cancelled", message="the job was cancelled", hint="so be it", data={"by": "hand"})


class Book:
    """A ledger on a store, and what a pool does with it."""

    def __init__(self, stored: Stored, claims: Claims | None = None) -> None:
        self.stored = stored
        self.ledger = Ledger(stored.store, claims)

    def accept(self, batch: Batch) -> Batch:
        batch.first_id = batch.first_id or 1
        accepted = self.ledger.accept([batch])
        assert accepted is not None
        self.stored.wait(accepted)
        return batch

    def start(self, batch: Batch, first: int, count: int, *, seq: int = 1) -> None:
        batch.move(first, count, JobEvent.DISPATCH)
        batch.started[first : first + count] = array("d", [500.0]) * count
        assert self.ledger.started(batch, first, count, WORKER, seq) is not None

    def give_back(self, batch: Batch, first: int, count: int) -> None:
        batch.move(first, count, JobEvent.RETURN)
        self.ledger.returned(batch, first, count)

    def end(self, batch: Batch, index: int, event: JobEvent, *, value: bytes = b"", error: ErrorInfo | None = None):
        if batch.state(index) is JobState.RUNNING:
            batch.workers[index] = (WORKER, 77)
        batch.move(index, 1, event)
        batch.ended[index], batch.cpu[index], batch.rss[index] = 600.0, 0.5, 1234
        lengths = b""
        if error is None:
            mark = messages.ERROR if event is JobEvent.FAIL else 0
            lengths = array("I", [len(value) | mark]).tobytes()
            batch.values[index] = value
        else:
            batch.errors[index] = error
        self.ledger.ended(batch, index, 1, event=event, error=error, lengths=lengths, blob=value)

    def again(self, batch: Batch, index: int, *, deaths: int = 0) -> None:
        if deaths:
            batch.deaths[index] = deaths
        attempt = self._attempt(batch, index)
        batch.move(index, 1, JobEvent.RETURN)
        batch.due[index] = 900.0
        self.ledger.again(batch, index, attempt, 900.0)
        self._next(batch, index, attempt)

    def retry(self, batch: Batch, index: int) -> None:
        attempt = self._attempt(batch, index)
        batch.move(index, 1, JobEvent.RETRY)
        self.ledger.retried(batch, index, attempt)
        self._next(batch, index, attempt)

    @staticmethod
    def _attempt(batch: Batch, index: int) -> AttemptInfo:
        return AttemptInfo(
            attempt=batch.attempt(index), state=JobState.FAILED, started=500.0, ended=550.0, message="no"
        )

    @staticmethod
    def _next(batch: Batch, index: int, attempt: AttemptInfo) -> None:
        batch.remember_attempt(index, attempt)
        batch.attempts[index] = attempt.attempt + 1
        batch.errors.pop(index, None)
        batch.values.pop(index, None)
        batch.forget_output(index)


def durable(count: int = 1, **options: Any) -> Batch:
    return make_batch(count, keep=60.0, priority=3, timeout=9.0, options=Options(durable=True, **options))


def of(batch: Batch) -> dict[str, Any]:
    """All that must be the same after a restart."""
    plain = ("name", "pool", "session", "form", "template", "priority", "timeout", "keep", "options", "submitted")
    kept = ("first_id", "count", "values", "errors", "outputs", "history", "attempts", "deaths", "due", "workers")
    return {name: getattr(batch, name) for name in plain + kept} | {
        "states": bytes(batch.states),
        "lengths": batch.lengths.tolist(),
        "blob": bytes(batch.blob),
        "environment": batch.environment,
        "code": None if batch.function is None else (batch.function.reference, batch.function.code),
        "counted": (batch.queued_count, batch.ended_count),
        "times": [(batch.started[i], batch.ended[i], batch.cpu[i], batch.rss[i]) for i in range(batch.count)],
    }


Open = Callable[..., Stored]


def restarted(open_store: Open, stored: Stored, claims: Claims | None = None) -> list[Batch]:
    stored.close()
    return list(Ledger(open_store().store, claims).recover())


# --- round trips

STEPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.binary(max_size=40)), max_size=25)


@given(steps=STEPS, large=st.booleans())
@settings(max_examples=25, deadline=None)
def test_whatever_happened_to_jobs_they_are_the_same_after_a_restart(tmp_path_factory, steps, large):
    folder = tmp_path_factory.mktemp("state")
    stored = Stored(folder / "s")
    book = Book(stored)
    batch = book.accept(durable(4, retries=3, retry_on=("OSError",), tags=("a", "b"), requeue=True))
    for index, what, value in steps:
        act(book, batch, index, what, value * (100 if large else 1))
    for index in range(batch.count):
        if batch.state(index) is JobState.RUNNING:
            book.give_back(batch, index, 1)
    stored.close()
    again = Stored(folder / "s")
    (found,) = Ledger(again.store).recover()
    assert of(found) == of(batch) | {"session": "~s1"}, "of the session that it was, which is over"
    again.close()


def act(book: Book, batch: Batch, index: int, what: int, value: bytes) -> None:
    """One of the things that can happen to a job, if it can in its state."""
    state = batch.state(index)
    if state is JobState.QUEUED and what < 5:
        book.start(batch, index, 1)
    elif state is JobState.QUEUED:
        book.end(batch, index, JobEvent.CANCEL, error=TOLD)
    elif state is JobState.RUNNING:
        if what == 0:
            batch.keep_output(index, OUTPUT)
        if what in (0, 1):
            book.end(batch, index, JobEvent.SUCCEED, value=value)
        elif what == 2:
            book.end(batch, index, JobEvent.FAIL, value=value)
        elif what == 3:
            book.end(batch, index, JobEvent.TIME_OUT, error=TOLD)
        elif what == 4:
            book.again(batch, index, deaths=1)
        elif what == 5:
            book.again(batch, index)
        else:
            book.give_back(batch, index, 1)
    elif state is not JobState.DONE and what == 6:
        book.retry(batch, index)


def test_a_run_of_jobs_that_ended_together_has_each_its_value(open_store):
    stored = open_store()
    book = Book(stored)
    batch = book.accept(durable(4))
    book.start(batch, 0, 4)
    batch.move(1, 3, JobEvent.SUCCEED)
    batch.keep_output(2, OUTPUT)
    lengths = array("I", [1, 0, 5]).tobytes()
    book.ledger.ended(batch, 1, 3, event=JobEvent.SUCCEED, error=None, lengths=lengths, blob=memoryview(b"abbbbb"))
    book.give_back(batch, 0, 1)
    (found,) = restarted(open_store, stored)
    assert found.values == {1: b"a", 2: b"", 3: b"bbbbb"}
    assert found.outputs == {2: OUTPUT}
    assert found.counts() == {"queued": 1, "done": 3}


def test_a_function_that_was_uploaded_comes_back_with_its_code(open_store):
    stored = open_store()
    code = b"code" * 1000
    batch = make_batch(
        template=b"sha256:1", function=Function(b"sha256:1", code, "f"), options=Options(durable=True), keep=1.0
    )
    Book(stored).accept(batch)
    (found,) = restarted(open_store, stored)
    assert found.function is not None
    assert (found.function.reference, found.function.code, found.function.name) == (b"sha256:1", code, "f")


def test_a_command_comes_back_as_it_was(open_store):
    stored = open_store()
    batch = make_batch(form=messages.COMMAND, template=b"", payloads=[b"argv"], options=Options(durable=True))
    Book(stored).accept(batch)
    (found,) = restarted(open_store, stored)
    assert found.form == messages.COMMAND
    assert bytes(found.payload(0, 1)) == b"argv"


def test_jobs_that_need_not_be_waited_for_any_more_are_left_out(open_store):
    stored = open_store()
    book = Book(stored)
    batch = durable(after=(7, 8, 9))
    batch.first_id = 10
    book.accept(batch)
    book.ledger.met(batch, [9, 7])
    (found,) = restarted(open_store, stored)
    assert found.options.after == (8,)


def test_only_what_is_durable_is_written(open_store):
    stored = open_store()
    ledger = Ledger(stored.store)
    passing = make_batch()
    passing.first_id = 1
    assert ledger.accept([passing]) is None
    assert ledger.started(passing, 0, 1, WORKER, 1) is None
    assert ledger.ended(passing, 0, 1, event=JobEvent.SUCCEED, error=None, lengths=b"", blob=b"") is None
    assert restarted(open_store, stored) == []


def test_what_is_forgotten_does_not_come_back(open_store):
    stored = open_store()
    book = Book(stored)
    batch = book.accept(durable())
    book.ledger.forget(batch)
    book.ledger.forget(batch)
    assert restarted(open_store, stored) == []


def test_without_a_store_nothing_is_durable_and_nothing_is_lost_on_the_way():
    ledger = Ledger()
    assert not ledger.keeps
    assert ledger.next_id == 1
    assert ledger.claim_path(1) == ""
    ledger.check([make_batch()])
    with pytest.raises(Unavailable, match="keeps nothing on disk"):
        ledger.check([make_batch(), durable()])
    assert ledger.accept([durable()]) is None
    ledger.give_out(5, 1)
    ledger.worker_gone(1)
    assert list(ledger.recover()) == []


# --- what workers had begun with


@pytest.fixture
def claims(tmp_path) -> Claims:
    return Claims(tmp_path / "claims")


def handed(open_store: Open, claims: Claims, begun: int | None) -> list[Batch]:
    """A daemon handed out jobs 0 to 4 under the seqs 11 to 15; a worker wrote the seq ``begun`` before all died."""
    stored = open_store()
    book = Book(stored, claims)
    batch = book.accept(durable(5))
    if begun is not None:
        word = write_to(book.ledger.claim_path(WORKER))
        word[0] = begun
        word.release()
    book.start(batch, 0, 5, seq=11)
    return restarted(open_store, stored, claims)


@pytest.mark.parametrize("begun", [0, 10, 11, 13, 15])
def test_what_a_worker_held_and_had_not_begun_is_queued_again(open_store, claims, begun):
    (found,) = handed(open_store, claims, begun)
    states = [found.state(index) for index in range(5)]
    running = max(0, begun - 10)
    assert states == [JobState.RUNNING] * running + [JobState.QUEUED] * (5 - running)


def test_what_a_worker_was_handed_that_could_not_write_may_have_begun(open_store, claims):
    (found,) = handed(open_store, claims, None)
    assert found.counts() == {"running": 5}


@pytest.mark.parametrize("content", [b"", b"123", b"x" * 100])
def test_where_a_worker_s_word_can_t_be_read_all_that_it_had_may_have_begun(open_store, claims, content):
    stored = open_store()
    book = Book(stored, claims)
    batch = book.accept(durable(5))
    Path(book.ledger.claim_path(WORKER)).write_bytes(content)
    book.start(batch, 0, 5, seq=11)
    (found,) = restarted(open_store, stored, claims)
    assert found.counts() == {"running": 5}


def test_after_another_boot_of_the_machine_all_that_was_handed_over_may_have_begun(open_store, tmp_path, monkeypatch):
    monkeypatch.setattr("stokerd.pool.claims.boot", lambda: "before")
    claims = Claims(tmp_path / "claims")
    monkeypatch.undo()
    stored = open_store()
    book = Book(stored, claims)
    batch = book.accept(durable(2))
    write_to(book.ledger.claim_path(WORKER)).release()
    book.start(batch, 0, 2)
    (found,) = restarted(open_store, stored, Claims(tmp_path / "claims"))
    assert found.counts() == {"running": 2}


def test_words_of_earlier_daemons_are_cleared_after_they_were_read(open_store, claims, tmp_path):
    handed(open_store, claims, 12)
    assert list((tmp_path / "claims").iterdir()) == []


def test_a_worker_s_word_stays_until_what_it_had_is_on_disk(open_store, claims):
    stored = open_store()
    book = Book(stored, claims)
    batch = book.accept(durable())
    path = Path(book.ledger.claim_path(WORKER))
    write_to(str(path)).release()
    book.start(batch, 0, 1)
    book.end(batch, 0, JobEvent.WORKER_DIE, error=TOLD)
    book.ledger.worker_gone(WORKER)
    assert path.exists()
    stored.wait(stored.store.move([]))
    assert not path.exists()


# --- damage, and ids


def damage(stored: Stored) -> None:
    for name in stored.files():
        (stored.folder / "payloads" / name).unlink()


def test_a_job_whose_arguments_are_lost_fails_and_says_so(open_store):
    stored = open_store()
    Book(stored).accept(make_batch(2, size=5000, options=Options(durable=True)))
    stored.close()
    damage(stored)
    (found,) = Ledger(open_store().store).recover()
    assert found.counts() == {"failed": 2}
    assert found.over
    assert "damaged" in found.errors[0].message
    assert found.errors[1].code == "job-failed"


def test_a_value_that_is_lost_is_not_taken_for_an_empty_one(open_store):
    stored = open_store()
    book = Book(stored)
    batch = book.accept(durable(2))
    book.start(batch, 0, 2)
    batch.keep_output(0, OUTPUT)
    book.end(batch, 0, JobEvent.SUCCEED, value=b"v" * 5000)
    book.end(batch, 1, JobEvent.SUCCEED, value=b"")
    stored.close()
    damage(stored)
    (found,) = Ledger(open_store().store).recover()
    assert found.counts() == {"done": 2}
    assert found.values == {1: b""}


def test_ids_never_go_back_across_restarts(open_store):
    stored = open_store()
    given = 0
    for count in (1, 50_000, 3, 1):
        ledger = Ledger(stored.store)
        assert ledger.next_id > given
        given = ledger.next_id + count - 1
        ledger.give_out(given + 1, count)
        stored.close()
        stored = open_store()
    assert Ledger(stored.store).next_id > given


def test_ids_of_a_daemon_that_was_killed_are_not_given_out_again(open_store):
    stored = open_store()
    ledger = Ledger(stored.store)
    ledger.give_out(101, 100)
    stored.wait(stored.store.move([]))
    stored.store.abort()
    assert Ledger(open_store().store).next_id > 100


def test_an_accept_with_code_is_answered_when_both_are_on_disk(open_store):
    stored = open_store()
    batch = make_batch(
        template=b"sha256:1", function=Function(b"sha256:1", b"code", "f"), options=Options(durable=True)
    )
    batch.first_id = 1
    accepted: Promise[None] | None = Ledger(stored.store).accept([batch])
    assert accepted is not None
    stored.wait(accepted)
    stored.store.abort()
    ((found,),) = [list(Ledger(open_store().store).recover())]
    assert found.function is not None
    assert found.function.code == b"code"


def test_what_a_record_calls_things_is_part_of_the_format():
    assert (CODE, ENDED) == ("code", "ended"), "a daemon that is newer reads what an older one has written"
