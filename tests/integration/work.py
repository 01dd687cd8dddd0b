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


def counts_down(path: str, failures: int, kind: str = "ValueError") -> int:
    """Fails so often, then returns how often it was called."""
    with Path(path).open("a") as file:
        file.write("x")
    calls = len(Path(path).read_text())
    if calls > failures:
        return calls
    raise {"ValueError": ValueError, "ConnectionResetError": ConnectionResetError}[kind](f"call {calls}")


def dies(signum: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), signum)


def eats(megabytes: int, mark: str = "", go: str = "") -> int:
    """Holds so much memory, every page of it touched, until it is told to go on."""
    held = bytearray(megabytes * 1_000_000)
    for at in range(0, len(held), 4096):
        held[at] = 1
    return marked(mark, go, value=len(held)) if mark else len(held)


def counts_to(total: int, mark: str, go: str) -> int:
    """Says that it has come half-way, and waits there."""
    import stoker

    stoker.progress(total / 2, total, "half-way")
    return marked(mark, go, value=total)


def threads() -> list[str | None]:
    return [os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")]


def begins(text: str) -> None:
    """An initializer."""
    global begun  # noqa: PLW0603 - that is what an initializer is for
    begun = text


begun = ""


def began() -> tuple[str, int]:
    return begun, os.getpid()


def descends(depth: int) -> int:
    """Waits for a job like itself, and so on."""
    import stoker

    return 0 if depth == 0 else 1 + stoker.default_client().submit(descends, depth - 1).result()


def gathers(path: str, most: int) -> int:
    """How many of these ran at once, as far as this one could see: each holds a file for a moment of work."""
    mine = Path(f"{path}.{os.getpid()}")
    mine.touch()
    seen = len(list(mine.parent.glob(f"{mine.name.partition('.')[0]}.*")))
    for _ in range(200):
        spends(0.0001, 1)
        seen = max(seen, len(list(mine.parent.glob(f"{mine.name.partition('.')[0]}.*"))))
    mine.unlink()
    assert seen <= most, f"{seen} at once"
    return seen
