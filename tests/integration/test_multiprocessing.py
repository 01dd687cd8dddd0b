"""``stoker.multiprocessing``: what it promises beyond what CPython's own tests look at."""

from __future__ import annotations

import contextlib
import io
import multiprocessing as standard
import os
import pickle
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.daemons import DEADLINE, RunningDaemon, alive, wait_until

from stoker import multiprocessing
from stoker.default import client_at
from stoker.errors import ConnectionFailed, DaemonLost, NoSuchObject, NoSuchPool, WorkerDied
from stoker.multiprocessing.connection import wait


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    home = Path(tempfile.mkdtemp(prefix="stk-"))
    daemon = RunningDaemon(home, config="[pool.default]\nworkers = 2\n")
    yield daemon
    client_at(daemon.endpoint).close()
    daemon.close()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(autouse=True)
def _nothing_left(daemon: RunningDaemon, monkeypatch) -> Iterator[None]:
    """Each test's program talks to the daemon, and leaves no process and no pool in it."""
    monkeypatch.setenv("STOKER_SOCKET", daemon.endpoint)
    yield
    wait_until(lambda: not daemon.result("status")["processes"])
    assert [pool["name"] for pool in daemon.result("status")["pools"]] == ["default"]


def run(target, *args, **options) -> multiprocessing.Process:
    process = multiprocessing.Process(target=target, args=args, **options)
    process.start()
    return process


def ended(process: multiprocessing.Process) -> int | None:
    process.join(DEADLINE)
    return process.exitcode


# --- processes


def test_a_child_is_where_its_parent_is(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLOUR", "green")
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    told = multiprocessing.Queue()

    def tell():
        current, parent = multiprocessing.current_process(), multiprocessing.parent_process()
        where = (str(Path.cwd()), os.environ["COLOUR"], sys.path[0], sys.argv, sys.executable)
        told.put((where, current.name, current.pid == os.getpid(), parent.pid, parent.is_alive()))

    process = run(tell, name="teller")
    where, name, is_itself, parent, parent_lives = told.get(timeout=DEADLINE)
    assert where == (str(tmp_path), "green", str(tmp_path / "modules"), sys.argv, sys.executable)
    assert (name, is_itself, parent, parent_lives) == ("teller", True, os.getpid(), True)
    assert ended(process) == 0


def test_what_a_child_writes_appears_here_before_join_returns(capsys) -> None:
    def write():
        sys.stdout.write("to stdout ä\n")
        sys.stderr.write("to stderr\n")
        os.write(1, b"by descriptor\n")

    assert ended(run(write)) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("to stdout ä\nby descriptor\n", "to stderr\n")


def test_output_goes_to_a_stream_that_takes_only_text() -> None:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        assert ended(run(lambda: sys.stdout.write("zwölf\n"))) == 0
    assert text.getvalue() == "zwölf\n"


def test_an_exception_is_printed_with_its_traceback_and_the_code_is_1(capsys) -> None:
    def fail():
        raise ValueError("no such luck")

    assert ended(run(fail, name="unlucky")) == 1
    err = capsys.readouterr().err
    assert err.startswith("Process unlucky:\nTraceback")
    assert err.endswith("ValueError: no such luck\n")


def test_stop_lets_finally_blocks_run(capsys, tmp_path: Path) -> None:
    ready = multiprocessing.Event()

    def work():
        try:
            ready.set()
            time.sleep(1000)
        finally:
            (tmp_path / "trace").write_text("cleaned up")

    process = run(work)
    assert ready.wait(DEADLINE)
    assert process.stop() == 1
    assert (tmp_path / "trace").read_text() == "cleaned up"
    assert not process.is_alive()
    assert "KeyboardInterrupt" in capsys.readouterr().err


def test_stop_ends_one_that_is_deaf_to_everything() -> None:
    ready = multiprocessing.Event()

    def work():
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_IGN)
        ready.set()
        while True:
            time.sleep(1000)

    process = run(work)
    assert ready.wait(DEADLINE)
    assert process.stop(grace=0.1) == -signal.SIGKILL


def test_a_process_in_a_process_is_the_daemons_too(daemon: RunningDaemon) -> None:
    told = multiprocessing.Queue()

    def outer():
        inner = multiprocessing.Process(target=lambda: told.put(os.getpid()))
        inner.start()
        inner.join()
        told.put((inner.pid, inner.exitcode))

    process = run(outer)
    innermost = told.get(timeout=DEADLINE)
    assert told.get(timeout=DEADLINE) == (innermost, 0)
    assert ended(process) == 0


def test_a_process_waits_for_its_own_children_at_its_end(tmp_path: Path) -> None:
    def innermost():
        time.sleep(0.2)
        (tmp_path / "trace").write_text("done")

    def outer():
        multiprocessing.Process(target=innermost).start()
        multiprocessing.Process(target=time.sleep, args=(1000,), daemon=True).start()

    assert ended(run(outer)) == 0
    assert (tmp_path / "trace").read_text() == "done"


def test_status_shows_whose_process_it_is_and_what_it_runs(daemon: RunningDaemon) -> None:
    go = multiprocessing.Event()
    process = run(go.wait, name="a worker / 1")
    (shown,) = daemon.result("status")["processes"]
    assert shown["name"].startswith("a-worker-1@s")
    assert shown["pid"] == process.pid
    assert shown["target"].endswith("Event.wait")
    assert shown["session"]
    go.set()
    assert ended(process) == 0


def test_stoker_stop_ends_it_and_its_parent_is_told(daemon: RunningDaemon) -> None:
    process = run(time.sleep, 1000)
    (shown,) = daemon.result("status")["processes"]
    assert daemon.result("stop", names=[shown["name"]])["survivors"] == 0
    assert ended(process) == 1  # by KeyboardInterrupt


def test_a_sentinel_can_be_waited_for_with_connections_and_descriptors() -> None:
    ours, theirs = multiprocessing.Pipe()
    reading, writing = os.pipe()
    process = run(theirs.recv)
    everything = [ours, process.sentinel, reading]
    assert wait(everything, timeout=0) == []
    os.write(writing, b"x")
    assert wait(everything, DEADLINE) == [reading]
    os.read(reading, 1)
    ours.send("end")
    assert wait(everything, DEADLINE) == [process.sentinel]
    theirs.send("hello")
    assert wait(everything, DEADLINE) == [ours, process.sentinel]
    assert ended(process) == 0
    os.close(reading)
    os.close(writing)
    process.close()


def test_the_standard_librarys_names_see_the_process() -> None:
    process = run(time.sleep, 1000)
    assert process in standard.active_children()
    assert isinstance(process, standard.process.BaseProcess)
    process.kill()
    assert ended(process) == -signal.SIGKILL
    assert process not in standard.active_children()


def test_what_cannot_travel_is_an_error_of_start(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(pickle.PicklingError, match="file") as raised:
        run(print, file)
    assert any("create them inside the function" in note for note in raised.value.__notes__)
    with pytest.raises(RuntimeError, match="SemLock"):
        run(print, standard.Queue())


def test_signals_after_the_end_are_no_error() -> None:
    process = run(int)
    assert ended(process) == 0
    process.terminate()
    process.kill()
    process.interrupt()
    assert process.stop() == 0
    assert process.exitcode == 0


# --- pools


def test_a_killed_worker_fails_its_call_and_no_other() -> None:
    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    with multiprocessing.Pool(2) as pool:
        results = [pool.apply_async(abs, (-number,)) for number in range(10)]
        with pytest.raises(WorkerDied):
            pool.apply(die)
        assert [result.get(DEADLINE) for result in results] == list(range(10))
        assert pool.map(abs, [-1, -2]) == [1, 2]


def test_an_initializer_runs_in_every_worker_before_its_first_call() -> None:
    def prepare(value):
        import builtins

        builtins.prepared = value

    def look(_):
        import builtins

        return builtins.prepared

    with multiprocessing.Pool(2, prepare, ("yes",)) as pool:
        assert pool.map(look, range(8), chunksize=1) == ["yes"] * 8


def test_imap_reads_its_iterable_as_values_are_taken() -> None:
    read = []

    def numbers():
        for number in range(1000):
            read.append(number)
            yield number

    with multiprocessing.Pool(2) as pool:
        values = pool.imap(abs, numbers())
        assert next(values) == 0
        assert len(read) < 100
        pool.close()
        pool.join()
        assert len(read) == 1000
        assert list(values) == list(range(1, 1000))


def test_imap_says_when_a_value_is_not_there_yet() -> None:
    with multiprocessing.Pool(1) as pool:
        values = pool.imap(time.sleep, [1000])
        with pytest.raises(multiprocessing.TimeoutError):
            values.next(timeout=0.01)


def test_callbacks_run_here_and_one_that_raises_costs_nobody_else(capsys) -> None:
    called = threading.Event()
    where = []

    def note(_value):
        where.append(os.getpid())
        raise RuntimeError("a callback's own")

    with multiprocessing.Pool(1) as pool:
        result = pool.apply_async(abs, (-1,), callback=note)
        assert result.get(DEADLINE) == 1
        pool.apply_async(abs, (-2,), callback=lambda _: called.set())
        assert called.wait(DEADLINE)
    assert where == [os.getpid()]
    assert "a callback's own" in capsys.readouterr().err


def test_what_a_worker_prints_appears_here(capsys) -> None:
    def work(number):
        sys.stdout.write(f"at {number}\n")
        sys.stderr.write("careful\n")
        if number == 2:
            raise ValueError(number)
        return number

    with multiprocessing.Pool(2) as pool:
        assert pool.map(work, [0, 1], chunksize=1) == [0, 1]
        assert capsys.readouterr() == ("at 0\nat 1\n", "careful\ncareful\n")
        with pytest.raises(ValueError, match="2") as raised:
            pool.apply_async(work, (2,)).get(DEADLINE)
        assert vars(raised.value).keys() <= {"__notes__"}
        assert list(pool.imap(work, [3])) == [3]
    assert capsys.readouterr().out == "at 2\nat 3\n"


def test_terminate_leaves_nobody_waiting() -> None:
    pool = multiprocessing.Pool(1)
    result = pool.map_async(time.sleep, [1000] * 3, chunksize=1)
    pool.terminate()
    pool.join()
    with pytest.raises(Exception, match=r"cancel|removed|closed"):
        result.get(DEADLINE)


def test_an_instance_of_a_class_of_the_program_comes_back_as_one() -> None:
    class Point:
        def __init__(self, x) -> None:
            self.x = x

    with multiprocessing.Pool(1) as pool:
        with pytest.raises(multiprocessing.pool.MaybeEncodingError):
            pool.apply(lambda: lambda: 1)
        assert pool.apply(abs, (-3,)) == 3
        assert pool.map(lambda p: p.x, [Point(1), Point(2)]) == [1, 2]


def test_the_pool_without_arguments_is_the_daemons_own(daemon: RunningDaemon) -> None:
    pids = {worker["pid"] for worker in daemon.workers()}
    pool = multiprocessing.Pool()
    assert (
        set(pool.map(lambda _: os.getpid(), range(4), chunksize=1))
        <= {worker["pid"] for worker in daemon.workers()} | pids
    )
    pool.close()
    with pytest.raises(ValueError, match="not running"):
        pool.apply(abs, (1,))
    pool.join()
    assert daemon.workers()


# --- pipes


def test_the_end_of_the_process_at_the_other_end_is_the_end_of_the_stream() -> None:
    ours, theirs = multiprocessing.Pipe()
    process = run(lambda: theirs.send("last words"))
    theirs.close()
    assert ended(process) == 0
    assert ours.recv() == "last words"
    with pytest.raises(EOFError):
        ours.recv()
    with pytest.raises(BrokenPipeError):
        ours.send("too late")
    assert ours.poll()  # the end can be received


def test_a_killed_process_ends_the_stream_too() -> None:
    ours, theirs = multiprocessing.Pipe()
    process = run(theirs.recv)
    theirs.close()
    process.kill()
    with pytest.raises(EOFError):
        ours.recv()
    assert ended(process) == -signal.SIGKILL


def test_an_end_that_never_arrived_is_not_waited_for() -> None:
    class Bomb:
        def __reduce__(self) -> object:
            return int, ("not a number",)

    ours, theirs = multiprocessing.Pipe()
    process = run(print, Bomb(), theirs)
    theirs.close()
    with pytest.raises(EOFError):
        ours.recv()
    assert ended(process) == 1


def test_bytes_travel_as_with_the_standard_library() -> None:
    reader, writer = multiprocessing.Pipe(duplex=False)
    writer.send_bytes(b"0123456789", 2, 5)
    assert reader.recv_bytes() == b"23456"
    writer.send_bytes(b"abc")
    buffer = bytearray(5)
    assert reader.recv_bytes_into(buffer, 1) == 3
    assert buffer == b"\0abc\0"
    writer.send_bytes(b"too long")
    with pytest.raises(multiprocessing.BufferTooShort) as raised:
        reader.recv_bytes_into(bytearray(2))
    assert raised.value.args == (b"too long",)
    with pytest.raises(OSError, match="read-only"):
        reader.send(1)
    with pytest.raises(OSError, match="write-only"):
        writer.recv()
    with pytest.raises(ValueError, match="buffer length"):
        writer.send_bytes(b"abc", 2, 5)
    with pytest.raises(io.UnsupportedOperation, match=r"connection\.wait"):
        reader.fileno()
    writer.send_bytes(b"four")
    with pytest.raises(OSError, match="bad message length"):
        reader.recv_bytes(3)
    with pytest.raises(OSError, match="closed"):
        reader.recv()
    writer.close()


# --- the rest


def test_objects_travel_inside_one_another() -> None:
    inner, outer = multiprocessing.Queue(), multiprocessing.Queue()
    outer.put({"queue": inner, "lock": multiprocessing.Lock()})

    def answer():
        both = outer.get()
        with both["lock"]:
            both["queue"].put("from inside")

    process = run(answer)
    assert inner.get(timeout=DEADLINE) == "from inside"
    assert ended(process) == 0
    with pytest.raises(queue.Empty):
        inner.get(timeout=0.01)


def test_a_managers_objects_go_with_it() -> None:
    with multiprocessing.Manager() as manager:
        shared, number = manager.dict(a=1), manager.Value("i", 3)
        process = run(shared.update, {"b": 2})
        assert ended(process) == 0
        assert shared.copy() == {"a": 1, "b": 2}
        number.value += 1
        assert number.get() == 4
        with pytest.raises(NotImplementedError, match="BaseManager"):
            manager.register("Thing")
    with pytest.raises(NoSuchObject):
        shared["a"]


def test_shared_memory_outlives_those_who_attach_to_it() -> None:
    # in a program of its own: the standard library starts a process to keep track of it
    program = """
from stoker.multiprocessing import Process
from stoker.multiprocessing.shared_memory import ShareableList, SharedMemory
def write(name, numbers):
    theirs = SharedMemory(name)
    theirs.buf[:5] = b"hello"
    theirs.close()
    numbers[0] += 1
    numbers.shm.close()
memory, numbers = SharedMemory(create=True, size=16), ShareableList([1, 2])
p = Process(target=write, args=(memory.name, numbers))
p.start()
p.join()
again = SharedMemory(memory.name)
print(p.exitcode, bytes(again.buf[:5]), list(numbers))
again.close()
memory.close()
memory.unlink()
numbers.shm.close()
numbers.shm.unlink()
"""
    done = subprocess.run([sys.executable, "-"], input=program, capture_output=True, text=True, timeout=DEADLINE)
    assert (done.stdout, done.stderr) == ("0 b'hello' [2, 2]\n", "")


def test_contexts_and_start_methods_are_accepted() -> None:
    assert multiprocessing.get_all_start_methods() == ["spawn", "fork", "forkserver"]
    assert multiprocessing.get_start_method(allow_none=True) is None
    context = multiprocessing.get_context("fork")
    assert context.get_start_method() == "fork"
    assert context.Process is multiprocessing.Process
    assert context.cpu_count() == os.cpu_count()
    with pytest.raises(ValueError, match="cannot find context"):
        multiprocessing.get_context("clone")
    with pytest.raises(ValueError, match="concrete context"):
        context.set_start_method("spawn")
    multiprocessing.set_start_method("forkserver")
    try:
        assert multiprocessing.get_start_method() == "forkserver"
        with pytest.raises(RuntimeError, match="already been set"):
            multiprocessing.set_start_method("spawn")
    finally:
        multiprocessing.set_start_method(None, force=True)
    with pytest.raises(NotImplementedError, match="start_process"):
        multiprocessing.set_executable("/usr/bin/python3")


def test_every_public_name_of_the_standard_library_is_here() -> None:
    missing = {name for name in standard.__all__ if not hasattr(multiprocessing, name)}
    assert missing <= {"reducer", "Manager_"}
    with pytest.raises(AttributeError, match="the daemon forks"):
        _ = multiprocessing.popen_fork


def test_importing_it_starts_nothing(tmp_path: Path) -> None:
    program = "import stoker.multiprocessing as m; [getattr(m, name) for name in m.__all__]; print(m.cpu_count())"
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "STOKER_SOCKET": ""}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert int(done.stdout) == os.cpu_count()
    assert list(tmp_path.iterdir()) == []
    assert not alive(set())


def test_a_pool_that_is_gone_says_so(daemon: RunningDaemon) -> None:
    pool = multiprocessing.Pool(1)
    try:
        daemon.result("stop", names=[pool._name])
        with pytest.raises(NoSuchPool):
            pool.apply(abs, (-1,))
    finally:
        pool.terminate()


def test_a_daemon_that_dies_leaves_nobody_waiting(start_daemon, monkeypatch) -> None:
    doomed = start_daemon()
    monkeypatch.setenv("STOKER_SOCKET", doomed.endpoint)
    process = run(time.sleep, 1000)
    ours, _theirs = multiprocessing.Pipe()
    with multiprocessing.Pool(1) as pool:
        result = pool.apply_async(time.sleep, (1000,))
        doomed.kill()
        assert ended(process) == 255
        with pytest.raises(DaemonLost):
            result.get(DEADLINE)
        with pytest.raises(ConnectionFailed):
            ours.recv()
    wait_until(lambda: not alive({process.pid}))
    client_at(doomed.endpoint).close()


def test_sigint_is_pythons_own_business_again_when_no_child_is_left() -> None:
    process = run(time.sleep, 1000)
    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    process.kill()
    assert ended(process) == -signal.SIGKILL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_daemonic_process_is_terminated_at_the_end_and_others_are_waited_for(daemon: RunningDaemon) -> None:
    program = """
import time
from stoker.multiprocessing import Process
def last():
    time.sleep(0.2)
    print("waited for", flush=True)
Process(target=time.sleep, args=(1000,), daemon=True).start()
Process(target=last).start()
print("end of the program", flush=True)
"""
    done = subprocess.run([sys.executable, "-"], input=program, capture_output=True, text=True, timeout=DEADLINE)
    assert (done.stdout, done.stderr) == ("end of the program\nwaited for\n", "")
    assert daemon.result("status")["processes"] == []
