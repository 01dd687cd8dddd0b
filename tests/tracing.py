"""strace beside a process."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def traced(strace: str, pid: int, log: Path, *options: str) -> Iterator[None]:
    """Trace a process meanwhile.

    Args:
        strace: the program, see the fixture.
        pid: the process, or one of its threads.
        log: what it writes.
        options: what is traced, and how.
    """
    argv = [strace, *options, "-o", str(log), "-p", str(pid)]
    tracer = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    try:
        assert "attached" in tracer.stderr.readline()
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=30)
