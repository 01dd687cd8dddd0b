"""Real daemons for tests: started as a user's client starts them, and shown to leave nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgpack
import psutil
import zmq

DEADLINE = 30.0
"""Seconds after which a wait has failed: long, because machines are shared, and never reached when all is well."""


STOKERD = (sys.executable, "-m", "stokerd")


class RunningDaemon:
    """One ``python -m stokerd`` with its socket in a directory of its own.

    Args:
        directory: where its socket, its state and its log are; of one that has died, it takes them over.
        arguments: of the command line.
        config: the text of its configuration file.
        cwd: where it is started.
        program: what is executed in place of ``python -m stokerd``: something that becomes it in the same process.
    """

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        config: str | None = None,
        cwd: Path | None = None,
        program: tuple[str, ...] = STOKERD,
    ) -> None:
        self.program = program
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.path = directory / "s.sock"
        self.endpoint = f"ipc://{self.path}"
        self.log_path = directory / "log"
        if config is not None:
            (directory / "config.toml").write_text(config)
            arguments = (*arguments, "--config", str(directory / "config.toml"))
        self.process, self.ready = self._start(arguments, cwd)

    def _start(self, arguments: tuple[str, ...], cwd: Path | None) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
        ours, theirs = os.pipe()
        with self.log_path.open("wb") as log:
            process = subprocess.Popen(
                [
                    *(*self.program, "--socket", self.endpoint, "--log-level", "debug"),
                    *("--state-dir", str(self.directory / "state"), "--ready-fd", str(theirs), *arguments),
                ],
                pass_fds=(theirs,),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=cwd,
            )
        os.close(theirs)
        with os.fdopen(ours, "rb") as pipe:
            assert select.select([pipe], [], [], DEADLINE)[0], "the daemon said nothing"
            line = pipe.readline()
        return process, json.loads(line) if line else {}

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def log(self) -> str:
        """What it has logged."""
        return self.log_path.read_text(errors="replace")

    def call(self, method: str, *, payload: tuple[bytes, ...] = (), **params: Any) -> dict[str, Any]:
        """One request by a plain REQ socket; returns the whole head of the reply."""
        return self.exchange(method, payload=payload, **params)[0]

    def exchange(
        self, method: str, *, payload: tuple[bytes, ...] = (), **params: Any
    ) -> tuple[dict[str, Any], list[bytes]]:
        """One request by a plain REQ socket; returns head and payload frames."""
        with zmq.Context() as context, context.socket(zmq.REQ) as socket:
            socket.linger = 0
            socket.rcvtimeo = int(DEADLINE * 1000)
            socket.connect(self.endpoint)
            head = {"v": 1, "id": 1, "method": method, "params": params}
            socket.send_multipart([msgpack.packb(head), *payload])
            answer, *frames = socket.recv_multipart()
            return msgpack.unpackb(answer), frames

    def result(self, method: str, **params: Any) -> Any:
        """The result of a request that must succeed."""
        reply = self.call(method, **params)
        assert "result" in reply, reply
        return reply["result"]

    def error(self, method: str, **params: Any) -> dict[str, Any]:
        """The error of a request that must fail."""
        reply = self.call(method, **params)
        assert "error" in reply, reply
        error: dict[str, Any] = reply["error"]
        return error

    def family(self) -> set[int]:
        """Its own pid and those of all its descendants."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return {self.pid, *(child.pid for child in psutil.Process(self.pid).children(recursive=True))}
        return set()

    def workers(self, pool: str = "default") -> list[dict[str, Any]]:
        """The workers that are ready to work or at it."""
        pools = self.result("status")["pools"]
        found = next(entry for entry in pools if entry["name"] == pool)
        return [worker for worker in found["workers"] if worker["state"] in ("idle", "busy")]

    def wait_for_workers(self, count: int, pool: str = "default") -> list[dict[str, Any]]:
        """The workers, once there are ``count``."""
        wait_until(lambda: len(self.workers(pool)) == count)
        return self.workers(pool)

    def kill(self) -> None:
        """SIGKILL, and reap."""
        self.process.kill()
        self.process.wait(DEADLINE)

    def stop(self) -> int:
        """SIGTERM, and wait; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)

    def close(self) -> None:
        """End it, and show that it left nothing behind."""
        if self.process.poll() is not None:
            return
        family = self.family()
        code = self.stop()
        assert code == 0, f"the daemon ended with {code}\n{self.log}"
        wait_until(lambda: not alive(family))
        assert not self.path.exists()
        bugs = [line for line in self.log.splitlines() if "a bug in the daemon" in line or "a handler failed" in line]
        assert not bugs, "\n".join(bugs)


def alive(pids: set[int]) -> set[int]:
    """Those that exist and are not zombies of somebody else's making."""
    return {pid for pid in pids if psutil.pid_exists(pid) and not _is_zombie(pid)}


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def wait_until(condition: Any, deadline: float = DEADLINE) -> None:
    """Return as soon as the condition holds; fail when it does not in time."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)
