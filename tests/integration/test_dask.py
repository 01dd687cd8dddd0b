"""Dask's local scheduler runs on ``stoker.Executor``."""

from __future__ import annotations

import operator
import os

import pytest

import stoker

dask = pytest.importorskip("dask")


@pytest.fixture
def executor(daemon):
    with stoker.Client(daemon.endpoint) as client, stoker.Executor(client=client) as executor:
        yield executor


@dask.delayed
def where(_number):
    return os.getpid()


@dask.delayed
def add(*numbers):
    return sum(numbers)


@dask.delayed
def square(number):
    return number * number


def test_a_graph_is_computed_in_the_daemons_workers(daemon, executor):
    graph = add(*[square(number) for number in range(50)])
    assert graph.compute(scheduler=executor) == sum(number * number for number in range(50))
    pids = set(dask.compute(*[where(number) for number in range(20)], scheduler=executor))
    assert pids <= {worker["pid"] for worker in daemon.workers()}


def test_it_can_be_the_pool_of_the_configuration(daemon, executor):
    with dask.config.set(pool=executor, scheduler="processes"):
        assert add(square(3), square(4)).compute() == 25
        assert where(0).compute() in {worker["pid"] for worker in daemon.workers()}


def test_what_a_task_raises_is_raised(executor):
    failing = dask.delayed(operator.truediv)(1, 0)
    with pytest.raises(ZeroDivisionError):
        add(failing, square(2)).compute(scheduler=executor)
    assert square(3).compute(scheduler=executor) == 9


def test_a_worker_that_dies_fails_the_computation_and_the_next_one_runs(executor):
    with pytest.raises(stoker.WorkerDied):
        dask.delayed(os._exit)(3).compute(scheduler=executor)
    assert square(5).compute(scheduler=executor) == 25
