"""Who burns: Stoker's burners through a daemon, and other programs. Each is asked for one process at a load."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil

from benchmarks.failure import Failed

NAME = "bench"
PATIENCE = 15.0


class Burner:
    """Stoker's, of one kind."""

    def __init__(self, client: Any, kind: str = "spin") -> None:
        self._client, self._kind = client, kind

    @contextlib.contextmanager
    def burning(self, load: float, core: int | None = None) -> Iterator[int]:
        """The process that burns."""
        cpus = () if core is None else (core,)
        self._client.start_burner(NAME, workers=1, load=load, nice=0, cpus=cpus, kind=self._kind, no_reserve=True)
        try:
            pid = self._client.status(NAME).burners[0].workers[0].pid
            yield burning_below(pid) if ":" in self._kind else pid
        finally:
            self._client.stop(NAME)


class Program:
    """Another load generator.

    Args:
        name: of its program.
        arguments: from the load in percent to its arguments; one process is to burn.
    """

    def __init__(self, name: str, arguments: Callable[[float], list[str]]) -> None:
        self.name, self._arguments = name, arguments

    @property
    def installed(self) -> bool:
        """Whether it can be asked."""
        return shutil.which(self.name) is not None

    @contextlib.contextmanager
    def burning(self, load: float, core: int | None = None) -> Iterator[int]:
        """The process that burns."""
        pinned = [] if core is None else ["taskset", "-c", str(core)]
        process = subprocess.Popen([*pinned, self.name, *self._arguments(load)], stdout=subprocess.DEVNULL)
        try:
            yield burning_below(process.pid)
        finally:
            process.terminate()
            process.wait()


PROGRAMS = (
    Program("stress-ng", lambda load: ["--cpu", "1", "--cpu-load", f"{load:.0f}", "--timeout", "0", "--quiet"]),
    Program("lookbusy", lambda load: ["--ncpus", "1", "--cpu-util", f"{load:.0f}", "--quiet"]),
)


def burning_below(pid: int) -> int:
    """The process under this one that burns."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if sum(child.cpu_times()[:2]) > 0.02:
                    return int(child.pid)
        time.sleep(0.01)
    raise Failed(f"nothing burned within {PATIENCE:.0f} s")
