"""A child as the daemon holds it: the descriptors that it shares with it, and what is known of it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import socket
from collections.abc import Callable
from typing import Any, final

from stoker.errors import Unavailable
from stokerd.child import Child, Exit, ForkSpec
from stokerd.headroom import is_scarce


@final
class Offspring:
    """Implements :class:`stokerd.child.Child`.

    Args:
        number: its number in orders and reports.
        spec: what was ordered.
        on_started: see :meth:`stokerd.child.Forker.fork`.
        on_exit: likewise.
        group: directory of the control group that it goes into; empty: the forkserver's.

    Raises:
        Unavailable: the system refuses descriptors or memory.
    """

    __slots__ = ("_on_exit", "_on_started", "_send_signal", "channel", "ended", "given", "group", "lent", "number",
                 "output", "page", "pid", "spec")  # fmt: skip

    def __init__(
        self,
        number: int,
        spec: ForkSpec,
        on_started: Callable[[Child], None],
        on_exit: Callable[[Child, Exit], None],
        group: str = "",
    ) -> None:
        self.number = number
        self.group = group
        self.spec = spec
        self.pid: int | None = None
        self.channel: socket.socket | None = None
        self.page: mmap.mmap | None = None
        self.output: tuple[int, int] | None = None
        self.ended = False
        self.lent: list[int] = []
        self.given: list[int] = []
        self._on_started = on_started
        self._on_exit = on_exit
        self._send_signal: Callable[[int, int, bool], None] | None = None
        try:
            self._open()
        except OSError as why:
            self.release()
            raise Unavailable(
                f"cannot start {spec.name}: {why.strerror}",
                hint="raise the limits of open files and memory, or run fewer processes",
            ) from None

    def _open(self) -> None:
        if is_scarce():
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        if self.spec.channel:
            self.channel, theirs = socket.socketpair()
            self.channel.setblocking(False)
            self._give(theirs.detach())
        if self.spec.page_bytes:
            fd = os.memfd_create("stoker-page", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            self._give(fd)
            os.ftruncate(fd, self.spec.page_bytes)
            # A child that could shrink it could kill the daemon by SIGBUS.
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            self.page = mmap.mmap(fd, self.spec.page_bytes)
        if self.spec.pipes:
            self.output = self._capture_by_pipes()
        elif self.spec.capture:
            self.output = self._capture_in_files()
            self.lent += self.output

    def _capture_by_pipes(self) -> tuple[int, int]:
        out, theirs = os.pipe2(os.O_CLOEXEC)
        self._give(theirs)
        try:
            err, theirs = os.pipe2(os.O_CLOEXEC)
        except OSError:
            os.close(out)
            raise
        self._give(theirs)
        os.set_blocking(out, False)
        os.set_blocking(err, False)
        return out, err

    def _capture_in_files(self) -> tuple[int, int]:
        out = _appended_file("stoker-stdout")
        try:
            return out, _appended_file("stoker-stderr")
        except OSError:
            os.close(out)
            raise

    def _give(self, fd: int) -> None:
        self.lent.append(fd)
        self.given.append(fd)

    def order(self) -> dict[str, Any]:
        """The order to fork it; ``lent`` goes with it."""
        spec = self.spec
        return {
            "do": "fork",
            "id": self.number,
            "target": spec.target,
            "name": spec.name,
            "args": spec.args,
            "channel": spec.channel,
            "page": bool(spec.page_bytes),
            "capture": spec.capture or spec.pipes,
            "nice": spec.nice,
            "cpus": spec.cpus,
            "group": self.group,
        }

    def ordered(self, send_signal: Callable[[int, int, bool], None]) -> None:
        """The order is on its way and owns the descriptors in ``given``; signals go through ``send_signal``."""
        self.given, self.lent = [], []
        self._send_signal = send_signal

    def release(self) -> None:
        """Close all descriptors: the order was not given, and nobody else has seen this."""
        for fd in self.given:
            os.close(fd)
        for fd in self.output or ():
            os.close(fd)
        if self.channel is not None:
            self.channel.close()
        if self.page is not None:
            self.page.close()
        self.given, self.lent, self.output, self.channel, self.page = [], [], None, None, None

    def signal(self, signum: int, *, group: bool = True) -> bool:
        """See :class:`stokerd.child.Child`. The forkserver sends it: it alone knows that the id is not reused."""
        if self.ended or self._send_signal is None:
            return False
        self._send_signal(self.number, int(signum), group)
        return True

    def started(self) -> None:
        """Tell whoever ordered it that it has a pid."""
        self._on_started(self)

    def finished(self, how: Exit) -> None:
        """Tell whoever ordered it that it is no more."""
        self._on_exit(self, how)


def _appended_file(name: str) -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND | fcntl.fcntl(fd, fcntl.F_GETFL))
    return fd
