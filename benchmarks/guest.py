"""A peer's process, seen from here: asked with a time limit, and ended with all that it started."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.environments import ROOT, interpreter, require, variables
from benchmarks.failure import NOTHING, Failed
from benchmarks.peers import Entry

START_DEADLINE = 90.0
BLOCK_DEADLINE = 60.0
STOP_PATIENCE = 20.0
MARK = "STOKER_BENCHMARK_OF"


class Guest:
    """One peer, alive.

    Args:
        group: which table of :mod:`benchmarks.peers` it is in.
        name: its name there.
        scratch: a directory for it, made here.

    Raises:
        Failed: it is not installed, or did not come up.
    """

    def __init__(self, group: str, name: str, entry: Entry, scratch: Path) -> None:
        require(entry.programs)
        python = interpreter(entry.requirements)
        scratch.mkdir()
        self.name, self._scratch = name, scratch
        ours, theirs = os.pipe()
        argv = [python, "-m", "benchmarks.peers", group, name, str(scratch), str(theirs)]
        with (scratch / "output").open("wb") as output:
            self._process = subprocess.Popen(
                argv,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=(theirs,),
                cwd=ROOT,
                env=variables(python, mark(scratch)),
                start_new_session=True,
            )
        os.close(theirs)
        self._answers, self._rest = ours, b""
        self._known: set[psutil.Process] = set()
        try:
            self.version: str = self._answer(START_DEADLINE)["version"]
        except Failed:
            self.kill()
            raise
        self._known = set(_below(self._process.pid))

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def ask(self, measure: str, size: int) -> dict[str, Any]:
        """One block: ``figures`` and the ``seconds`` that it took.

        Raises:
            Failed: it has nothing of the kind, broke, or did not answer in time; then it is no longer alive.
        """
        if self._process.poll() is not None:
            raise Failed(f"is not alive any more{self._last_words()}")
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"measure": measure, "size": size}).encode() + b"\n")
            return self._answer(BLOCK_DEADLINE)
        except BrokenPipeError as error:
            raise Failed(f"died{self._last_words()}") from error

    def _answer(self, patience: float) -> dict[str, Any]:
        end = time.monotonic() + patience
        while b"\n" not in self._rest:
            if not select.select([self._answers], [], [], max(0.0, end - time.monotonic()))[0]:
                self.kill()
                raise Failed(f"did not answer within {patience:.0f} s")
            if not (read := os.read(self._answers, 1 << 16)):
                raise Failed(f"died{self._last_words()}")
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if answer.get("missing"):
            raise Failed(NOTHING)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def _last_words(self) -> str:
        lines = (self._scratch / "output").read_text(errors="replace").strip().splitlines()
        return f": {lines[-1][:200]}" if lines else ""

    def close(self) -> None:
        """Let it end, and end what is left of it."""
        if self._process.poll() is None:
            self._known |= set(_below(self._process.pid))
            assert self._process.stdin is not None
            self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_PATIENCE)
        self.kill()

    def kill(self) -> None:
        """End it at once."""
        _kill({*self._known, *_below(self._process.pid)})
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        end_marked(self._scratch)
        if self._answers >= 0:
            os.close(self._answers)
            self._answers = -1


def _below(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kill(processes: Iterable[psutil.Process]) -> None:
    """Kill them, and return when they have ended."""
    dying = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            held = os.pidfd_open(process.pid)
            try:
                process.kill()  # psutil looks first whether the number is still this process's
            except BaseException:
                os.close(held)
                raise
            dying.append(held)
    _see_end(dying)


def _see_end(dying: Iterable[int]) -> None:
    """Wait for processes that were killed, and close their descriptors."""
    for held in dying:
        select.select([held], [], [], STOP_PATIENCE)
        os.close(held)


def mark(scratch: Path) -> dict[str, str]:
    """The variable that all processes of a guest have, however they were started."""
    return {MARK: f"{scratch}/"}


def end_marked(scratch: Path) -> None:
    """End the processes that have the mark of this directory, or of one in it, and lost their parents."""
    wanted = f"{MARK}={scratch}/".encode()
    dying = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            held = os.pidfd_open(int(entry.name))
            try:
                if any(variable.startswith(wanted) for variable in (entry / "environ").read_bytes().split(b"\0")):
                    signal.pidfd_send_signal(held, signal.SIGKILL)
                    dying.append(held)
            finally:
                if held not in dying:
                    os.close(held)
    _see_end(dying)
