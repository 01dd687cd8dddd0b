"""``stoker.Executor`` on a real daemon."""

from __future__ import annotations

import concurrent.futures
import math
import os
import threading
import time
from pathlib import Path

import pytest

import stoker
from stoker.errors import CannotPack, DaemonLost, JobCancelled, WorkerDied

WAIT = 60


@pytest.fixture
def client(daemon):
    with stoker.Client(daemon.endpoint) as client:
        yield client


@pytest.fixture
def executor(client):
    with stoker.Executor(client=client) as executor:
        yield executor


def blocker(executor, tmp_path, count):
    """Calls that run until a file appears, and how to let them go."""
    flag = tmp_path / "go"

    def until(path, number):
        while not Path(path).exists():
            time.sleep(0.01)
        return number

    return [executor.submit(until, str(flag), number) for number in range(count)], flag.touch


def test_it_is_a_real_executor_with_real_futures(executor):
    future = executor.submit(math.factorial, 5)
    assert isinstance(executor, concurrent.futures.Executor)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(WAIT) == 120
    assert executor._max_workers == 2


def test_wait_and_as_completed_take_its_futures(executor):
    futures = {executor.submit(pow, 2, n): n for n in range(50)}
    assert {future.result() for future in concurrent.futures.as_completed(futures, WAIT)} == {2**n for n in range(50)}
    done, rest = concurrent.futures.wait(futures, WAIT)
    assert (len(done), len(rest)) == (50, 0)


@pytest.mark.parametrize("chunksize", [1, 13])
def test_map_keeps_the_order(executor, chunksize):
    assert list(executor.map(abs, range(-2000, 0), chunksize=chunksize)) == list(range(2000, 0, -1))
    assert list(executor.map(pow, [2, 3], [5, 2], chunksize=chunksize)) == [32, 9]


def test_map_gives_up_in_time(executor, tmp_path):
    with pytest.raises(TimeoutError):
        list(executor.map(time.sleep, [30], timeout=0.05))
    for future in list(executor._running):
        assert executor.kill(future)


def test_an_exception_is_the_futures(executor):
    future = executor.submit(math.factorial, -1)
    assert isinstance(future.exception(WAIT), ValueError)


def test_what_cannot_travel_fails_its_own_future_only(executor):
    bad, good = executor.submit(len, threading.Lock()), executor.submit(len, "ab")
    assert isinstance(bad.exception(WAIT), CannotPack)
    assert good.result(WAIT) == 2


def test_a_dead_worker_fails_its_own_future_only(executor):
    futures = [executor.submit(abs, n) for n in range(20)]
    victim = executor.submit(os._exit, 7)
    futures += [executor.submit(abs, n) for n in range(20)]
    assert isinstance(victim.exception(WAIT), WorkerDied)
    assert [future.result(WAIT) for future in futures] == [*range(20), *range(20)]


def test_callbacks_may_submit(executor):
    results, done = [], threading.Event()

    def again(future):
        results.append(future.result())
        if len(results) < 5:
            executor.submit(abs, -len(results)).add_done_callback(again)
        else:
            done.set()

    executor.submit(abs, 0).add_done_callback(again)
    assert done.wait(WAIT)
    assert results == [0, 1, 2, 3, 4]


def test_a_pending_future_can_be_cancelled_and_a_running_one_cannot(executor, tmp_path):
    futures, go = blocker(executor, tmp_path, 40)
    assert futures[0].running()
    assert not futures[0].cancel()
    assert futures[-1].cancel()
    go()
    assert [future.result(WAIT) for future in futures[:-1]] == list(range(39))
    assert futures[-1].cancelled()


def test_kill_ends_a_running_call(executor):
    future = executor.submit(time.sleep, 600)
    assert executor.kill(future)
    assert isinstance(future.exception(WAIT), JobCancelled)
    assert not executor.kill(future)


def test_shutdown_with_cancel_futures_drops_what_is_pending(client, tmp_path):
    executor = stoker.Executor(client=client)
    futures, go = blocker(executor, tmp_path, 40)
    executor.shutdown(wait=False, cancel_futures=True)
    go()
    done, _ = concurrent.futures.wait(futures, WAIT)
    assert len(done) == 40
    assert sum(future.cancelled() for future in futures) >= 30
    assert all(future.cancelled() or future.exception() is None for future in futures)
    with pytest.raises(RuntimeError):
        executor.submit(abs, 1)


def test_never_more_than_max_workers_are_handed_over(client, tmp_path):
    with stoker.Executor(max_workers=1, client=client) as executor:
        futures, go = blocker(executor, tmp_path, 5)
        assert [future.running() for future in futures] == [True, False, False, False, False]
        go()
        assert [future.result(WAIT) for future in futures] == list(range(5))
    with pytest.raises(ValueError, match="max_workers"):
        stoker.Executor(max_workers=0, client=client)


def test_a_storm_comes_back_whole(executor):
    futures = [executor.submit(abs, -n) for n in range(20_000)]
    assert [future.result(WAIT) for future in futures] == list(range(20_000))


def test_the_daemons_death_fails_every_future(start_daemon):
    daemon = start_daemon()
    client = stoker.Client(daemon.endpoint)
    executor = stoker.Executor(client=client)
    futures = [executor.submit(time.sleep, 600) for _ in range(3)]
    daemon.kill()
    assert [type(future.exception(WAIT)) for future in futures] == [DaemonLost] * 3
    executor.shutdown()
    client.close()
