"""Clients that load a daemon while it is measured."""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.daemon import Daemon
from benchmarks.environments import ROOT, variables

DEADLINE = 30.0


@contextlib.contextmanager
def feeding(daemon: Daemon, count: int, seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    """Another process maps so many jobs of so many seconds each; 0: the smallest there are. Ends with the block."""
    argv = [sys.executable, "-m", "benchmarks.peers.feeder", daemon.endpoint, str(count), str(seconds)]
    env = variables(sys.executable, {})
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, env=env) as feeder:
        assert feeder.stdout is not None
        try:
            if not select.select([feeder.stdout], [], [], DEADLINE)[0] or not feeder.stdout.readline():
                raise ChildProcessError("the client that should load the pool did not begin")
            yield feeder
        finally:
            feeder.kill()
