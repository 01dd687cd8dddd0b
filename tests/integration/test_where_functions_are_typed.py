"""A function runs in the pool wherever it was typed: on standard input, at the prompt, in a notebook."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
import warnings

import pytest
from tests.daemons import DEADLINE, RunningDaemon

PROGRAM = """
import stoker

factor = 7

def times(x):
    return helper(x) * factor

def helper(x):
    return x + 1

client = stoker.Client()
print("sum", sum(client.map(times, range(10))), client.submit(lambda x: x * factor, 6).result())
"""
EXPECTED = f"sum {sum((x + 1) * 7 for x in range(10))} 42"


def environment(daemon: RunningDaemon) -> dict[str, str]:
    return {**os.environ, "STOKER_SOCKET": daemon.endpoint, "PYTHONUNBUFFERED": "1", "TERM": "dumb"}


def test_a_function_from_standard_input(daemon: RunningDaemon) -> None:
    done = subprocess.run(
        [sys.executable, "-"],
        input=PROGRAM,
        env=environment(daemon),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    assert done.stdout.strip() == EXPECTED
    assert done.stderr == ""


def test_a_function_typed_at_the_prompt(daemon: RunningDaemon) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-i", "-q"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(daemon),
        start_new_session=True,
    ) as prompt:
        os.close(theirs)
        for line in PROGRAM.strip().splitlines():
            os.write(ours, (line + "\n").encode())
        os.write(ours, b"\nexit()\n")
        said = read_all(ours)
        prompt.wait(DEADLINE)
    os.close(ours)
    assert EXPECTED in said, said


def read_all(fd: int) -> str:
    said, end = b"", time.monotonic() + DEADLINE
    while time.monotonic() < end and select.select([fd], [], [], DEADLINE)[0]:
        try:
            data = os.read(fd, 65536)
        except OSError:  # the other end of a terminal is closed
            break
        said += data
    return said.decode()


def test_a_function_in_a_notebook(daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the notebook's own libraries
        import nbclient
        import nbformat

        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in PROGRAM.strip().split("\n\n")]
        )
        monkeypatch.setenv("STOKER_SOCKET", daemon.endpoint)
        nbclient.NotebookClient(notebook, timeout=DEADLINE, kernel_name="python3").execute()
    assert notebook.cells[-1].outputs[0].text.strip() == EXPECTED
