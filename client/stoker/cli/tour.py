"""The tour of ``stoker demo``: a private daemon, the steps one after the other, and its end in any case."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import psutil

from stoker.cli import launch
from stoker.client import Client
from stoker.demo import burning, counting, killing, mapped, processes, squares
from stoker.demo.verdict import Verdict
from stoker.protocol.endpoint import Endpoint, parse

IDLE_EXIT = 60.0
"""Seconds of idleness after which the daemon leaves by itself, should this process be killed."""
PATIENCE = 15.0
Step = tuple[str, str, Callable[[Client], Verdict]]

STEPS: tuple[Step, ...] = (
    ("processes", "start two, end one gently and one by force", processes.run),
    ("queue", "square numbers that travel through shared queues", squares.run),
    ("map", "cube a range in the pool", mapped.run),
    ("lock", "4 jobs add 1 to a shared value, 1000 times each, under a lock", counting.run),
    ("burners", "two burners at 60 % of a core, seen from outside", burning.run),
    ("kill", "kill a worker in the middle of a map, and have all results nevertheless", killing.run),
)


def run(
    timeout: float | None, announce: Callable[[str, str], None], tell: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Run every step; the outcome as a map.

    Args:
        timeout: seconds for the daemon to serve; None: its default.
        announce: called with name and title before each step.
        tell: called with each step's map after it.
    """
    begin = time.monotonic()
    steps: list[dict[str, Any]] = []
    with _ended_by_signals(), _private_daemon(timeout) as (where, pid, ending):
        announce("daemon", f"a private one, pid {pid}, at {where.url}")
        with Client(where.url) as client:
            for name, title, step in STEPS:
                announce(name, title)
                steps.append({"name": name, **_verdict(step, client)._asdict()})
                tell(steps[-1])
            announce("end", "shut the daemon down and look for what is left of it")
            steps.append({"name": "end", **ending(client)._asdict()})
            tell(steps[-1])
    return {"held": all(step["held"] for step in steps), "seconds": round(time.monotonic() - begin, 3), "steps": steps}


def _verdict(step: Callable[[Client], Verdict], client: Client) -> Verdict:
    """What comes of a step; one that breaks has not held, and the others go on."""
    try:
        return step(client)
    except Exception as why:
        return Verdict(held=False, said=f"{type(why).__name__}: {why}", facts={"error": f"{type(why).__name__}: {why}"})


@contextmanager
def _private_daemon(timeout: float | None) -> Iterator[tuple[Endpoint, int, Callable[[Client], Verdict]]]:
    """A daemon in a directory of its own; gone, and the directory too, when this is over."""
    directory = tempfile.mkdtemp(prefix="stoker-demo-")
    before = os.environ.get("STOKER_SOCKET")
    try:
        where = parse(f"{directory}/demo.sock")
        # The daemon and its workers inherit it, so that what runs in a worker finds the shared objects.
        os.environ["STOKER_SOCKET"] = where.url
        words = ["--state-dir", f"{directory}/state", *launch.options(None, IDLE_EXIT)]
        pid = launch.start(where, words, timeout)
        watch = os.pidfd_open(pid)
        try:
            yield where, pid, lambda client: _shut_down(client, pid, watch)
        finally:
            _make_sure(pid, watch)
    finally:
        os.environ.pop("STOKER_SOCKET") if before is None else os.environ.update(STOKER_SOCKET=before)
        shutil.rmtree(directory, ignore_errors=True)


def _shut_down(client: Client, pid: int, watch: int) -> Verdict:
    """Shutdown as ``stoker down`` does it; all that was below the daemon is looked for afterwards."""
    family = psutil.Process(pid).children(recursive=True)
    begin = time.perf_counter()
    client.shutdown(grace=0)
    ended = _gone(watch, PATIENCE)
    took = time.perf_counter() - begin
    left = [process.pid for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    said = f"the daemon and its {len(family)} processes ended in {took * 1000:.0f} ms; left: {len(left)}"
    return Verdict(
        ended and not left, said, {"pid": pid, "processes": len(family), "seconds": round(took, 4), "left": left}
    )


def _make_sure(pid: int, watch: int) -> None:
    """However we got here, the daemon ends, and its children with it."""
    try:
        if not _gone(watch, 0):
            signal.pidfd_send_signal(watch, signal.SIGTERM)
            if not _gone(watch, PATIENCE):
                signal.pidfd_send_signal(watch, signal.SIGKILL)
                _gone(watch, PATIENCE)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)  # it is our child, and whoever looks should not find it as a zombie
    finally:
        os.close(watch)


def _gone(watch: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind as Ctrl-C does, so that the daemon is ended."""

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signal module's face
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
