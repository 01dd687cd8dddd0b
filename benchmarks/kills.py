"""How soon a death is known: ``python -m benchmarks.kills [--times 20] [--json]``.

A daemon with two workers is started. Again and again a job is begun, somebody waits for it, and its worker, or the
worker's forkserver, is killed. What counts is the time from the return of kill(2) to the answer in the hands of whoever
waits: the promise is 100 ms. For the daemon itself it is the time until
the client's connection is known to be closed; for a client, until the daemon has told of the end of its session.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import zmq

from stoker import Client
from stoker.errors import StokerError
from stoker.protocol import codec

DEADLINE = 30_000
"""Milliseconds within which an answer is waited for."""
HOLD = 1000.0
"""Seconds that a job would take if it were let."""


class Daemon:
    """One that is measured, with a DEALER connected to it."""

    def __init__(self, folder: Path) -> None:
        self.endpoint = f"ipc://{folder}/s.sock"
        (folder / "config.toml").write_text("[pool.default]\nworkers = 2\n")
        ours, theirs = os.pipe()
        argv = [sys.executable, "-m", "stokerd", "--socket", self.endpoint, "--config", str(folder / "config.toml")]
        argv += ["--state-dir", str(folder / "state"), "--log-level", "error", "--ready-fd", str(theirs)]
        self.process = subprocess.Popen(argv, pass_fds=(theirs,), start_new_session=True)
        os.close(theirs)
        with os.fdopen(ours, "rb") as ready:
            assert "ready" in json.loads(ready.readline())
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger, self._socket.rcvtimeo = 0, DEADLINE
        self._socket.connect(self.endpoint)

    def post(self, method: str, **params: Any) -> None:
        """Ask."""
        self._socket.send_multipart(codec.encode_request(1, method, params))

    def answer(self) -> Any:
        """What the oldest question came to."""
        reply, _ = codec.decode_head(self._socket.recv_multipart())
        return reply["result"]

    def ask(self, method: str, **params: Any) -> Any:
        """Ask and wait."""
        self.post(method, **params)
        return self.answer()

    def until(self, condition: Callable[[], Any]) -> Any:
        """Ask again and again; the first answer that is not empty."""
        end = time.monotonic() + DEADLINE / 1000
        while not (found := condition()):
            assert time.monotonic() < end, "waited in vain"
        return found

    def busy(self) -> int:
        """The pid of the worker that runs a job, once there is one."""

        def look() -> list[int]:
            workers = self.ask("status")["pools"][0]["workers"]
            return [worker["pid"] for worker in workers if worker["job"] is not None]

        pid: int = self.until(look)[0]
        return pid

    def close(self) -> None:
        """End it."""
        self._context.destroy(linger=0)
        self.process.terminate()
        self.process.wait()


def job_s_end(daemon: Daemon, whom: Callable[[int], int]) -> float:
    """Seconds until the waiter for a job has its verdict."""
    daemon.until(lambda: sum(worker["state"] == "idle" for worker in daemon.ask("status")["pools"][0]["workers"]) == 2)
    [job] = daemon.ask("submit", jobs=[{"call": {"function": "time:sleep", "args": [HOLD]}}])["jobs"]
    victim = whom(daemon.busy())
    daemon.post("result", id=job["id"])
    os.kill(victim, signal.SIGKILL)
    begun = time.perf_counter()
    assert daemon.answer()["job"]["state"] == "worker-died"
    return time.perf_counter() - begun


def session_s_end(daemon: Daemon) -> float:
    """Seconds until the daemon has told of the end of a dead client's session."""
    code = f"import time, stoker; c = stoker.Client({daemon.endpoint!r}); c.ping(); print(1, flush=True)"
    code += f"; time.sleep({HOLD})"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        client.stdout.readline()
        seq = daemon.ask("status")["seq"]
        client.kill()
        begun = time.perf_counter()
        daemon.until(
            lambda: [1 for _, topic, _ in daemon.ask("events", after=seq)["events"] if topic == "session.closed"]
        )
        return time.perf_counter() - begun


def connection_s_end(folder: Path) -> float:
    """Seconds until a client's wait ends with the death of the daemon."""
    folder.mkdir()
    daemon = Daemon(folder)
    with Client(daemon.endpoint) as client:
        job = client.submit(time.sleep, HOLD)
        daemon.busy()
        os.kill(daemon.process.pid, signal.SIGKILL)
        begun = time.perf_counter()
        try:
            job.result(DEADLINE / 1000)
        except StokerError:
            seconds = time.perf_counter() - begun
    daemon.close()
    return seconds


def measure(times: int) -> dict[str, list[float]]:
    """Seconds of every try, by what was killed."""
    with tempfile.TemporaryDirectory(prefix="stk-") as name:
        folder = Path(name, "d")
        folder.mkdir()
        daemon = Daemon(folder)
        try:
            return {
                "worker": [job_s_end(daemon, int) for _ in range(times)],
                "forkserver": [job_s_end(daemon, lambda pid: psutil.Process(pid).ppid()) for _ in range(times)],
                "client": [session_s_end(daemon) for _ in range(times)],
                "daemon": [connection_s_end(Path(name, str(number))) for number in range(max(1, times // 4))],
            }
        finally:
            daemon.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.times)
    if options.json:
        print(json.dumps(found))
        return
    for whom, seconds in found.items():
        middle, worst = statistics.median(seconds) * 1000, max(seconds) * 1000
        print(f"{whom:12} known after {middle:6.1f} ms (median), {worst:6.1f} ms (worst of {len(seconds)})")


if __name__ == "__main__":
    main()
