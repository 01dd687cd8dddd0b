"""Running a command inside a worker: its own process group, no orphan, the worker's captured output.

Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import resource
import select
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
COPY_BYTES = 64 * 1024
"""Copied at once: what a pipe holds."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes of a shell for a program that is not there, and one that can't be run."""

_libc = ctypes.CDLL(None)

announce: Callable[[int], None] = lambda _pid: None  # noqa: E731 - replaced by the worker with the writer of its page
"""Called with the command's process id when it runs, and with 0 when it has ended."""


used: Callable[[resource.struct_rusage], None] = lambda _usage: None  # noqa: E731 - likewise
"""Called with what a command used, when it has ended."""
job = 0
"""The id of the job that the next command is."""
outputs = (1, 2)
"""Where stdout and stderr of commands are copied to."""


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
    out, err = map(Copied, outputs)
    shelter.close()
    try:
        process = subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=out.far,
            stderr=err.far,
            cwd=spec.get("cwd"),
            env={**os.environ, "STOKER_JOB": str(job), **spec.get("env", {})},
            process_group=0,
            preexec_fn=functools.partial(_settle_in, os.getpid()),  # noqa: PLW1509 - a worker has one thread
        )
    except BaseException as why:
        out.close()
        err.close()
        shelter.open()
        if not isinstance(why, OSError):
            raise
        raise _not_started(argv[0], why, spec.get("cwd")) from None
    finally:
        if stdin >= 0:
            os.close(stdin)
        out.hand_over()
        err.hand_over()
    return _see_through(process, argv[0], (out, err))


def _see_through(process: subprocess.Popen[bytes], program: str, streams: tuple[Copied, ...]) -> int:
    try:
        announce(process.pid)
        shelter.open()
        code = _await(process, streams)
    finally:
        shelter.close()
        # A command's process group ends with it: nothing that it left behind may outlive its job.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        for stream in streams:
            stream.copy()
            stream.close()
        _reap(process)
        announce(0)
        shelter.leave()
    if code == 0:
        return 0
    if code < 0:
        raise CommandFailed(f"{program} was ended by {_signal_name(-code)}", code)
    raise CommandFailed(f"{program} ended with exit code {code}", code)


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Wait for it as Popen would, and note what it used."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    used(usage)


class Copied:
    """One stream of a command: a pipe, from which this worker copies into its own captured output.

    Not that output itself, which is a file in memory: a shell's ``> /dev/stderr`` opens anew what it has as its stderr,
    and so would cut off what was written before. A pipe has no beginning to be cut off.

    Args:
        to: the descriptor that is copied to.
    """

    def __init__(self, to: int) -> None:
        self._to = to
        self.near, self.far = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.near, False)

    def hand_over(self) -> None:
        """The command has its end, or never will."""
        if self.far >= 0:
            os.close(self.far)
            self.far = -1

    def copy(self) -> bool:
        """What has been written since; False at the end of the stream."""
        while True:
            try:
                data = os.read(self.near, COPY_BYTES)
            except BlockingIOError:
                return True
            if not data:
                return False
            with contextlib.suppress(OSError):  # no memory for it: the command must not suffer for its words
                view = memoryview(data)
                while view:
                    view = view[os.write(self._to, view) :]

    def close(self) -> None:
        """Nothing more is copied."""
        self.hand_over()
        if self.near >= 0:
            os.close(self.near)
            self.near = -1


def _await(process: subprocess.Popen[bytes], streams: tuple[Copied, ...]) -> int:
    """The exit code; the process is left unreaped, so that its group can't be another's when it is killed.

    Its output is copied meanwhile. Not to the end of the stream, which whoever it leaves behind may hold open.
    """
    ended = os.pidfd_open(process.pid)
    try:
        poller = select.poll()
        poller.register(ended, select.POLLIN)
        by_fd = {stream.near: stream for stream in streams}
        for fd in by_fd:
            poller.register(fd, select.POLLIN)
        over = False
        while not over:
            for fd, _ in poller.poll():
                if fd == ended:
                    over = True
                elif not by_fd[fd].copy():
                    poller.unregister(fd)
    finally:
        os.close(ended)
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
