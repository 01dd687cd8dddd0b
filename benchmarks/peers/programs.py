"""Programs that a peer needs beside it: a broker, workers, supervisors."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

START_DEADLINE = 30.0
END_PATIENCE = 10.0


def start(argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a program whose output goes to a file."""
    with log.open("ab") as file:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=env)


def end(*processes: subprocess.Popen[bytes]) -> None:
    """SIGTERM to all, then SIGKILL to who stays."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(END_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_socket(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until a program listens at its socket."""

    def listens() -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(path)) == 0

    until(listens, process)


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Look again and again; these programs tell nobody when they are ready."""
    end_of_patience = time.monotonic() + START_DEADLINE
    while not condition():
        if process.poll() is not None:
            raise ChildProcessError(f"{process.args[0]} ended with {process.returncode}")  # type: ignore[index]
        if time.monotonic() > end_of_patience:
            raise TimeoutError(f"{process.args[0]} is not ready after {START_DEADLINE:g} s")  # type: ignore[index]
        time.sleep(0.002)
