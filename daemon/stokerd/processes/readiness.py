"""When a process that has been executed is up: when it says so, when something listens, when a command succeeds.

Each kind is made before the fork, begins when the program has been executed, and is closed when the run is over or up.
``why_not`` says what it has seen so far, for whoever has waited in vain.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, final

from stoker.errors import StokerError, Unavailable
from stoker.protocol.processes import Address, address
from stokerd.child import Child, Exit, Forker, ForkSpec
from stokerd.clock import Clock, Timer
from stokerd.processes.settings import Settings

LOOK_EVERY = 0.1
"""Seconds between attempts to connect: the kernel tells nobody that somebody has begun to listen."""
RUN_EVERY = 0.5
"""Seconds from the end of one readiness command to the start of the next."""
MESSAGE_BYTES = 4096
STATUS_LENGTH = 256
_CREDENTIALS = struct.Struct("@3i")


class Readiness(Protocol):
    """See the module."""

    variables: dict[str, str]
    """What the program is told."""
    status: str
    """What it last said of itself."""

    def begin(self, pid: int) -> None:
        """The program has been executed."""

    def up(self) -> None:
        """It is up: nothing more is to be found out, though it may go on saying things."""

    def why_not(self) -> str:
        """Why it is not up yet."""

    def close(self) -> None:
        """Give back what it has."""


def make(clock: Clock, forker: Forker, settings: Settings, on_ready: Callable[[], object]) -> Readiness | None:
    """What these settings ask for; None: a process is up when it has been executed.

    Args:
        clock: time and descriptors.
        forker: forks readiness commands.
        settings: of one instance.
        on_ready: called once.
    """
    keep = settings.keep
    if keep.ready_command:
        return CommandReadiness(clock, forker, settings, on_ready)
    if keep.ready == "notify":
        return NotifyReadiness(clock, on_ready)
    return PortReadiness(clock, address(keep.ready), on_ready) if keep.ready else None


@final
class NotifyReadiness:
    """It says so itself, by the protocol of sd_notify(3): ``READY=1``, and ``STATUS=`` for people.

    The socket has an abstract name that nobody can guess. What comes from another user than the process's own, the
    daemon's or root is not listened to. Descriptors that come along are dropped by the kernel.
    """

    def __init__(self, clock: Clock, on_ready: Callable[[], object]) -> None:
        self._clock, self._on_ready = clock, on_ready
        self._pid = 0
        self.status = ""
        try:
            self._socket: socket.socket | None = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        except OSError as why:
            raise Unavailable(
                f"no socket for readiness: {why.strerror}", hint="raise the limit of open files"
            ) from None
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        name = f"stoker-notify-{secrets.token_hex(16)}"
        self._socket.bind(f"\0{name}")
        self.variables = {"NOTIFY_SOCKET": f"@{name}"}

    def begin(self, pid: int) -> None:
        """See :class:`Readiness`. What was said before this is in the socket."""
        self._pid = pid
        if self._socket is not None:
            self._clock.watch(self._socket.fileno(), self._hear)

    def up(self) -> None:
        """See :class:`Readiness`; its STATUS= is still listened to."""

    def why_not(self) -> str:
        """See :class:`Readiness`."""
        said = f"; it last said {self.status!r}" if self.status else ""
        return f"it did not say READY=1 on its NOTIFY_SOCKET{said}"

    def close(self) -> None:
        """See :class:`Readiness`."""
        if self._socket is not None:
            self._clock.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _hear(self) -> None:
        if self._socket is None:
            return
        try:
            data, ancillary, _, _ = self._socket.recvmsg(MESSAGE_BYTES, socket.CMSG_SPACE(_CREDENTIALS.size))
        except OSError:
            return
        if not self._is_trusted(ancillary):
            return
        said = dict(line.partition("=")[::2] for line in data.decode("utf-8", "replace").splitlines())
        self.status = said.get("STATUS", self.status)[:STATUS_LENGTH]
        if said.get("READY") == "1":
            self._on_ready()

    def _is_trusted(self, ancillary: list[tuple[int, int, bytes]]) -> bool:
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                uid = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])[1]
                return uid in {0, os.geteuid(), _user_of(self._pid)}
        return False


def _user_of(pid: int) -> int | None:
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return None


@final
class PortReadiness:
    """Something takes connections where it should listen."""

    def __init__(self, clock: Clock, where: Address, on_ready: Callable[[], object]) -> None:
        self._clock, self._where, self._on_ready = clock, where, on_ready
        self.variables: dict[str, str] = {}
        self.status = ""
        self._socket: socket.socket | None = None
        self._timer: Timer | None = None
        self._seen = "nothing was tried"

    def begin(self, pid: int) -> None:  # noqa: ARG002 - whoever listens will do
        """See :class:`Readiness`."""
        self._try()

    def up(self) -> None:
        """See :class:`Readiness`."""
        self.close()

    def why_not(self) -> str:
        """See :class:`Readiness`."""
        where = self._where
        shown = where.path or f"{where.host} port {where.port}"
        return f"nothing takes connections at {shown} ({self._seen})"

    def close(self) -> None:
        """See :class:`Readiness`."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._clock.unwatch_write(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _try(self) -> None:
        self._timer = None
        where = self._where
        family = socket.AF_UNIX if where.path else socket.AF_INET6 if ":" in where.host else socket.AF_INET
        try:
            self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            code = self._socket.connect_ex(where.path or (where.host, where.port))
        except OSError as why:
            code = why.errno or errno.EIO
        if code == errno.EINPROGRESS and self._socket is not None:
            self._clock.watch_write(self._socket.fileno(), self._connected)
        else:
            self._tried(code)

    def _connected(self) -> None:
        if self._socket is not None:
            self._clock.unwatch_write(self._socket.fileno())
            self._tried(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _tried(self, code: int) -> None:
        self.close()
        if code == 0:
            self._on_ready()
        else:
            self._seen = os.strerror(code)
            self._timer = self._clock.later(LOOK_EVERY, self._try)


@final
class CommandReadiness:
    """A command ends with 0: run again and again, as the process's user, in its directory and with its variables."""

    def __init__(self, clock: Clock, forker: Forker, settings: Settings, on_ready: Callable[[], object]) -> None:
        self._clock, self._forker, self._settings, self._on_ready = clock, forker, settings, on_ready
        self.variables: dict[str, str] = {}
        self.status = ""
        self._child: Child | None = None
        self._timer: Timer | None = None
        self._closed = False
        self._seen = "it was not run"

    def begin(self, pid: int) -> None:  # noqa: ARG002 - it knows whom it asks about
        """See :class:`Readiness`."""
        self._run()

    def up(self) -> None:
        """See :class:`Readiness`."""
        self.close()

    def why_not(self) -> str:
        """See :class:`Readiness`."""
        return f"its readiness command {self._settings.keep.ready_command[0]} does not end with 0 ({self._seen})"

    def close(self) -> None:
        """See :class:`Readiness`. A command that still runs is killed; the forkserver reaps it."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._child is not None:
            self._child.signal(9)

    def _run(self) -> None:
        self._timer = None
        argv = self._settings.keep.ready_command
        spec = ForkSpec(
            target="stokerd.processes.exec_main:main",
            name=f"{self._settings.name}-ready",
            args=settling(self._settings) | {"argv": argv},
            channel=True,
        )
        self._seen = "it still runs"
        try:
            self._child = self._forker.fork(self._forker.default, spec, lambda _: None, self._ended)
        except StokerError as why:
            self._seen = why.message
            self._timer = self._clock.later(RUN_EVERY, self._run)

    def _ended(self, child: Child, how: Exit) -> None:
        self._child = None
        told = b""
        if child.channel is not None:
            try:
                told = child.channel.recv(MESSAGE_BYTES)
            except OSError:
                told = b""
            child.channel.close()
        if self._closed:
            return
        if how.code == 0:
            self._on_ready()
            return
        self._seen = "it cannot be executed" if b'"error"' in told else f"it last ended with {how}"
        self._timer = self._clock.later(RUN_EVERY, self._run)


def settling(settings: Settings) -> dict[str, Any]:
    """What :func:`stokerd.processes.become.settle` is given."""
    keep = settings.keep
    args: dict[str, Any] = {"cwd": settings.cwd, "env": dict(settings.env)}
    for key in ("user", "group", "rlimits"):
        if given := getattr(keep, key):
            args[key] = given
    return args
