"""Running a command inside a worker: its own process group, no orphan, the worker's captured output.

Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes of a shell for a program that is not there, and one that can't be run."""

_libc = ctypes.CDLL(None)

announce: Callable[[int], None] = lambda _pid: None  # noqa: E731 - replaced by the worker with the writer of its page
"""Called with the command's process id when it runs, and with 0 when it has ended."""


class CommandFailed(Exception):
    """A command ended with a code other than 0, or could not be run at all."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Shelter:
    """Keeps out what the signals of a cancel raise, while nobody could say which command is to be ended."""

    def __init__(self) -> None:
        self._closed = False
        self._missed: type[BaseException] | None = None

    def admit(self, kind: type[BaseException]) -> None:
        """Raise it, now or when the shelter is opened. For signal handlers."""
        if not self._closed:
            raise kind
        self._missed = kind

    def close(self) -> None:
        """From now on, nothing is raised."""
        self._closed, self._missed = True, None

    def open(self) -> None:
        """From now on, and at once what was kept out."""
        self._closed = False
        if self._missed is not None:
            raise self._missed

    def leave(self) -> None:
        """The command is over, and what was meant for it with it."""
        self._closed = False


shelter = Shelter()


def _settle_in(worker: int) -> None:
    """In the child, before its program is executed: die with the worker."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != worker:
        os._exit(NOT_EXECUTABLE)  # it was killed before it could be seen to be gone


def run_command(spec: dict[str, Any]) -> int:
    """Run ``argv`` to its end; returns 0.

    Raises:
        CommandFailed: it ended otherwise.
    """
    argv: list[str] = spec["argv"]
    stdin = _stdin(spec.get("stdin"))
    shelter.close()
    try:
        process = subprocess.Popen(
            argv,
            stdin=stdin,
            cwd=spec.get("cwd"),
            env={**os.environ, **spec.get("env", {})},
            process_group=0,
            preexec_fn=functools.partial(_settle_in, os.getpid()),  # noqa: PLW1509 - a worker has one thread
        )
    except BaseException as why:
        shelter.open()
        if not isinstance(why, OSError):
            raise
        raise _not_started(argv[0], why, spec.get("cwd")) from None
    finally:
        if stdin >= 0:
            os.close(stdin)
    return _see_through(process, argv[0])


def _see_through(process: subprocess.Popen[bytes], program: str) -> int:
    try:
        announce(process.pid)
        shelter.open()
        code = _await(process)
    finally:
        shelter.close()
        # A command's process group ends with it: nothing that it left behind may outlive its job.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        announce(0)
        shelter.leave()
    if code == 0:
        return 0
    if code < 0:
        raise CommandFailed(f"{program} was ended by {_signal_name(-code)}", code)
    raise CommandFailed(f"{program} ended with exit code {code}", code)


def _await(process: subprocess.Popen[bytes]) -> int:
    """The exit code; the process is left unreaped, so that its group can't be another's when it is killed."""
    info = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert info is not None  # noqa: S101 - without WNOHANG there is an answer
    return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status


def _stdin(data: bytes | None) -> int:
    if data is None:
        return subprocess.DEVNULL
    handle = os.memfd_create("stdin", os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
    os.lseek(handle, 0, os.SEEK_SET)
    return handle


def _not_started(program: str, why: OSError, cwd: str | None) -> CommandFailed:
    if isinstance(why, FileNotFoundError) and cwd is not None and not Path(cwd).is_dir():
        return CommandFailed(f"there is no directory {cwd!r} to run {program} in", NOT_FOUND)
    if isinstance(why, FileNotFoundError):
        return CommandFailed(f"there is no program {program!r}", NOT_FOUND)
    return CommandFailed(f"{program} can't be run: {why.strerror}", NOT_EXECUTABLE)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
