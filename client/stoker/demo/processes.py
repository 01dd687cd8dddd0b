"""Step: a process ended gently, one ended by force, and no zombie left."""

from __future__ import annotations

import sys
import time

import psutil

from stoker.client import Client
from stoker.demo.verdict import Verdict
from stoker.errors import StartFailed

GRACE = 0.3
"""Seconds that the deaf one gets between SIGTERM and SIGKILL."""
PATIENCE = 20.0
_GENTLE = "import signal; print('listening', flush=True); signal.pause()"
_DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"


def run(client: Client) -> Verdict:
    """Start both, stop both, look for them from outside."""
    gentle_pid, gentle_took, gentle_left = _start_and_stop(client, "gentle", _GENTLE)
    deaf_pid, deaf_took, deaf_left = _start_and_stop(client, "deaf", _DEAF)
    zombies = count_zombies(client.ping().pid)
    gone = not psutil.pid_exists(gentle_pid) and not psutil.pid_exists(deaf_pid)
    held = gone and not zombies and not gentle_left and not deaf_left and deaf_took >= GRACE
    said = (
        f"pid {gentle_pid} ended by SIGTERM in {gentle_took * 1000:.0f} ms;"
        f" pid {deaf_pid} ignored it and was killed after {deaf_took * 1000:.0f} ms;"
        f" survivors {gentle_left + deaf_left}, zombies {zombies}"
    )
    facts = {
        "gentle": {"pid": gentle_pid, "seconds": round(gentle_took, 4)},
        "forced": {"pid": deaf_pid, "seconds": round(deaf_took, 4), "grace": GRACE},
        "survivors": gentle_left + deaf_left,
        "zombies": zombies,
    }
    return Verdict(held, said, facts)


def _start_and_stop(client: Client, name: str, program: str) -> tuple[int, float, int]:
    """Process id, seconds that the stop took, survivors."""
    started = client.start_process(name, [sys.executable, "-c", program], restart="never", grace=GRACE)
    _await_output(client, name)
    begin = time.perf_counter()
    stopped = client.stop(name)
    return started.pids[0], time.perf_counter() - begin, stopped.survivors


def _await_output(client: Client, name: str) -> None:
    """Until it has said something: only then does it hear, or not hear, signals."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        reply, frames = client.connection.call("logs", {"id": name, "wait": PATIENCE})
        if len(frames[0]):
            return
        if reply["ended"]:
            break
    raise StartFailed(f"the process {name} said nothing", hint=f"stderr: {bytes(frames[1])!r}")


def count_zombies(daemon: int) -> int:
    """Dead and unreaped processes below the daemon, seen from outside."""
    found = 0
    for child in psutil.Process(daemon).children(recursive=True):
        try:
            found += child.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            continue
    return found
