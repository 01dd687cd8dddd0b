"""What the jobs of the integration and chaos tests do. The daemon's workers import it as ``work``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path


def square(x: int) -> int:
    return x * x


def pid() -> int:
    return os.getpid()


def fails(text: str) -> None:
    raise ValueError(text)


def fails_unless(path: str) -> str:
    return Path(path).read_text()


def nested(depth: int) -> list[object]:
    found: list[object] = []
    for _ in range(depth):
        found = [found]
    return found


def extension() -> object:
    import msgpack

    return [msgpack.ExtType(5, b"x")]


def marked(mark: str, go: str = "", value: int = 0) -> int:
    """Say that it runs, wait to be told to go on, and say who it was."""
    Path(f"{mark}.{os.getpid()}").touch()
    while go and not os.path.exists(go):  # noqa: PTH110 - cheap, it is asked often
        time.sleep(0.002)
    return value or os.getpid()


def blocks_at(x: int, at: int, mark: str, go: str) -> int:
    """Quick, but for one of them."""
    return marked(mark, go, value=x + 1) if x == at else x + 1


def swallows(mark: str) -> None:
    """Not to be ended by anything but SIGKILL."""
    Path(mark).touch()
    while True:
        try:
            time.sleep(1000)
        except BaseException:  # noqa: S112 - that is what it is for
            continue


def in_c(mark: str) -> None:
    """Blocked in a C call that no signal handler can interrupt."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    Path(mark).touch()
    threading.Event().wait()


def writes(number: int) -> int:
    """To both streams, at every level there is."""
    print(f"print {number}")  # noqa: T201 - likewise
    os.write(1, b"write %d\n" % number)
    subprocess.run(["echo", f"child {number}"], check=True)
    os.write(2, b"error %d\n" % number)
    return number


def floods(megabytes: int, mark: str, go: str) -> int:
    chunk = b"x" * 1_000_000
    for _ in range(megabytes):
        os.write(1, chunk)
    return marked(mark, go, value=megabytes)


def appends(path: str, text: str) -> None:
    with Path(path).open("a") as file:
        file.write(text)


def where() -> dict[str, object]:
    return {"version": list(sys.version_info[:2]), "cwd": str(Path.cwd()), "path": sys.path, "prefix": sys.prefix}


def large(size: int, mark: str = "") -> bytes:
    if mark:
        Path(f"{mark}.{os.getpid()}").touch()
    return b"v" * size


def leaves_a_thread() -> int:
    """A thread that the interpreter waits for at its end, for ever."""
    threading.Thread(target=threading.Event().wait).start()
    return os.getpid()


def spends(seconds: float, x: int) -> int:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    return x * x
