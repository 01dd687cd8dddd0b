"""``stoker queue``, ``stoker lock`` and ``stoker start process --call``, each run as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.daemons import DEADLINE, RunningDaemon, alive, wait_until

from stoker import Client, Lock, Queue

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def stoker(daemon: RunningDaemon, tmp_path: Path) -> Run:
    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "stoker", *argv]
        environ = {**os.environ, "STOKER_SOCKET": daemon.endpoint}
        return subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE)

    return run


def begin(daemon: RunningDaemon, *argv: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "STOKER_SOCKET": daemon.endpoint}
    return subprocess.Popen(
        [sys.executable, "-m", "stoker", *argv], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_what_is_put_is_got_in_order(stoker: Run) -> None:
    assert stoker("queue", "put", "results", "1", "two", '{"three": 3}').returncode == 0
    assert json.loads(stoker("queue", "status", "results", "--json").stdout)["size"] == 3
    assert stoker("queue", "get", "results").stdout == "1\n"
    assert stoker("queue", "get", "results", "--max", "9").stdout == 'two\n{"three": 3}\n'
    assert stoker("queue", "status", "results").stdout.startswith("queue results: 0 waiting, 0 on loan")
    empty = stoker("queue", "get", "results", "--timeout", "10ms")
    assert (empty.returncode, empty.stdout) == (75, "")


def test_a_queue_is_the_same_for_the_library(daemon: RunningDaemon, stoker: Run) -> None:
    with Client(daemon.endpoint) as client:
        results = Queue("results", client=client)
        results.put((1, 2))
        assert json.loads(stoker("queue", "get", "results", "--json").stdout) == {"name": "results", "items": [[1, 2]]}
        stoker("queue", "put", "results", "text")
        assert results.get(timeout=DEADLINE) == "text"


def test_a_queue_that_nobody_made_is_an_error_of_get(stoker: Run) -> None:
    done = stoker("queue", "get", "resluts")
    assert done.returncode == 4
    assert "resluts" in done.stderr
    assert stoker("queue", "status", "resluts").returncode == 4
    done = stoker("queue")
    assert done.returncode == 2
    assert "stoker queue put" in done.stderr


def test_a_command_runs_while_the_lock_is_held(daemon: RunningDaemon, stoker: Run) -> None:
    program = "import os; print(int(os.environ['STOKER_LOCK_TOKEN']) > 0)"
    done = stoker("lock", "db", "--", sys.executable, "-c", program)
    assert (done.stdout, done.returncode) == ("True\n", 0)
    assert stoker("lock", "db", "--", "sh", "-c", "exit 7").returncode == 7
    assert stoker("lock", "db", "--", "sh", "-c", "kill -9 $$").returncode == 128 + signal.SIGKILL
    assert stoker("lock", "db", "--", "no-such-program-anywhere").returncode == 127
    assert stoker("lock", "db").returncode == 2
    with Client(daemon.endpoint) as client:
        assert not Lock("db", client=client).locked()


def test_the_lock_excludes_others_and_comes_back_when_its_holder_is_killed(daemon: RunningDaemon, stoker: Run) -> None:
    with Client(daemon.endpoint) as client:
        lock = Lock("db", client=client)
        with begin(daemon, "lock", "db", "--", "sleep", "1000") as holder:
            wait_until(lock.locked)
            late = stoker("lock", "db", "--timeout", "10ms", "--", "true")
            assert late.returncode == 75
            assert "'db'" in late.stderr
            (command,) = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
            holder.kill()
            assert lock.acquire(timeout=DEADLINE)
            lock.release()
            wait_until(lambda: not alive({int(command)}))


def test_sigterm_is_the_commands_to_answer(daemon: RunningDaemon) -> None:
    program = "import signal, time; signal.signal(15, lambda *_: exit(3)); print('ready', flush=True); time.sleep(1000)"
    with begin(daemon, "lock", "db", "--", sys.executable, "-c", program) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        holder.send_signal(signal.SIGTERM)
        assert holder.wait(DEADLINE) == 3


def test_a_python_function_is_started_as_a_process(daemon: RunningDaemon, stoker: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import time\ndef work(word, times):\n    print(word * times)\n    time.sleep(1000)\n"
    )
    done = stoker("start", "process", "w", "--call", "mine:work", "ha", "3")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: daemon.exchange("logs", id="w")[1][0] == b"hahaha\n")
    (shown,) = daemon.result("status")["processes"]
    assert (shown["target"], shown["argv"], shown["session"]) == ("mine:work", [], "")
    assert "mine:work" in stoker("status").stdout
    assert stoker("stop", "w").returncode == 0


def test_a_function_that_is_not_there_is_said_at_once(stoker: Run) -> None:
    done = stoker("start", "process", "w", "--call", "no_such_module:work")
    assert done.returncode == 1
    assert "No module named 'no_such_module'" in done.stderr
    assert stoker("start", "process", "w", "--call", "work").returncode == 2
    assert stoker("start", "process", "w", "--call", "a:b", "--", "sleep", "1").returncode == 2
