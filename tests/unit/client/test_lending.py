"""A job that waits lends its slot: told once for all that wait, and always taken back."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from tests.unit.cli.conftest import FakeDaemon

import stoker
from stoker import lending
from stoker.connection import Connection
from stoker.errors import StokerError
from stoker.session import Exchange


@pytest.fixture
def daemon(tmp_path) -> Iterator[FakeDaemon]:
    made = FakeDaemon(tmp_path / "control.sock")
    made.replies |= {"lend": {"lent": True}, "ping": {"time": 1.0, "pid": 1, "version": "x"}}
    yield made
    made.close()


@pytest.fixture
def connection(daemon) -> Iterator[Connection]:
    with stoker.Client(daemon.path) as client:
        yield client.connection


@pytest.fixture
def in_job(monkeypatch) -> None:
    monkeypatch.setenv("STOKER_JOB", "7")


def loans(daemon: FakeDaemon) -> list[bool]:
    return [params["lent"] for method, params in daemon.requests if method == "lend"]


def test_outside_of_a_job_there_is_nothing_to_lend(daemon, connection, monkeypatch):
    monkeypatch.delenv("STOKER_JOB", raising=False)
    assert not lending.wait(connection, Exchange(), 2 * lending.MOMENT)
    assert loans(daemon) == []


@pytest.mark.usefixtures("in_job")
def test_a_wait_that_is_over_in_a_moment_is_told_to_nobody(daemon, connection):
    settled = Exchange()
    settled.settled = True
    assert lending.wait(connection, settled, None)
    assert not lending.wait(connection, Exchange(), lending.MOMENT)
    assert not lending.wait(connection, Exchange(), 0)
    assert loans(daemon) == []


@pytest.mark.usefixtures("in_job")
def test_a_longer_wait_lends_and_takes_back(daemon, connection):
    assert not lending.wait(connection, Exchange(), 3 * lending.MOMENT)
    assert loans(daemon) == [True, False]


def test_several_threads_that_wait_lend_once(daemon, connection):
    inside, leave = threading.Semaphore(0), threading.Event()

    def wait() -> None:
        with lending.lent(connection):
            inside.release()
            leave.wait(30)

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert inside.acquire(timeout=30)
    assert loans(daemon) == [True]
    leave.set()
    for thread in threads:
        thread.join()
    assert loans(daemon) == [True, False]
    assert connection.lenders == 0


@pytest.mark.parametrize("how", [KeyboardInterrupt, SystemExit, ValueError])
def test_a_loan_ends_also_where_the_wait_was_broken_off(daemon, connection, how):
    with pytest.raises(how), lending.lent(connection):
        raise how
    assert loans(daemon) == [True, False]
    assert connection.lenders == 0


def test_a_ctrl_c_in_the_wait_itself_ends_the_loan(daemon, connection, in_job, monkeypatch):
    waits = iter([False, KeyboardInterrupt])
    plain = connection.wait

    def wait(slot: object, timeout: float | None = None) -> bool:
        if not isinstance(slot, Awaited):
            return plain(slot, timeout)
        told = next(waits)
        if told is KeyboardInterrupt:
            raise KeyboardInterrupt
        return bool(told)

    monkeypatch.setattr(connection, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        lending.wait(connection, Awaited(), None)
    assert loans(daemon) == [True, False]


class Awaited(Exchange):
    """What the job waits for."""


def test_a_daemon_that_refuses_to_lend_does_not_break_the_wait(daemon, connection):
    daemon.replies["lend"] = StokerError("no")
    with lending.lent(connection):
        pass
    assert loans(daemon) == [True, False]


def test_a_second_loan_is_told_of_anew(daemon, connection):
    for _ in range(2):
        with lending.lent(connection), lending.lent(connection):
            pass
    assert loans(daemon) == [True, False, True, False]
