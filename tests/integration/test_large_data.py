"""Large data through a real daemon: by shared memory where it can be, and the same by the socket where it can't."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from tests.conftest import StartDaemon
from tests.daemons import RunningDaemon, wait_until

import stoker
from stoker import multiprocessing as drop_in
from stoker.errors import JobCancelled, JobTimedOut, ResultTooLarge, StokerError, WorkerDied
from stoker.protocol import segments

COUNT = 50_000
"""Numbers of eight bytes: well over the size from which memory is shared."""


@pytest.fixture(scope="module")
def daemon(module_daemon: RunningDaemon) -> RunningDaemon:
    """One for all of these."""
    return module_daemon


@pytest.fixture
def client(daemon: RunningDaemon) -> Iterator[stoker.Client]:
    """A client that shares memory with the daemon."""
    with stoker.Client(daemon.endpoint) as made:
        assert shares(made)
        yield made


def shares(client: stoker.Client) -> bool:
    """Send something large, after which memory is shared; whether it is."""
    client.submit(len, bytes(segments.LARGE)).result()
    client.submit(len, b"").result()  # the answer to what the first one has set off comes before this one's
    return client.outbox.sharing.on


def numbers(seed: int = 0, count: int = COUNT) -> np.ndarray[Any, np.dtype[np.float64]]:
    """An array like no other."""
    return np.arange(count, dtype=np.float64) + seed


def same(value: Any) -> Any:
    return value


def doubled(array: Any) -> Any:
    array *= 2
    return array


def spoiled(array: Any) -> float:
    array[:] = -1
    return float(array.sum())


def made(count: int) -> Any:
    return np.arange(count)


def in_segments(daemon: RunningDaemon) -> int:
    count: int = daemon.result("status")["daemon"]["segments"]
    return count


def sessions(daemon: RunningDaemon) -> int:
    count: int = daemon.result("status")["daemon"]["sessions"]
    return count


def test_arrays_and_bytes_come_back_as_they_were(client: stoker.Client) -> None:
    array = numbers()
    for value in (
        array,
        os.urandom(200_000),
        bytearray(os.urandom(200_000)),
        [array, {"bytes": bytes(100_000), "small": (1, "two"), "deep": [[[[bytes(90_000)]]]]}, bytearray(70_000)],
        array[::2],  # not in one piece
        np.asfortranarray(array.reshape(50, 1000)),
        np.array(["text", None, 3.5] * 30_000, dtype=object),
        "letters" * 50_000,
        list(range(100_000)),
    ):
        back = client.submit(same, value).result()
        assert type(back) is type(value)
        np.testing.assert_equal(back, value)


def test_an_array_is_not_copied_through_the_daemon(client: stoker.Client, daemon: RunningDaemon) -> None:
    array = numbers(count=4_000_000)
    client.submit(doubled, array).result()
    before = psutil.Process(daemon.pid).io_counters()
    back = client.submit(doubled, array).result()
    after = psutil.Process(daemon.pid).io_counters()
    assert (back == 2 * array).all()
    assert after.read_chars - before.read_chars < array.nbytes / 100
    assert psutil.Process(daemon.pid).memory_info().rss < 10 * array.nbytes
    assert daemon.result("status")["daemon"]["shared_bytes"] >= 2 * array.nbytes


def test_segments_are_filled_again_and_again(client: stoker.Client, daemon: RunningDaemon) -> None:
    for seed in range(4):
        client.submit(same, numbers(seed)).result()
    before = in_segments(daemon)
    for seed in range(40):
        assert (client.submit(same, numbers(seed)).result() == numbers(seed)).all()
    assert in_segments(daemon) <= before + 2


def test_what_a_job_does_to_its_argument_stays_with_the_job(client: stoker.Client) -> None:
    array = numbers()
    assert client.submit(spoiled, array).result() == -COUNT
    assert (array == numbers()).all()
    data = bytearray(b"a" * 100_000)
    client.submit(spoiled, np.frombuffer(data, dtype=np.uint8).astype(float)).result()
    assert data == b"a" * 100_000


def test_results_can_be_written_to_and_are_nobody_elses(client: stoker.Client) -> None:
    first = client.submit(same, numbers(1)).result()
    first += 1
    second = client.submit(same, numbers(5)).result()
    second[:] = 0
    assert (first == numbers(2)).all()


def test_results_that_are_held_never_change(client: stoker.Client) -> None:
    kept = [client.submit(doubled, numbers(seed)).result() for seed in range(60)]
    parts = [client.submit(doubled, numbers(seed)).result()[100:200] for seed in range(20)]
    gc.collect()
    for seed in range(100):
        client.submit(doubled, numbers(1000 + seed)).result()
    for seed, array in enumerate(kept):
        assert (array == 2 * numbers(seed)).all(), seed
    for seed, part in enumerate(parts):
        assert (part == 2 * numbers(seed)[100:200]).all(), seed


def test_results_that_nobody_asked_for_yet_are_kept_until_somebody_does(client: stoker.Client) -> None:
    jobs = [client.submit(doubled, numbers(seed)) for seed in range(150)]
    for seed, job in reversed(list(enumerate(jobs))):
        assert (job.result() == 2 * numbers(seed)).all(), seed


def test_arguments_that_a_job_keeps_beyond_its_end_never_change(daemon: RunningDaemon) -> None:
    pool = {"name": "keeper", "workers": 1}
    daemon.result("start", kind="pool", **pool)
    with stoker.Client(daemon.endpoint) as client:
        assert shares(client)
        keeper = client.options(pool="keeper")

        def keep(array: Any) -> int:
            import builtins

            kept = builtins.__dict__.setdefault("_kept", [])
            kept.append(array)
            return len(kept)

        def sums() -> list[float]:
            import builtins

            return [float(array.sum()) for array in builtins.__dict__["_kept"]]

        for seed in range(30):
            assert keeper.submit(keep, numbers(seed)).result() == seed + 1
        for seed in range(30):
            keeper.submit(spoiled, numbers(seed)).result()
        assert keeper.submit(sums).result() == [float(numbers(seed).sum()) for seed in range(30)]


def test_small_arguments_may_have_large_results(client: stoker.Client) -> None:
    jobs = [client.submit(made, count) for count in (10, 100_000, 20, 200_000)]
    assert [len(job.result()) for job in jobs] == [10, 100_000, 20, 200_000]


@pytest.mark.parametrize("transport", ["zmq", "direct"])
def test_every_face_gives_the_same_either_way(
    daemon: RunningDaemon, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOKER_TRANSPORT", transport)
    arrays = [numbers(seed) for seed in range(12)]
    with stoker.Client(daemon.endpoint) as client:
        assert shares(client) == (transport == "direct")
        for seed, back in enumerate(client.map(doubled, arrays)):
            assert (back == 2 * arrays[seed]).all()
        with pytest.raises(ZeroDivisionError):
            client.submit(divmod, 1, 0).result()
    with stoker.Executor(endpoint=daemon.endpoint) as executor:
        for _ in range(2):
            for seed, back in enumerate(executor.map(doubled, arrays, chunksize=2)):
                assert (back == 2 * arrays[seed]).all()
    monkeypatch.setenv("STOKER_SOCKET", daemon.endpoint)
    with drop_in.Pool(2) as pool:
        for _ in range(2):
            for seed, back in enumerate(pool.map(doubled, arrays)):
                assert (back == 2 * arrays[seed]).all()
            assert (pool.apply(same, (arrays[3],)) == arrays[3]).all()


def test_jobs_that_may_be_tried_again_have_their_arguments_untouched(client: stoker.Client, tmp_path: Path) -> None:
    def fails_once(array: Any, mark: str) -> float:
        array[:] += 1
        if not Path(mark).exists():
            Path(mark).touch()
            raise ValueError("the first time")
        return float(array.sum())

    job = client.options(retries=1).submit(fails_once, numbers(), str(tmp_path / "mark"))
    assert job.result() == float((numbers() + 1).sum())


def test_values_that_are_kept_can_be_read_by_others(client: stoker.Client, daemon: RunningDaemon) -> None:
    job = client.options(keep=60).submit(doubled, numbers())
    number = job.id
    assert (job.result() == 2 * numbers()).all()
    with stoker.Client(daemon.endpoint) as other:
        assert (other.job(number).result() == 2 * numbers()).all()
    detached = client.options(detach=True).submit(doubled, numbers(3))
    assert (detached.result() == 2 * numbers(3)).all()


def test_a_job_that_failed_cannot_be_retried_by_hand_when_its_arguments_are_gone(client: stoker.Client) -> None:
    job = client.submit(spoiled, "no array" * 20_000)
    number = job.id
    assert isinstance(job.exception(), TypeError)
    with pytest.raises(StokerError, match="no longer kept"):
        client.retry(number)


def test_a_worker_that_dies_costs_its_job_and_no_memory(client: stoker.Client, daemon: RunningDaemon) -> None:
    def dies(array: Any) -> None:
        array[:] = 0
        os.kill(os.getpid(), signal.SIGKILL)

    array = numbers()
    kept = client.submit(doubled, numbers(7)).result()
    for _ in range(3):
        with pytest.raises(WorkerDied):
            client.submit(dies, array).result()
    assert (array == numbers()).all()
    for seed in range(10):
        assert (client.submit(doubled, numbers(seed)).result() == 2 * numbers(seed)).all()
    assert (kept == 2 * numbers(7)).all()
    assert in_segments(daemon) < 20


def test_a_job_that_is_cancelled_or_takes_too_long_lets_its_memory_go(
    client: stoker.Client, daemon: RunningDaemon
) -> None:
    def sleeps(array: Any) -> float:
        time.sleep(60)
        return float(array.sum())

    for _ in range(5):
        jobs = [client.submit(sleeps, numbers()) for _ in range(4)]
        assert all(job.cancel() for job in jobs)
        assert all(isinstance(job.exception(), JobCancelled) for job in jobs)
    with pytest.raises(JobTimedOut):
        client.options(timeout=0.1).submit(sleeps, numbers()).result()
    assert (client.submit(same, numbers()).result() == numbers()).all()
    assert in_segments(daemon) < 20


def test_a_client_that_is_killed_leaves_nothing(daemon: RunningDaemon, tmp_path: Path) -> None:
    before = sessions(daemon)
    program = """
        import os, signal, sys, numpy as np, stoker
        def slow(array, mark):
            import pathlib, time
            pathlib.Path(mark).touch()
            time.sleep(0.3)
            return array
        client = stoker.Client(sys.argv[1])
        client.submit(len, bytes(100_000)).result()
        client.submit(len, b"").result()
        kept = [client.submit(abs, np.arange(50_000.0) + n).result() for n in range(5)]
        jobs = [client.submit(slow, np.arange(50_000.0), f"{sys.argv[2]}/{n}") for n in range(5)]
        while not os.path.exists(f"{sys.argv[2]}/0"):
            pass
        assert client.outbox.sharing.on
        os.kill(os.getpid(), signal.SIGKILL)
    """
    path = os.pathsep.join(entry for entry in sys.path if entry)
    arguments = [sys.executable, "-c", textwrap.dedent(program), daemon.endpoint, str(tmp_path)]
    done = subprocess.run(arguments, env={**os.environ, "PYTHONPATH": path}, capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    wait_until(lambda: sessions(daemon) == before and not daemon.result("status")["jobs"].get("running", 0))
    wait_until(lambda: in_segments(daemon) <= 8)
    with stoker.Client(daemon.endpoint) as client:
        assert shares(client)
        for seed in range(10):
            assert (client.submit(doubled, numbers(seed)).result() == 2 * numbers(seed)).all()


def test_results_that_a_forked_child_holds_too_never_change(client: stoker.Client) -> None:
    kept = client.submit(doubled, numbers(1)).result()
    ours, theirs = multiprocessing.get_context("fork").Pipe()

    def child(pipe: Any, array: Any) -> None:
        pipe.recv()
        pipe.send(bool((array == 2 * numbers(1)).all()))

    process = multiprocessing.get_context("fork").Process(target=child, args=(theirs, kept))
    process.start()
    del kept
    gc.collect()
    for seed in range(20):
        client.submit(doubled, numbers(seed)).result()
    ours.send("look")
    assert ours.poll(30)
    assert ours.recv()
    process.join()


def test_a_forked_child_shares_memory_of_its_own(client: stoker.Client) -> None:
    client.submit(doubled, numbers()).result()

    def child() -> None:
        good = all((client.submit(doubled, numbers(seed)).result() == 2 * numbers(seed)).all() for seed in range(10))
        os._exit(0 if good else 1)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    for seed in range(10):
        assert (client.submit(doubled, numbers(50 + seed)).result() == 2 * numbers(50 + seed)).all()
    process.join()
    assert process.exitcode == 0


def descriptors(pid: int | str = "self") -> int:
    """Of segments, how many it has."""
    found = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(entry.readlink()).startswith("/memfd:stoker ")
    return found


def test_no_descriptor_is_left_behind(daemon: RunningDaemon) -> None:
    others = sessions(daemon)

    def round_of_work() -> int:
        with stoker.Client(daemon.endpoint) as client:
            assert shares(client)
            jobs = [client.submit(doubled, numbers(seed)) for seed in range(20)]
            for job in jobs:
                job.result()
        wait_until(lambda: sessions(daemon) == others)
        gc.collect()
        return descriptors(daemon.pid) - in_segments(daemon)

    mine = descriptors()
    with stoker.Client(daemon.endpoint) as client:
        assert shares(client)
        assert client.submit(same, numbers()).result() is not None
        assert descriptors() > mine
    assert [round_of_work() for _ in range(3)] == [0, 0, 0]
    assert descriptors() == mine


def test_a_daemon_that_is_killed_leaves_no_memory_behind(start_daemon: StartDaemon) -> None:
    before = set(os.listdir("/dev/shm"))
    daemon = start_daemon(config="[pool.default]\nworkers = 1\n")
    client = stoker.Client(daemon.endpoint)
    assert shares(client)
    kept = client.submit(doubled, numbers()).result()
    family = daemon.family()
    daemon.kill()
    wait_until(lambda: not any(map(psutil.pid_exists, family)))
    assert not [name for name in set(os.listdir("/dev/shm")) - before if "st" in name and "loky" not in name]
    assert (kept == 2 * numbers()).all()
    with pytest.raises(stoker.errors.ConnectionFailed):
        client.submit(doubled, numbers()).result()
    client.close()


def test_where_no_memory_is_to_be_shared_everything_goes_by_the_socket(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(config="[limits]\nshared_bytes = 0\n[pool.default]\nworkers = 1\n")
    with stoker.Client(daemon.endpoint) as client:
        assert not shares(client)
        for seed in range(3):
            assert (client.submit(doubled, numbers(seed)).result() == 2 * numbers(seed)).all()
        assert in_segments(daemon) == 0


def test_beyond_the_limit_large_data_goes_by_the_socket(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(config="[limits]\nshared_bytes = 2000000\n[pool.default]\nworkers = 1\n")
    with stoker.Client(daemon.endpoint) as client, stoker.Client(daemon.endpoint) as other:
        assert shares(client)
        assert shares(other)
        jobs = [(seed, one.submit(doubled, numbers(seed))) for seed in range(20) for one in (client, other)]
        for seed, job in jobs:
            assert (job.result() == 2 * numbers(seed)).all()
        huge = numbers(count=500_000)
        assert (client.submit(doubled, huge).result() == 2 * huge).all()
        assert daemon.result("status")["daemon"]["shared_bytes"] <= 2_500_000


def test_memory_that_is_shared_does_not_count_for_the_limit_of_a_worker(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(config="[pool.default]\nworkers = 1\nmemory_bytes = 130000000\n")

    def works(array: Any) -> float:
        time.sleep(0.6)  # long enough to be weighed
        return float(array.sum())

    with stoker.Client(daemon.endpoint) as client:
        assert shares(client)
        array = numbers(count=15_000_000)
        assert client.submit(works, array).result() == array.sum()


def test_a_value_that_is_too_large_is_refused_wherever_it_lies(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(config="[limits]\nresult_bytes = 100000\n[pool.default]\nworkers = 1\n")
    with stoker.Client(daemon.endpoint) as client:
        assert shares(client)
        with pytest.raises(ResultTooLarge):
            client.submit(made, 100_000).result()
        assert client.submit(np.sum, numbers()).result() == numbers().sum()


def test_memory_that_nobody_uses_is_given_back(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(program=(sys.executable, "-c", IMPATIENT), config="[pool.default]\nworkers = 1\n")
    with stoker.Client(daemon.endpoint) as client:
        assert shares(client)
        client.submit(same, numbers()).result()
        wait_until(lambda: in_segments(daemon) == 0)
        assert (client.submit(doubled, numbers(1)).result() == 2 * numbers(1)).all()
        kept = client.submit(doubled, numbers(2)).result()
        wait_until(lambda: in_segments(daemon) == 1)
        assert (kept == 2 * numbers(2)).all()


IMPATIENT = """
import sys
from stokerd import depot
depot.IDLE = 0.2
from stokerd.__main__ import main
sys.exit(main())
"""
