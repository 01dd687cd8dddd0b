"""joblib, and scikit-learn on it, with Stoker as the backend."""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import threading
import time
from pathlib import Path

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_config
from tests.daemons import wait_until

from stoker.errors import NoSuchPool, WorkerDied
from stoker.integrations.joblib import StokerBackend


@pytest.fixture(autouse=True)
def backend(daemon, monkeypatch):
    """Every ``Parallel`` of a test goes to its daemon."""
    monkeypatch.setenv("STOKER_SOCKET", daemon.endpoint)
    with parallel_config(backend="stoker", n_jobs=2, endpoint=daemon.endpoint):
        yield


def up(mark, go=None):
    Path(mark).touch()
    while go is not None and not Path(go).exists():
        time.sleep(0.01)
    return os.getpid()


def threads():
    return os.environ.get("OMP_NUM_THREADS")


def test_it_is_registered_under_its_name():
    assert joblib.parallel.BACKENDS["stoker"] is StokerBackend
    assert isinstance(Parallel()._backend, StokerBackend)


def test_tasks_run_in_the_daemons_workers_and_come_back_in_order(daemon):
    assert Parallel()(delayed(math.sqrt)(n**2) for n in range(300)) == list(range(300))
    pids = set(Parallel()(delayed(os.getpid)() for _ in range(20)))
    assert pids <= {worker["pid"] for worker in daemon.workers()}


def test_batches_grow_while_tasks_are_quick():
    with Parallel() as parallel:
        assert parallel(delayed(abs)(n) for n in range(5000)) == list(range(5000))
        assert parallel._backend._effective_batch_size > 1


def test_more_jobs_than_the_pool_has_workers_get_a_pool_of_their_own(daemon, tmp_path):
    marks = [str(tmp_path / str(n)) for n in range(4)]
    with parallel_config(backend="stoker", endpoint=daemon.endpoint):
        # each waits for the next: with fewer than four workers that would be for ever
        pids = Parallel(n_jobs=4, batch_size=1)(
            delayed(up)(mark, go) for mark, go in zip(marks, [*marks[1:], marks[0]], strict=True)
        )
    assert len(set(pids)) == 4
    assert len(daemon.result("status")["pools"]) == 2


def test_a_named_pool_is_used_and_one_that_is_not_there_is_an_error(daemon):
    daemon.result("start", kind="pool", name="etl", workers=1)
    with parallel_config(backend="stoker", pool="etl", endpoint=daemon.endpoint):
        assert len(set(Parallel(n_jobs=2)(delayed(os.getpid)() for _ in range(10)))) == 1
    with (
        parallel_config(backend="stoker", pool="nope", endpoint=daemon.endpoint),
        pytest.raises(NoSuchPool),
    ):
        Parallel(n_jobs=2)(delayed(abs)(n) for n in range(10))


def test_an_exception_is_raised_and_ends_what_still_runs(daemon, tmp_path):
    never = str(tmp_path / "never")
    with pytest.raises(ValueError, match="math domain error"):
        Parallel(batch_size=1)([delayed(up)(str(tmp_path / "up"), never), delayed(math.sqrt)(-1)])
    wait_until(lambda: not daemon.result("jobs", states=["queued", "running"])["jobs"])


def test_a_time_limit_ends_the_tasks(daemon, tmp_path):
    with pytest.raises(multiprocessing.TimeoutError):
        Parallel(timeout=0.2)(delayed(up)(str(tmp_path / "up"), str(tmp_path / "never")) for _ in range(4))
    wait_until(lambda: not daemon.result("jobs", states=["queued", "running"])["jobs"])


def test_a_worker_that_dies_fails_the_call_and_the_next_one_runs():
    with pytest.raises(WorkerDied):
        Parallel()(delayed(os._exit)(3) for _ in range(2))
    assert Parallel()(delayed(abs)(n) for n in range(10)) == list(range(10))


def test_what_cannot_be_pickled_is_told():
    with pytest.raises(pickle.PicklingError, match="the task to send"):
        Parallel()(delayed(len)(threading.Lock()) for _ in range(2))


@pytest.mark.parametrize("way", ["generator", "generator_unordered"])
def test_values_can_be_taken_one_by_one(way):
    values = Parallel(return_as=way)(delayed(abs)(n) for n in range(100))
    assert sorted(values) == list(range(100))


def test_the_tasks_are_not_read_far_ahead(tmp_path):
    read = []

    def tasks():
        for n in range(1000):
            read.append(n)
            yield delayed(abs)(n)

    values = Parallel(return_as="generator", batch_size=1, pre_dispatch="2*n_jobs")(tasks())
    assert next(values) == 0
    assert len(read) < 50
    assert list(values) == list(range(1, 1000))


def test_large_arrays_are_mapped_and_the_files_are_gone_afterwards():
    def kind(array):
        return type(array).__name__, str(getattr(array, "filename", "")), float(array.sum())

    seen = Parallel()(delayed(kind)(array) for array in [np.ones(1_000_000)] * 4)
    assert {(name, total) for name, _, total in seen} == {("memmap", 1e6)}
    assert not any(Path(file).exists() for _, file, _ in seen)
    mapped = Parallel()(delayed(np.asarray)(array) for array in [np.ones(1_000_000)] * 2)
    assert all(float(array.sum()) == 1e6 for array in mapped)


def test_nested_calls_run_in_threads_and_by_name_in_workers_of_their_own(daemon):
    def inner(n, backend):
        with parallel_config(backend=backend) if backend else parallel_config():
            found = Parallel(n_jobs=2)(delayed(os.getpid)() for _ in range(4))
        return n, os.getpid(), set(found)

    for n, outer, inside in Parallel(batch_size=1)(delayed(inner)(n, None) for n in range(4)):
        assert (n in range(4), inside) == (True, {outer})
    for _, outer, inside in Parallel(batch_size=1)(delayed(inner)(n, "stoker") for n in range(4)):
        assert outer not in inside


def test_an_initializer_runs_in_each_worker_once(daemon):
    with multiprocessing.Manager() as manager:
        seen = manager.list()

        def initialize(where):
            where.append(os.getpid())

        pids = Parallel(n_jobs=2, initializer=initialize, initargs=(seen,))(delayed(os.getpid)() for _ in range(50))
        assert sorted(seen) == sorted(set(seen))
        assert set(pids) <= set(seen)


def test_workers_have_as_many_threads_as_joblib_gives_them():
    limits = Parallel(n_jobs=2)(delayed(threads)() for _ in range(2))
    assert limits == [str(max(joblib.cpu_count() // 2, 1))] * 2
    with parallel_config(backend="stoker", inner_max_num_threads=3):
        assert Parallel(n_jobs=2)(delayed(threads)() for _ in range(2)) == ["3", "3"]


def test_one_job_runs_right_here_and_none_is_an_error():
    assert Parallel(n_jobs=1)(delayed(os.getpid)() for _ in range(2)) == [os.getpid()] * 2
    with pytest.raises(ValueError, match="n_jobs == 0"):
        Parallel(n_jobs=0)(delayed(abs)(1) for _ in range(2))
    assert StokerBackend().effective_n_jobs(-1) == joblib.cpu_count()
    assert StokerBackend().effective_n_jobs(None) == 1


def test_scikit_learn_searches_a_grid_on_it(daemon):
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV

    X, y = make_classification(200, random_state=0)  # noqa: N806 - as everybody calls it
    grid = {"max_depth": [2, 4], "n_estimators": [5, 10]}

    def search(n_jobs):
        return GridSearchCV(RandomForestClassifier(random_state=0), grid, n_jobs=n_jobs, cv=3).fit(X, y)

    before = daemon.result("status")["jobs"].get("done", 0)
    here, there = search(1), search(2)
    assert there.best_params_ == here.best_params_
    assert np.allclose(there.cv_results_["mean_test_score"], here.cv_results_["mean_test_score"])
    assert daemon.result("status")["jobs"]["done"] > before
    forest = RandomForestClassifier(20, n_jobs=2, random_state=0).fit(X, y)
    assert forest.score(X, y) > 0.9
