"""What a notebook shows of Stoker: progress, jobs, the daemon's state; and what an interrupt of the kernel ends."""

from __future__ import annotations

import os
import pty
import re
import select
import sys
import time
import warnings
from pathlib import Path

import psutil
import pytest
from tests.daemons import DEADLINE, RunningDaemon, wait_until

import stoker
from stoker.errors import DeadlineExceeded
from stoker.watching import Bar, gather, watch


@pytest.fixture
def client(daemon):
    with stoker.Client(daemon.endpoint) as client:
        yield client


def until(path, value=0):
    Path(f"{path}.up").touch()
    while not Path(path).exists():
        time.sleep(0.01)
    return value


class Kernel:
    """An IPython kernel that runs cells."""

    def __init__(self, daemon: RunningDaemon, directory: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the notebook's own libraries
            from jupyter_client.manager import start_new_kernel

            environment = {**os.environ, "STOKER_SOCKET": daemon.endpoint}
            self.manager, self.client = start_new_kernel(
                startup_timeout=DEADLINE, kernel_name="python3", env=environment, cwd=str(directory)
            )

    def begin(self, code: str) -> str:
        """Have a cell run, and go on."""
        return self.client.execute(code)

    def end(self, cell: str) -> tuple[list[dict], dict]:
        """The outputs of a cell once it has run, and the reply."""
        outputs = []
        while True:
            message = self.client.get_iopub_msg(timeout=DEADLINE)
            if message["parent_header"].get("msg_id") != cell:
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
            outputs.append(message)
        while True:
            reply = self.client.get_shell_msg(timeout=DEADLINE)
            if reply["parent_header"].get("msg_id") == cell:
                return outputs, reply["content"]

    def run(self, code: str) -> list[dict]:
        """The outputs of a cell that must succeed."""
        outputs, reply = self.end(self.begin(code))
        assert reply["status"] == "ok", reply
        return outputs

    def html(self, code: str) -> str:
        """How the value of a cell looks."""
        return next(
            each["content"]["data"]["text/html"] for each in self.run(code) if each["msg_type"] == "execute_result"
        )

    def interrupt(self, code: str, mark: Path) -> None:
        """Interrupt a cell once there is a file and it waits; it must end as an interrupted one does."""
        cell = self.begin(code)
        wait_until(mark.exists)
        self._wait_until_it_waits()
        self.manager.interrupt_kernel()
        _, reply = self.end(cell)
        assert reply["status"] == "error", reply
        assert reply["ename"] == "KeyboardInterrupt", reply

    def _wait_until_it_waits(self) -> None:
        """Until the kernel computes nothing: a job may run before the call that submitted it has returned."""
        process = psutil.Process(self.manager.provisioner.pid)
        spent = None
        while spent != (spent := process.cpu_times()[:2]):
            select.select([], [], [], 0.1)

    def close(self) -> None:
        """End it."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture
def kernel(daemon, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the notebook's own libraries
        kernel = Kernel(daemon, tmp_path)
        yield kernel
        kernel.close()


UNTIL = """
import stoker, time
from pathlib import Path

def until(path, value=0):
    Path(path + ".up").touch()
    while not Path(path).exists():
        time.sleep(0.01)
    return value

client = stoker.Client()
"""


# --- in a notebook


def test_a_bar_is_drawn_in_a_notebook_and_updated_in_place(kernel):
    kernel.run("import stoker\nclient = stoker.Client()")
    outputs = kernel.run("values = list(stoker.watch(client.map(abs, range(-500, 0)), total=500, label='<squares>'))")
    first, *updates = [each for each in outputs if each["msg_type"] in ("display_data", "update_display_data")]
    assert first["msg_type"] == "display_data"
    assert updates
    assert {each["msg_type"] for each in updates} == {"update_display_data"}
    assert len({each["content"]["transient"]["display_id"] for each in (first, *updates)}) == 1
    last = updates[-1]["content"]["data"]
    assert '<progress value="500" max="500"' in last["text/html"]
    assert "&lt;squares&gt;" in last["text/html"]
    assert "500/500" in last["text/plain"]
    failing = kernel.run(
        "jobs = [client.submit(abs, n) for n in (1, 'x', 3)]\ntry: stoker.gather(jobs)\nexcept TypeError: pass"
    )
    assert "1 failed" in failing[-1]["content"]["data"]["text/html"]


def test_jobs_and_the_daemons_state_have_a_picture(kernel, daemon):
    kernel.run(UNTIL)
    assert kernel.html("job = client.submit(abs, -1); job.result(); job") == "<div><b>job 1</b> abs: ended</div>"
    assert "lambda&gt;" in kernel.html("client.submit(lambda: 1)")
    assert kernel.html("client.run(['true'])").startswith("<div><b>job ")
    picture = kernel.html("client.status()")
    assert "<b>pools</b><table>" in picture
    assert f"pid {daemon.pid}" in picture
    assert "<td>default</td>" in picture
    assert "<td>abs</td>" in kernel.html("job.status()")


@pytest.mark.timeout(240)
def test_an_interrupt_cancels_what_the_cell_waits_for_and_nothing_else(kernel, daemon, tmp_path):
    kernel.run(UNTIL)
    other = tmp_path / "other"
    kernel.run(f"other = client.submit(until, {str(other)!r}, 7)")
    wait_until(Path(f"{other}.up").exists)
    waits = [
        "client.submit(until, '{go}').result()",
        "stoker.gather([client.submit(until, '{go}'), client.submit(until, '{go}')])",
        "list(stoker.watch(client.map(until, ['{go}'] * 4)))",
        "client.options(detach=True).submit(until, '{go}').result()",
        "stoker.Executor(client=client).submit(until, '{go}').result()",
        "from concurrent.futures import wait; wait([stoker.Executor(client=client).submit(until, '{go}')])",
    ]
    for number, waiting in enumerate(waits):
        go = tmp_path / str(number)
        kernel.interrupt(waiting.format(go=go), Path(f"{go}.up"))
        wait_until(lambda: len(daemon.result("jobs", states=["queued", "running"])["jobs"]) == 1)
    assert daemon.result("jobs", states=["done", "failed"])["jobs"] == []
    other.touch()
    kernel.run("assert other.result() == 7")


# --- elsewhere


def test_watch_passes_the_values_on_and_closes_what_it_iterates_over():
    closed = []

    def numbers():
        try:
            yield from range(10)
        finally:
            closed.append(True)

    values = watch(numbers())
    assert next(values) == 0
    values.close()
    assert closed == [True]
    assert list(watch([1, 2, 3])) == [1, 2, 3]


def test_gather_gives_the_values_in_order_or_the_first_error(client, tmp_path):
    go = tmp_path / "go"
    jobs = [client.submit(until, str(go), 1), client.submit(abs, -2)]
    kept = client.options(detach=True).submit(abs, -3)
    with pytest.raises(DeadlineExceeded, match="1 of 3"):
        jobs[1].result()
        gather([*jobs, kept], timeout=0.01)
    go.touch()
    assert gather([*jobs, kept]) == [1, 2, 3]
    assert gather([]) == []
    with pytest.raises(TypeError):
        gather([client.submit(abs, "x"), client.submit(abs, -1)])


def test_nothing_is_drawn_where_nobody_watches(capsys):
    assert list(watch(range(3))) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_one_line_that_is_drawn_over(monkeypatch):
    ours, theirs = pty.openpty()
    terminal = os.fdopen(theirs, "w")  # open until all is read: what a closed one has not delivered is lost
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(watch(range(4), label="four")) == [0, 1, 2, 3]
    drawn = ""
    while not drawn.endswith("\n"):
        drawn += os.read(ours, 65536).decode()
    os.close(ours)
    terminal.close()
    assert drawn.startswith("\rfour: [....")
    assert re.search(r"\rfour: \[#+\] 4/4 [^\r]*\r?\n$", drawn)
    assert drawn.count("\n") == 1


def test_a_bar_says_what_it_knows():
    bar = Bar(None)
    bar.advance()
    bar.advance(failed=True)
    assert repr(bar).startswith("2 ·")
    assert "1 failed" in bar.figures
    assert "<progress style" in bar._repr_html_()
