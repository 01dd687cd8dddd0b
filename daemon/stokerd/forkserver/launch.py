"""Executing an environment's interpreter as its forkserver, and the process that comes of it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import final

from stoker.protocol import segments
from stoker.protocol.models import Environment
from stokerd.forkserver.orders import MAX_TEXT

MAIN = Path(__file__).with_name("main.py")

_PRIVATE = ("NOTIFY_SOCKET", "LISTEN_", "WATCHDOG_")
"""Variables by which the service manager talks to the daemon alone."""


def variables(environment: Environment, own: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables of an environment's processes: the daemon's own without its private ones, and over them ``env``."""
    return {name: value for name, value in own.items() if not name.startswith(_PRIVATE)} | environment.env


def lent_packages(names: tuple[str, ...]) -> dict[str, str]:
    """Where the daemon's own copies of packages lie: name -> directory; those that it lacks are left out."""
    found = {}
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            found[name] = next(iter(spec.submodule_search_locations))
    return found


def lent_segments() -> dict[str, str]:
    """Where the file lies by which children read and make segments of shared memory: one file, at both ends."""
    return {"stoker_segments": str(Path(segments.__file__).parent)}


@final
class Interpreter:
    """A running interpreter, in a session of its own.

    To be started from the daemon's main thread: the kernel ends the forkserver with the *thread* that started it. This
    takes as long as the exec, not as long as the interpreter needs until it is ready.

    Args:
        environment: what to execute, and where.
        orders: descriptor of the forkserver's end of the socket.

    Raises:
        OSError: it can't be executed.
        ValueError: a path or variable holds a null character.
    """

    def __init__(self, environment: Environment, orders: int) -> None:
        self._stderr = os.memfd_create("stoker-forkserver", os.MFD_CLOEXEC)
        try:
            self._process = _execute(environment, orders, self._stderr)
            self.pidfd = self._watchable()
        except BaseException:
            os.close(self._stderr)
            raise

    def _watchable(self) -> int:
        try:
            return os.pidfd_open(self._process.pid)
        except OSError:
            self._process.kill()
            self._process.wait()
            raise

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def terminate(self) -> None:
        """Ask it to kill its children and end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it by force."""
        self._process.kill()

    def reap(self) -> int:
        """Its exit code, negative for a signal. To be called once ``pidfd`` can be read, so it does not block."""
        return self._process.wait()

    def complaint(self) -> str:
        """The end of what it wrote to stderr."""
        size = os.fstat(self._stderr).st_size
        return os.pread(self._stderr, MAX_TEXT, max(0, size - MAX_TEXT)).decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Give its descriptors back."""
        os.close(self.pidfd)
        os.close(self._stderr)


def _execute(environment: Environment, orders: int, stderr: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [environment.executable, str(MAIN), str(orders), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        cwd=environment.cwd,
        env=variables(environment),
        pass_fds=(orders,),
        start_new_session=True,
    )


def why_not(environment: Environment, error: Exception) -> str:
    """Why the interpreter could not be executed, for people."""
    reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    if isinstance(error, OSError) and error.filename == environment.cwd != environment.executable:
        return f"cannot enter the working directory {environment.cwd}: {reason}"
    return f"cannot execute the interpreter {environment.executable}: {reason}"
