"""Which daemon to talk to, and starting a private one where there is none.

Never called at import, only by whoever makes a client.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stoker.errors import (
    ConnectionFailed,
    EndpointInUse,
    NobodyListening,
    PermissionRefused,
    StartFailed,
    from_wire,
)
from stoker.protocol import endpoint as endpoints

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

IDLE_EXIT = 900
"""Seconds without work after which a private daemon leaves."""

READY_DEADLINE = 10.0
"""Seconds within which a private daemon must serve."""

ENABLED = "/etc/systemd/system/multi-user.target.wants/stokerd.service"
"""Lies there when the machine's service is to run always."""

BETWEEN_LIVES = 5.0
"""Seconds within which the machine's service is back: its RestartSec of 1, and the time that it takes to start."""

_RETRY = 0.02
_started: list[subprocess.Popen[bytes]] = []
"""Private daemons that are children of this process: kept to be reaped."""


def locate(explicit: str | None, *, autostart: bool | None, environ: Mapping[str, str]) -> str:
    """The URL of the daemon to talk to; starts a private one for this user if nobody named one and none answers.

    Args:
        explicit: what the user named; None: nothing.
        autostart: whether one may be started; None: unless ``STOKER_AUTOSTART=0``.
        environ: the environment variables.

    Raises:
        BadEndpoint: what was named cannot be used.
        NobodyListening: no daemon, and none may or can be started.
        PermissionRefused: the runtime directory is not this user's own.
        StartFailed: it did not come up.
    """
    named = endpoints.chosen(explicit, environ)
    if named is not None:
        return named.url
    own = endpoints.default(environ, os.getuid())
    path = str(own.path)
    for candidate in (path, endpoints.SYSTEM_SOCKET):
        if _answers(candidate):
            return f"ipc://{candidate}"
    if _comes_back(endpoints.SYSTEM_SOCKET, ENABLED):
        return f"ipc://{endpoints.SYSTEM_SOCKET}"
    if autostart is None:
        autostart = environ.get("STOKER_AUTOSTART", "1").lower() not in ("0", "no", "false", "off")
    if not autostart:
        raise NobodyListening(
            f"nobody listens at {own.url}, and none is to be started", hint="start one with `stoker up`"
        )
    _start(own.url, path, environ)
    return own.url


def _comes_back(path: str, enabled: str) -> bool:
    """Whether the machine's service is between two lives and answers in a moment: a private daemon in its stead would
    know nothing of its jobs.

    Args:
        path: its control socket.
        enabled: what lies there when it is to run always.
    """
    if not (os.path.lexists(path) or os.path.lexists(enabled)):
        return False
    import socket

    deadline = time.monotonic() + BETWEEN_LIVES
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as plain:
            verdict = plain.connect_ex(path)
        if verdict not in (errno.ECONNREFUSED, errno.ENOENT):
            return verdict == 0  # else it is not for this user
        if time.monotonic() > deadline:
            return False
        time.sleep(_RETRY)


def _answers(path: str) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as plain:
        plain.settimeout(1.0)
        try:
            plain.connect(path)
        except OSError:
            return False
        return True


def _start(url: str, path: str, environ: Mapping[str, str]) -> None:
    """Start a private daemon at ``url``, or find that another client has just done so."""
    from pathlib import Path

    _reap()
    _check_installed(url)
    directory = Path(path).parent
    make_private(directory)
    log = directory / "stokerd.log"
    try:
        pid = _spawn(url, log, environ)
    except EndpointInUse:
        _await_winner(url, path)
        return
    print(  # noqa: T201 - the one note that the user is promised
        f"stoker: started a private daemon (pid {pid}) at {url}; it leaves after {IDLE_EXIT // 60} idle minutes",
        file=sys.stderr,
    )


def _reap() -> None:
    _started[:] = [child for child in _started if child.poll() is None]


def _check_installed(url: str) -> None:
    import importlib.util

    if importlib.util.find_spec("stokerd") is None:
        raise NobodyListening(
            f"nobody listens at {url}, and the daemon is not installed in {sys.prefix}",
            hint="install stoker whole, or name a running daemon by STOKER_SOCKET",
        )
    if not sys.executable:
        raise NobodyListening(
            f"nobody listens at {url}, and this interpreter does not know its own program to start one",
            hint="start one with `stoker up`",
        )


def make_private(directory: Path) -> None:
    """Make a directory that only this user can enter, or check that it is one.

    Raises:
        PermissionRefused: it is a symbolic link, belongs to somebody else, or others can enter it.
        ConnectionFailed: it cannot be made.
    """
    import stat

    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            directory.mkdir(0o700)
        found = directory.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and found.st_mode & 0o077:
            directory.chmod(0o700)
    except OSError as why:
        raise ConnectionFailed(
            f"the runtime directory {directory} cannot be made: {why.strerror}",
            hint="set XDG_RUNTIME_DIR to a directory of yours",
        ) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionRefused(
            f"{directory} is not a directory of this user's own, so no socket in it can be trusted",
            hint="remove it, or set XDG_RUNTIME_DIR to a directory of yours",
        )


def _spawn(url: str, log: Path, environ: Mapping[str, str]) -> int:
    """Start it and wait until it serves; its pid."""
    import subprocess

    ready, told = os.pipe()
    try:
        with open(log, "ab", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600)) as output:
            child = subprocess.Popen(
                _command(url, told),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(told,),
                start_new_session=True,
                cwd="/",
                env=_absolute(environ),
            )
    finally:
        os.close(told)
    _started.append(child)
    try:
        return _await_ready(ready, child, log)
    finally:
        os.close(ready)


def _command(url: str, told: int) -> list[str]:
    options = {"--socket": url, "--idle-exit": str(IDLE_EXIT), "--ready-fd": str(told)}
    return [sys.executable, "-m", "stokerd", *(word for pair in options.items() for word in pair)]


def _absolute(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that starts in ``/``, where relative entries of PYTHONPATH would mislead."""
    copy = dict(environ)
    if path := copy.get("PYTHONPATH"):
        copy["PYTHONPATH"] = os.pathsep.join(os.path.abspath(entry) for entry in path.split(os.pathsep))
    return copy


def _await_ready(ready: int, child: subprocess.Popen[bytes], log: Path) -> int:
    line = _read_line(ready, time.monotonic() + READY_DEADLINE)
    if line is None:
        child.kill()
        child.wait()
        raise StartFailed(f"the private daemon did not serve within {READY_DEADLINE:.0f} s", hint=f"see {log}")
    if not line:
        code = child.wait()
        raise StartFailed(f"the private daemon ended at once with code {code}: {_last_words(log)}", hint=f"see {log}")
    import json

    word: dict[str, Any] = json.loads(line)
    if "error" in word:
        child.wait()
        raise from_wire(word["error"])
    return int(word["ready"]["pid"])


def _read_line(descriptor: int, deadline: float) -> bytes | None:
    """One line; empty at the end of the file, None when the time is over."""
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    line = b""
    while not line.endswith(b"\n"):
        if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
            return None
        more = os.read(descriptor, 65536)
        if not more:
            return b""
        line += more
    return line


def _last_words(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - 2000, 0))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return "nothing in its log"
    return lines[-1] if lines else "nothing in its log"


def _await_winner(url: str, path: str) -> None:
    """Another client's daemon owns the endpoint and is about to serve it; there is no descriptor that would tell."""
    deadline = time.monotonic() + READY_DEADLINE
    while not _answers(path):
        if time.monotonic() >= deadline:
            raise NobodyListening(
                f"another process owns {url} and does not answer", hint="see `stoker doctor`; is it stopped?"
            )
        time.sleep(_RETRY)
