"""The five programs that everybody writes first, with only their import changed, wherever they may be typed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.daemons import DEADLINE, RunningDaemon, alive, wait_until

PROCESS = """
from stoker.multiprocessing import Process
import os

def greet(name):
    print("hello", name, flush=True)

p = Process(target=greet, args=("bob",))
p.start()
p.join()
print("exit code", p.exitcode)
"""

SQUARES = """
from stoker.multiprocessing import Process, Queue

def square(numbers, queue):
    for number in numbers:
        queue.put(number * number)

numbers = range(10)
queue = Queue()
p = Process(target=square, args=(numbers, queue))
p.start()
p.join()
print(sorted(queue.get() for _ in numbers))
"""

CUBES = """
from stoker.multiprocessing import Pool

def cube(x):
    return x ** 3

with Pool(2) as pool:
    print(pool.map(cube, range(8)))
"""

INCREMENTS = """
from stoker.multiprocessing import Process, Lock, Value

def increment(value, lock):
    for _ in range(1000):
        with lock:
            value.value += 1

value, lock = Value("i", 0), Lock()
processes = [Process(target=increment, args=(value, lock)) for _ in range(4)]
for p in processes:
    p.start()
for p in processes:
    p.join()
print("value", value.value)
"""

STRESS = """
from stoker.multiprocessing import Process
import time

def main():
    def stress_cpu():
        print("under load", flush=True)
        while True:
            pass

    processes = [Process(target=stress_cpu) for _ in range(2)]
    for p in processes:
        p.start()
    try:
        for p in processes:
            p.join()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    for p in processes:
        p.join()
    print("ended", all(p.exitcode not in (None, 0) for p in processes), flush=True)

main()
"""

EXPECTED = {
    PROCESS: "hello bob\nexit code 0\n",
    SQUARES: f"{[number * number for number in range(10)]}\n",
    CUBES: f"{[number**3 for number in range(8)]}\n",
    INCREMENTS: "value 4000\n",
}
NAMES = ("process", "square", "cube", "increment")
PROGRAMS = [pytest.param(text, id=name) for name, text in zip(NAMES, EXPECTED, strict=True)]


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    home = Path(tempfile.mkdtemp(prefix="stk-"))
    daemon = RunningDaemon(home, config="[pool.default]\nworkers = 2\n")
    yield daemon
    daemon.close()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def environ(daemon: RunningDaemon) -> dict[str, str]:
    # Unbuffered, a print is two writes, and those of two processes may alternate.
    return {**os.environ, "STOKER_SOCKET": daemon.endpoint, "PYTHONUNBUFFERED": ""}


def assert_nothing_is_left(daemon: RunningDaemon, before: set[int]) -> None:
    """No process of the program, and no pool but the one that is always there."""
    wait_until(lambda: not daemon.result("status")["processes"])
    wait_until(lambda: [pool["name"] for pool in daemon.result("status")["pools"]] == ["default"])
    wait_until(lambda: not offspring(daemon) - before)


def offspring(daemon: RunningDaemon) -> set[int]:
    """What runs for programs: everything below the daemon but its forkservers and the workers of the default pool."""
    workers = {worker["pid"] for pool in daemon.result("status")["pools"] for worker in pool["workers"]}
    forkservers = {
        event[2]["pid"] for event in daemon.result("events", limit=10_000)["events"] if event[1] == "forkserver.started"
    }
    return alive(daemon.family()) - {daemon.pid} - workers - forkservers


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_script_without_a_main_guard(daemon: RunningDaemon, environ, tmp_path: Path, program: str) -> None:
    before = offspring(daemon)
    script = tmp_path / "script.py"
    script.write_text(program)
    done = subprocess.run([sys.executable, script], env=environ, capture_output=True, text=True, timeout=DEADLINE)
    assert (done.stdout, done.stderr, done.returncode) == (EXPECTED[program], "", 0)
    assert_nothing_is_left(daemon, before)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_on_standard_input(daemon: RunningDaemon, environ, program: str) -> None:
    before = offspring(daemon)
    done = subprocess.run(
        [sys.executable, "-"], input=program, env=environ, capture_output=True, text=True, timeout=DEADLINE
    )
    assert (done.stdout, done.stderr, done.returncode) == (EXPECTED[program], "", 0)
    assert_nothing_is_left(daemon, before)


def under_load(daemon: RunningDaemon) -> bool:
    """Whether both processes of the stress program have said that they are."""
    names = [process["name"] for process in daemon.result("status")["processes"]]
    return len(names) == 2 and all(b"under load" in daemon.exchange("logs", id=name)[1][0] for name in names)


@pytest.mark.parametrize("how", ["script", "stdin"])
def test_ctrl_c_ends_nested_functions_that_never_would(
    daemon: RunningDaemon, environ, tmp_path: Path, how: str
) -> None:
    before = offspring(daemon)
    script = tmp_path / "script.py"
    script.write_text(STRESS)
    arguments = [script] if how == "script" else ["-"]
    with (
        script.open("rb") as source,
        subprocess.Popen(
            [sys.executable, *arguments],
            env=environ,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as program,
    ):
        wait_until(lambda: under_load(daemon))
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=DEADLINE)
    assert program.returncode == 0, err
    assert sorted(out.splitlines()) == ["ended True", "interrupted", "under load", "under load"]
    assert "KeyboardInterrupt" in err  # what the children say when they are interrupted, as ever
    assert_nothing_is_left(daemon, before)


@pytest.fixture
def notebook(environ, monkeypatch) -> Callable[[str], str]:
    """Executes a program as one cell; returns what the cell shows."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    def execute(program: str) -> str:
        cells = [nbformat.v4.new_code_cell("1 + 1"), nbformat.v4.new_code_cell(program)]
        book = nbformat.v4.new_notebook(cells=cells)
        with warnings.catch_warnings():  # of the kernel's own machinery
            warnings.simplefilter("ignore")
            nbclient.NotebookClient(book, timeout=int(DEADLINE), kernel_name="python3").execute()
        shown: list[dict[str, Any]] = book.cells[1].outputs
        assert all(output["output_type"] == "stream" for output in shown), shown
        return "".join(output["text"] for output in shown if output["name"] == "stdout")

    return execute


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_cell_of_a_notebook(daemon: RunningDaemon, notebook: Callable[[str], str], program: str) -> None:
    before = offspring(daemon)
    assert notebook(program) == EXPECTED[program]
    assert_nothing_is_left(daemon, before)


def test_interrupting_a_cell_ends_nested_functions(daemon: RunningDaemon, notebook: Callable[[str], str]) -> None:
    before = offspring(daemon)
    interrupting = """
import os, signal, threading
from stoker import Client

def interrupt():
    client = Client()
    while True:
        names = [process.name for process in client.status().processes]
        if len(names) == 2 and all(b"under load" in bytes(written(client, name)) for name in names):
            break
        client.connection.call("logs", {"id": names[0] if names else "none", "wait": 0.05}) if names else None
    os.kill(os.getpid(), signal.SIGINT)

def written(client, name):
    return client.connection.call("logs", {"id": name})[1][0]

threading.Thread(target=interrupt).start()
"""
    shown = notebook(interrupting + STRESS)
    assert sorted(shown.splitlines()) == ["ended True", "interrupted", "under load", "under load"]
    assert_nothing_is_left(daemon, before)


def test_a_program_that_is_killed_takes_its_processes_with_it(daemon: RunningDaemon, environ, tmp_path: Path) -> None:
    before = offspring(daemon)
    script = tmp_path / "script.py"
    script.write_text(STRESS)
    with subprocess.Popen([sys.executable, script], env=environ, stdout=subprocess.DEVNULL) as program:
        wait_until(lambda: under_load(daemon))
        program.kill()
    assert_nothing_is_left(daemon, before)
