"""``stoker.Executor`` on a real daemon."""

from __future__ import annotations

import concurrent.futures
import gc
import math
import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from tests.daemons import wait_until

import stoker
from stoker.errors import (
    ArgumentsNotReadable,
    CannotPack,
    DaemonLost,
    InitializerFailed,
    JobCancelled,
    NoSuchPool,
    ResultNotPackable,
    WorkerDied,
)

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
    ends = [future.exception(WAIT) for future in futures]
    assert all(isinstance(end, DaemonLost) for end in ends), ends
    executor.shutdown()
    client.close()


# --- pools of its own


def test_more_workers_than_the_pool_has_are_the_executors_own_and_run_at_once(daemon, client, tmp_path):
    marks = [str(tmp_path / str(number)) for number in range(5)]
    with stoker.Executor(5, client=client) as executor:
        assert executor._max_workers == 5
        # each waits for the next: with fewer than five workers that would be for ever
        futures = [executor.submit(meet, mark, other) for mark, other in zip(marks, marks[1:] + marks[:1], strict=True)]
        assert len({future.result(WAIT) for future in futures}) == 5
        assert len(daemon.result("status")["pools"]) == 2
    assert [pool["name"] for pool in daemon.result("status")["pools"]] == ["default"]


def meet(mark, other):
    Path(mark).touch()
    while not Path(other).exists():
        time.sleep(0.005)
    return os.getpid()


def test_a_pool_that_is_named_is_used_as_it_is(daemon, client):
    client.start_pool("etl", workers=1)
    with stoker.Executor(4, pool="etl", client=client) as executor:
        assert len(set(executor.map(lambda _: os.getpid(), range(20)))) == 1
    assert len(daemon.result("status")["pools"]) == 2
    with pytest.raises(NoSuchPool, match="nope"):
        stoker.Executor(pool="nope", client=client)


def test_a_pool_of_its_own_ends_with_the_process(daemon):
    program = "import os, stoker, sys; stoker.Executor(3, endpoint=sys.argv[1]); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", program, daemon.endpoint], check=False, timeout=WAIT)
    wait_until(lambda: [pool["name"] for pool in daemon.result("status")["pools"]] == ["default"])


def test_an_executor_that_is_let_go_takes_its_pool_with_it(daemon):
    executor = stoker.Executor(3, endpoint=daemon.endpoint)
    values = executor.map(abs, range(-20, 0))
    del executor
    assert list(values) == list(range(20, 0, -1))
    del values

    def gone():
        gc.collect()
        return len(daemon.result("status")["pools"]) == 1

    wait_until(gone)


def test_the_initializer_runs_in_each_worker_before_its_first_call(client):
    with stoker.Executor(2, client=client, initializer=note, initargs=("ready",)) as executor:
        assert set(executor.map(noted, range(50))) == {"ready"}
        assert set(executor.map(noted, range(50), chunksize=7)) == {"ready"}


def noted(_number):
    return os.environ["NOTED"]


def note(word):
    os.environ["NOTED"] = os.environ.get("NOTED", "") + word


def test_an_initializer_that_raises_breaks_the_executor(client):
    executor = stoker.Executor(1, client=client, initializer=math.factorial, initargs=(-1,))
    futures = [executor.submit(abs, number) for number in range(20)]
    assert all(isinstance(future.exception(WAIT), InitializerFailed) for future in futures)
    assert isinstance(futures[0].exception(), BrokenProcessPool)
    with pytest.raises(InitializerFailed, match="ValueError"):
        executor.submit(abs, 1)
    executor.shutdown()


def test_a_worker_makes_way_after_so_many_calls(client):
    with stoker.Executor(1, client=client, max_tasks_per_child=3) as executor:
        pids = [executor.submit(os.getpid).result(WAIT) for _ in range(6)]
    assert pids[0] == pids[2] != pids[3] == pids[5]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"max_workers": -1}, ValueError),
        ({"initializer": 7}, TypeError),
        ({"initializer": print, "pool": "default"}, ValueError),
        ({"initializer": print, "initargs": (threading.Lock(),)}, CannotPack),
        ({"max_tasks_per_child": 0}, ValueError),
        ({"max_tasks_per_child": 1.5}, TypeError),
        ({"max_tasks_per_child": 1, "pool": "default"}, ValueError),
    ],
)
def test_what_cannot_be_is_refused(client, wrong, error):
    with pytest.raises(error):
        stoker.Executor(client=client, **wrong)


def test_an_executor_in_a_worker_cannot_wait_for_the_slot_that_it_is_in(client):
    def outer(number):
        with stoker.Executor() as inner:
            return sum(inner.map(abs, range(number)))

    with stoker.Executor(2, client=client) as executor:
        assert list(executor.map(outer, [3, 4, 5])) == [3, 6, 10]


# --- errors that are two things at once


def test_errors_are_the_standard_librarys_too(executor):
    died, bad = executor.submit(os._exit, 3), executor.submit(len, threading.Lock())
    assert isinstance(died.exception(WAIT), BrokenProcessPool)
    assert isinstance(bad.exception(WAIT), pickle.PicklingError)
    assert isinstance(bad.exception(), CannotPack)
    unreadable = executor.submit(id, Unreadable()).exception(WAIT)
    assert isinstance(unreadable, ArgumentsNotReadable)
    assert isinstance(unreadable, BrokenProcessPool)
    value = executor.submit(threading.Lock).exception(WAIT)
    assert isinstance(value, ResultNotPackable)
    assert isinstance(value, pickle.PicklingError)
    leaving = executor.submit(Leaving).exception(WAIT)
    assert isinstance(leaving, ResultNotPackable)
    assert isinstance(leaving.__cause__, SystemExit)
    assert executor.submit(abs, -1).result(WAIT) == 1
    for error in (died.exception(), bad.exception(), unreadable, value):
        assert type(pickle.loads(pickle.dumps(error))) is type(error)


class Unreadable:
    def __reduce__(self) -> object:
        return math.factorial, (-1,)


class Leaving:
    def __reduce__(self) -> object:
        return leave, ()


def leave():
    """Harmless in the worker, which only pickles it by name."""
    sys.exit(1)


def test_the_workers_traceback_is_the_cause(executor):
    error = executor.submit(math.factorial, -1).exception(WAIT)
    assert type(error.__cause__).__name__ == "_RemoteTraceback"
    assert "ValueError" in str(error.__cause__)


def test_a_callback_that_leaves_does_not_end_the_thread_that_serves_all(executor, caplog):
    executor.submit(abs, -1).add_done_callback(lambda _: sys.exit(1))
    assert executor.submit(abs, -2).result(WAIT) == 2
    with stoker.Executor(client=executor._client) as other:
        assert other.submit(abs, -3).result(WAIT) == 3
    wait_until(lambda: "exception calling a callback" in caplog.text)


def test_waiting_in_a_callback_is_refused(executor):
    refused = threading.Event()

    def close(_):
        try:
            executor.shutdown(wait=True)
        except RuntimeError:
            refused.set()

    blocking = executor.submit(time.sleep, 600)
    executor.submit(abs, -1).add_done_callback(close)
    assert refused.wait(WAIT)
    assert executor.kill(blocking)


# --- map, kill, output


def test_map_reads_no_farther_than_the_buffer(executor):
    read = []

    def numbers():
        for number in range(1000):
            read.append(number)
            yield number

    values = executor.map(abs, numbers(), buffersize=4)
    assert [next(values) for _ in range(10)] == list(range(10))
    assert len(read) <= 15
    assert list(values) == list(range(10, 1000))
    assert len(list(executor.map(abs, range(100), chunksize=10, buffersize=2))) == 100
    for wrong, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError)):
        with pytest.raises(error, match="buffersize"):
            executor.map(abs, [1], buffersize=wrong)
    with pytest.raises(ValueError, match="chunksize"):
        executor.map(abs, [1], chunksize=0)


def test_kill_all_ends_what_runs_and_what_waits(executor, tmp_path):
    futures, _ = blocker(executor, tmp_path, 40)
    executor.kill_all(futures)
    concurrent.futures.wait(futures, WAIT)
    assert all(future.cancelled() or isinstance(future.exception(), JobCancelled) for future in futures)
    assert executor.unfinished() == []
    assert executor.submit(abs, -1).result(WAIT) == 1


def test_what_a_call_prints_appears_here_where_that_is_asked_for(client, capfd):
    with stoker.Executor(client=client, echo=True) as executor:
        executor.submit(print, "to stdout").result(WAIT)
        executor.submit(os.write, 2, b"to stderr\n").result(WAIT)
    assert capfd.readouterr() == ("to stdout\n", "to stderr\n")
