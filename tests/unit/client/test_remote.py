from __future__ import annotations

import pickle
from multiprocessing import pool

import pytest

from stoker.errors import JobFailed, ResultNotPackable, StokerError, WorkerDied
from stoker.remote import rebuild


class Picky(Exception):
    def __init__(self, one, two) -> None:
        super().__init__(f"{one} {two}")


def wire(**extra):
    return {"code": "job-failed", "message": "bad", "type": "ValueError", "traceback": "Traceback: in f", **extra}


def test_the_original_exception_comes_back_with_the_workers_traceback_as_its_cause():
    error = rebuild(wire(pickle=pickle.dumps(ValueError("bad", 7))))
    assert type(error) is ValueError
    assert error.args == ("bad", 7)
    assert isinstance(error.__cause__, pool.RemoteTraceback)
    assert "Traceback: in f" in str(error.__cause__)


@pytest.mark.parametrize("packed", [None, b"garbage", pickle.dumps("no exception"), pickle.dumps(Picky(1, 2))])
def test_one_that_cannot_be_unpickled_here_becomes_job_failed_with_all_that_is_known(packed):
    error = rebuild(wire(pickle=packed))
    assert isinstance(error, JobFailed)
    assert str(error) == "ValueError: bad"
    assert error.data == {"type": "ValueError", "traceback": "Traceback: in f"}
    assert isinstance(error.__cause__, pool.RemoteTraceback)


def test_the_daemons_verdict_becomes_its_own_class():
    error = rebuild({"code": "worker-died", "message": "killed", "data": {"signal": 9}})
    assert isinstance(error, WorkerDied)
    assert error.data == {"signal": 9}
    assert error.__cause__ is None


def test_a_result_that_could_not_be_packed_says_so():
    assert isinstance(rebuild({"code": "result-not-packable", "message": "a lock"}), ResultNotPackable)


def test_a_code_of_a_newer_daemon_is_kept():
    error = rebuild({"code": "new-verdict", "message": "x"})
    assert isinstance(error, StokerError)
    assert error.wire_code == "new-verdict"
