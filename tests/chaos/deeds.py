"""What jobs of the chaos tests do beyond :mod:`tests.integration.work`. The daemon's workers import it as ``deeds``."""

from __future__ import annotations

import hashlib
import os
import signal
import time
import zlib
from pathlib import Path


def _append(path: str, line: object) -> None:
    """In one write, so that lines of several processes never mix, and none is lost with its writer."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, f"{line}\n".encode())
    finally:
        os.close(fd)


def _wait_for(path: str) -> None:
    while not os.path.exists(path):  # noqa: PTH110 - cheap, it is asked often
        time.sleep(0.002)


def writes_line(path: str, value: int) -> int:
    """Leave a trace of each time that this was run."""
    _append(path, value)
    return value * value


def writes_line_and_waits(path: str, value: int, go: str) -> int:
    """Likewise, and end when told."""
    _append(path, value)
    _wait_for(go)
    return value * value


def computes(mark: str) -> None:
    """Pure Python, for ever."""
    Path(f"{mark}.{os.getpid()}").touch()
    number = 0
    while True:
        number = (number * 31 + 7) % 1_000_003


def hashes(mark: str) -> bytes:
    """One call of a C function that takes an hour."""
    Path(f"{mark}.{os.getpid()}").touch()
    return hashlib.pbkdf2_hmac("sha256", b"word", b"salt", 2_000_000_000)


def compresses(mark: str) -> int:
    """One call of a C function with a long buffer, again and again: half of a worker's time in it, or more."""
    data = os.urandom(64_000_000)
    Path(f"{mark}.{os.getpid()}").touch()
    while True:
        zlib.compress(data, 9)


def holds(endpoint: str, lock: str, mark: str) -> None:
    """Acquire a shared lock, and never release it."""
    from stoker import Client, shared

    held = shared.Lock(lock, client=Client(endpoint))
    held.acquire()
    Path(f"{mark}.{os.getpid()}").touch()
    while True:
        signal.pause()


def eats(megabytes: int, mark: str) -> int:
    """Touch so much memory, a little at a time."""
    Path(f"{mark}.{os.getpid()}").touch()
    eaten = []
    for _ in range(megabytes):
        eaten.append(b"x" * 1_000_000)
        time.sleep(0.001)
    while True:
        signal.pause()


def dies() -> None:
    """Kill the worker."""
    os.kill(os.getpid(), signal.SIGKILL)


def dies_and_tells(path: str) -> None:
    """Likewise, and leave a line."""
    _append(path, os.getpid())
    os.kill(os.getpid(), signal.SIGKILL)


def dies_until(path: str, times: int) -> int:
    """Kill the worker the first ``times`` times."""
    _append(path, os.getpid())
    count = len(Path(path).read_text().splitlines())
    if count <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return count


def fails_until(path: str, times: int) -> int:
    """Raise the first ``times`` times."""
    _append(path, os.getpid())
    count = len(Path(path).read_text().splitlines())
    if count <= times:
        raise ValueError(f"attempt {count}")
    return count


def prints(number: int, at: int, mark: str, deaf: bool) -> int:
    """Say something; one of them does not end by itself, and where it is deaf, by nothing but SIGKILL."""
    print(f"job {number}")  # noqa: T201 - that is what it is for
    if number == at:
        Path(f"{mark}.{os.getpid()}").touch()
        while True:
            try:
                time.sleep(1000)
            except BaseException:
                if not deaf:
                    raise
    return number
