"""Other Python programs that talk to a daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tests.daemons import DEADLINE, RunningDaemon


class Program:
    """One, from its code; subclasses say what comes before it.

    Args:
        daemon: it finds this one by itself.
        code: after :attr:`head`.
        arguments: of the program.
    """

    head = ""

    def __init__(self, daemon: RunningDaemon, code: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.head + code, *arguments],
            env={**os.environ, "STOKER_SOCKET": daemon.endpoint},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """The next that it writes."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.communicate(timeout=DEADLINE)

    def close(self) -> None:
        """End it if it has not ended."""
        if self.process.poll() is None:
            self.kill()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


T = TypeVar("T", bound=Program)


@contextmanager
def starting(kind: type[T], daemon: RunningDaemon) -> Iterator[Callable[..., T]]:
    """Start programs of a kind, by code and arguments; all of them end with the block."""
    programs: list[T] = []

    def start(code: str, *arguments: str) -> T:
        programs.append(kind(daemon, code, *arguments))
        return programs[-1]

    yield start
    for program in programs:
        program.close()
