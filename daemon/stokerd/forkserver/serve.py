"""The forking process: it forks children as ordered, reaps them, reports, and lets nothing outlive the daemon.

One thread, one selector. Signals only note themselves and wake the selector. A child's end is seen by ``waitid``
without reaping (and not by a sentinel, which a grandchild may hold open): while the zombie is there its process id
means nothing else, so that is when the rest of its process group is killed; then it is reaped, then reported.

The forkserver adopts orphans of its children. So they are reaped even where process 1 does not, and on the daemon's
death even those are found and killed that have left their process group.
"""

from __future__ import annotations

import array  # noqa: F401  # from here on: what a worker needs and should not have to import after its fork
import contextlib
import errno
import gc
import importlib
import inspect  # noqa: F401
import multiprocessing
import multiprocessing.process
import os
import pickle  # noqa: F401
import queue  # noqa: F401
import resource
import select
import signal
import socket
import struct  # noqa: F401
import subprocess  # noqa: F401
import sys
import tempfile  # noqa: F401
import threading  # noqa: F401
import time  # noqa: F401
import traceback
from collections.abc import Iterator
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import FrameType
from typing import Any

from stokerd.forkserver import birth, borrowed, prctl
from stokerd.forkserver.orders import MAX_DESCRIPTORS, MAX_TEXT, PACKET_BYTES, SCARCE, pack, unpack

_FORK = multiprocessing.get_context("fork")


def serve(orders: int, daemon: int) -> None:
    """Serve until the daemon closes the socket, dies, or asks to retire. Does not return."""
    code = 1
    forkserver = Forkserver(socket.socket(fileno=orders), daemon)
    try:
        forkserver.set_up()
        forkserver.run()
        code = 0
    except BaseException:  # a bug here must still not leave children behind
        traceback.print_exc()
    finally:
        forkserver.end_all()
        sys.stderr.flush()
        os._exit(code)


class Forkserver:
    """The children of one environment.

    Args:
        orders: packet socket to the daemon.
        daemon: process id of the daemon.
    """

    def __init__(self, orders: socket.socket, daemon: int) -> None:
        self._orders = orders
        self._daemon = daemon
        self._pid = os.getpid()
        self._children: dict[int, tuple[int, ForkProcess]] = {}
        self._pids: dict[int, int] = {}
        self._ending = False
        self._retiring = False
        self._wake, self._waker = socket.socketpair()
        self._failures, self._failures_in = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._failures.setblocking(False)
        self._failed: dict[int, str] = {}
        self._open_files = resource.getrlimit(resource.RLIMIT_NOFILE)

    def set_up(self) -> None:
        """Become ready: signals, limits, then the environment's path as the first order gives it."""
        prctl.adopt_orphans()
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._note_end)
        signal.signal(signal.SIGCHLD, _note_nothing)
        signal.signal(signal.SIGCONT, self._note_continued)
        # The one signal that also wakes a process that somebody has stopped: the others would wait until it goes on.
        if not prctl.die_with_parent(self._daemon, signal.SIGCONT):
            self._ending = True
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._open_files[1], self._open_files[1]))
        prctl.set_name("stoker-fork")
        received = self._receive()
        if received is None:
            self._ending = True
            return
        order = received[0]
        self._open_files = tuple(order["open_files"])
        sys.path[:] = order["path"] or [order["cwd"], *sys.path]
        borrowed.lend(order["lend"])
        for package in order["lend"]:
            with contextlib.suppress(ImportError):
                borrowed.borrow(package)
        gc.disable()  # a collection in here would only unshare pages with the children
        self._report({"ready": self._pid})

    def run(self) -> None:
        """Obey until there is nothing more to do."""
        poll = select.poll()
        poll.register(self._orders, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        poll.register(self._failures, select.POLLIN)
        while not self._ending and not (self._retiring and _childless()):
            for fd, _ in poll.poll():
                if fd == self._wake.fileno():
                    with contextlib.suppress(BlockingIOError):
                        self._wake.recv(4096)
                    self._bury()
                elif fd == self._failures.fileno():
                    self._hear_failures()
                elif not self._ending:
                    self._obey()

    def end_all(self) -> None:
        """Kill and reap every descendant that there is, orphans that left their group included."""
        for pid in self._children:
            _kill_group(pid)
        while not _childless():
            if not sum(map(_kill, self._targets())):
                return  # what is left belongs to somebody else by now, and can't be killed by us
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            self._bury()

    def _targets(self) -> set[int]:
        return set(self._children) | set(_children_of(self._pid))

    def _note_end(self, _signum: int, _frame: FrameType | None) -> None:
        self._ending = True

    def _note_continued(self, _signum: int, _frame: FrameType | None) -> None:
        self._ending = self._ending or os.getppid() != self._daemon

    def _receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """The next order with its descriptors; None: the daemon is gone, or wants this to end."""
        try:
            data, descriptors, flags, _ = socket.recv_fds(self._orders, PACKET_BYTES, MAX_DESCRIPTORS)
        except ConnectionError:
            return None
        if not data:
            return None
        for fd in descriptors:  # what a child executes must not have them; recv_fds does not pass such a flag on
            os.set_inheritable(fd, False)
        return unpack(data, descriptors, lost=bool(flags & socket.MSG_CTRUNC))

    def _obey(self) -> None:
        received = self._receive()
        if received is None:
            self._ending = True
            return
        order, descriptors = received
        try:
            match order["do"]:
                case "fork":
                    self._fork(order, descriptors)
                case "signal":
                    self._signal(order)
                case "retire":
                    self._retiring = True
        finally:
            for fd in descriptors:
                os.close(fd)

    def _fork(self, order: dict[str, Any], descriptors: list[int]) -> None:
        process = _FORK.Process(
            target=birth.run,
            args=(order, descriptors, self._pid, self._failures_in, self._open_files),
            name=order["name"],
        )
        next_free: list[int] = []
        try:
            if order.get("lost"):
                raise OSError(errno.EMFILE, "the forkserver has no free descriptors")
            _import_target(order["target"])
            gc.freeze()
            next_free = _next_descriptors(4)
            with _signals_blocked():  # one that is meant for the child must not be noted by the forkserver's handlers
                process.start()
        except Exception as why:  # the order fails, the forkserver lives on
            for fd in next_free:  # a fork that fails leaves multiprocessing's two pipes open
                with contextlib.suppress(OSError):
                    os.close(fd)
            scarce = isinstance(why, OSError) and why.errno in SCARCE
            error = f"cannot fork: {birth.describe(why)}"[:MAX_TEXT]
            self._report({"id": order["id"], "error": error, "scarce": scarce})
            return
        pid = process.pid or 0
        self._children[pid] = order["id"], process
        self._pids[order["id"]] = pid
        _keep_from_being_reaped(process)
        self._report({"id": order["id"], "pid": pid})

    def _signal(self, order: dict[str, Any]) -> None:
        pid = self._pids.get(order["id"])
        if pid is None:
            return
        try:
            if order["group"]:
                os.killpg(pid, order["signum"])
                return
        except ProcessLookupError:
            pass  # it has no group of its own yet, so there is nobody but itself
        with contextlib.suppress(OSError):
            os.kill(pid, order["signum"])

    def _bury(self) -> None:
        """Kill the groups of all that have ended, reap and report them."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            if ended.si_pid not in self._children:
                os.waitpid(ended.si_pid, 0)  # an adopted orphan
                continue
            _kill_group(ended.si_pid)
            number, process = self._children.pop(ended.si_pid)
            del self._pids[number]
            process.join()
            code = process.exitcode
            process.close()
            self._report_end(number, ended.si_pid, code)

    def _report_end(self, number: int, pid: int, code: int | None) -> None:
        self._hear_failures()
        failure = self._failed.pop(pid, "")
        self._report({"id": number, "error": failure} if failure else {"id": number, "code": code})

    def _hear_failures(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                pid, _, why = self._failures.recv(MAX_TEXT * 4).decode("utf-8", "replace").partition(" ")
                self._failed[int(pid)] = why

    def _report(self, message: dict[str, Any]) -> None:
        try:
            self._orders.send(pack(message)[0])
        except OSError:
            self._ending = True


def _note_nothing(_signum: int, _frame: FrameType | None) -> None:
    """Waking the selector is all that is wanted."""


def _keep_from_being_reaped(process: ForkProcess) -> None:
    """Multiprocessing reaps whatever has ended whenever it starts something; here the group has to be killed first."""
    multiprocessing.process._children.discard(process)  # type: ignore[attr-defined]  # noqa: SLF001


def _import_target(target: str) -> None:
    """Import the daemon's own modules here, once: every later child has them already."""
    module = target.partition(":")[0]
    if module.startswith("stokerd.") and module not in sys.modules:
        importlib.import_module(module)


def _childless() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return False
    return True


def _kill_group(pid: int) -> None:
    """Kill a child that is not reaped yet, and its group. Itself first: one that is about to become a group leader
    can't do anything more after that.
    """
    _kill(pid)
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def _children_of(parent: int) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1]) == parent:
                    yield int(entry.name)


def _next_descriptors(count: int) -> list[int]:
    """The numbers that the next descriptors to be opened will have."""
    taken: list[int] = []
    try:
        for _ in range(count):
            taken.append(os.dup(0))  # noqa: PERF401  # what was taken before one fails has to be closed
    finally:
        for fd in taken:
            os.close(fd)
    return taken


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    old = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
