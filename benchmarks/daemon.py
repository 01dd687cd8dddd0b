"""A daemon of a benchmark's own."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, Self

START_DEADLINE = 30.0
END_PATIENCE = 15.0


class Usage(NamedTuple):
    """What the process has used so far."""

    cpu: float
    """Seconds."""
    voluntary: int
    """How often it went to sleep, all threads together: as often it was woken."""


def cpu_of(pid: int) -> float:
    """Seconds of processor time that a process has used, all its threads together."""
    return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3)


class Daemon:
    """A daemon with two workers, in a directory of its own; a context manager.

    Args:
        folder: where its socket and its state are; made if need be.
        workers: of its default pool.
        more: lines of its configuration, after ``[limits]``.
    """

    def __init__(self, folder: Path, *, workers: int = 2, more: str = "") -> None:
        folder.mkdir(exist_ok=True)
        self.endpoint = f"ipc://{folder}/s.sock"
        config = folder / "config.toml"
        config.write_text(f"[pool.default]\nworkers = {workers}\n[limits]\n{more}\n")
        ours, theirs = os.pipe()
        argv = [sys.executable, "-m", "stokerd", "--socket", self.endpoint, "--config", str(config)]
        argv += ["--state-dir", str(folder / "state"), "--log-level", "error", "--ready-fd", str(theirs)]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(argv, pass_fds=(theirs,), stdin=subprocess.DEVNULL, stderr=log)
        os.close(theirs)
        with os.fdopen(ours, "rb") as ready:
            if not select.select([ready], [], [], START_DEADLINE)[0] or b"ready" not in ready.readline():
                self.close()
                raise ChildProcessError(f"the daemon did not start: {(folder / 'log').read_text()[-500:]}")

    @property
    def pid(self) -> int:
        """Of the daemon itself."""
        return self.process.pid

    def client(self, transport: str = "direct") -> Any:
        """A client that insists on one transport."""
        import stoker

        before = os.environ.get("STOKER_TRANSPORT")
        os.environ["STOKER_TRANSPORT"] = transport
        try:
            return stoker.Client(self.endpoint)
        finally:
            os.environ.pop("STOKER_TRANSPORT")
            if before is not None:
                os.environ["STOKER_TRANSPORT"] = before

    def usage(self) -> Usage:
        """What the daemon itself has used, without its children."""
        cpu = cpu_of(self.pid)
        voluntary = 0
        for status in Path(f"/proc/{self.pid}/task").glob("*/status"):
            line = next(line for line in status.read_text().splitlines() if line.startswith("voluntary_ctxt_switches"))
            voluntary += int(line.split()[1])
        return Usage(cpu, voluntary)

    def close(self) -> None:
        """End it, and by its death all its children."""
        self.process.terminate()
        try:
            self.process.wait(END_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
