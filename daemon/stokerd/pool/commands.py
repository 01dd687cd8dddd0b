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
HELD_BACK = frozenset({signal.SIGINT, signal.SIGTERM})
NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes of a shell for a program that is not there, and one that can't be run."""

Mask = set[int | signal.Signals]

_libc = ctypes.CDLL(None)

announce: Callable[[int], None] = lambda _pid: None  # noqa: E731 - replaced by the worker with the writer of its page
"""Called with the command's process id when it runs, and with 0 when it has ended."""


class CommandFailed(Exception):
    """A command ended with a code other than 0, or could not be run at all."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def _settle_in(worker: int, mask: Mask) -> None:
    """In the child, before its program is executed: die with the worker, and have the signals that were held back."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != worker:
        os._exit(NOT_EXECUTABLE)  # it was killed before it could be seen to be gone
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def run_command(spec: dict[str, Any]) -> int:
    """Run ``argv`` to its end; returns 0.

    Raises:
        CommandFailed: it ended otherwise.
    """
    argv: list[str] = spec["argv"]
    stdin = _stdin(spec.get("stdin"))
    # From its fork until it is announced, a cancel must not cut in: nobody would know of the command.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
    try:
        process = subprocess.Popen(
            argv,
            stdin=stdin,
            cwd=spec.get("cwd"),
            env={**os.environ, **spec.get("env", {})},
            process_group=0,
            preexec_fn=functools.partial(_settle_in, os.getpid(), mask),  # noqa: PLW1509 - a worker has one thread
        )
    except BaseException as why:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if not isinstance(why, OSError):
            raise
        raise _not_started(argv[0], why, spec.get("cwd")) from None
    finally:
        if stdin >= 0:
            os.close(stdin)
    return _see_through(process, argv[0], mask)


def _see_through(process: subprocess.Popen[bytes], program: str, mask: Mask) -> int:
    try:
        announce(process.pid)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        code = _await(process)
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
        # A command's process group ends with it: nothing that it left behind may outlive its job.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        announce(0)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
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
