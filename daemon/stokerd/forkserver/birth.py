"""A forked child between its fork and its target: it cuts itself off from the forkserver and takes what is its own."""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import mmap
import multiprocessing
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from stokerd.forkserver import prctl
from stokerd.forkserver.handles import Handles
from stokerd.forkserver.orders import MAX_TEXT

Target = Callable[[dict[str, Any], Handles], None]

NEVER_RAN = 125
"""Exit code of a child that did not get as far as its target; why is on the failures socket."""


def run(
    order: dict[str, Any], descriptors: list[int], forkserver: int, failures: socket.socket, open_files: tuple[int, int]
) -> None:
    """Be the child that ``order`` asks for. All signals are blocked on entry.

    Args:
        order: a ``fork`` order, see :mod:`stokerd.forkserver.orders`.
        descriptors: those that came with it.
        forkserver: the forkserver's process id.
        failures: datagram socket for the reason why the target could not be run.
        open_files: the limits of open files (soft, hard) that the environment was started with.
    """
    try:
        target, handles = _settle(order, descriptors, forkserver, failures.fileno(), open_files)
    except BaseException as why:  # whatever it is, the daemon has to hear of it
        with contextlib.suppress(OSError):
            failures.send(f"{os.getpid()} {describe(why)}"[:MAX_TEXT].encode("utf-8", "replace"))
        os._exit(NEVER_RAN)
    failures.close()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    target(order["args"], handles)


def describe(why: BaseException) -> str:
    """An exception in one line."""
    return f"{type(why).__name__}: {why}"


def _settle(
    order: dict[str, Any], descriptors: list[int], forkserver: int, failures: int, open_files: tuple[int, int]
) -> tuple[Target, Handles]:
    if not prctl.die_with_parent(forkserver, signal.SIGKILL):
        os._exit(NEVER_RAN)
    os.setsid()
    _reset_signals()
    gc.enable()
    given = iter(descriptors)
    channel = next(given) if order["channel"] else None
    page = next(given) if order["page"] else None
    _set_streams(*((next(given), next(given)) if order["capture"] else (None, None)))
    _close_all_but({0, 1, 2, failures} | _parent_sentinels() | {fd for fd in (channel, page) if fd is not None})
    resource.setrlimit(resource.RLIMIT_NOFILE, open_files)
    if order["group"]:
        with contextlib.suppress(OSError):  # in the forkserver's group it has another share, and works as well
            Path(order["group"], "cgroup.procs").write_text("0", encoding="ascii")
    _set_priority(order["nice"], order["cpus"])
    prctl.set_name(order["name"])
    _forget_forkserver(order["name"])
    return find_target(order["target"]), Handles(_open_channel(channel), _open_page(page))


def find_target(target: str) -> Target:
    """The function behind ``module:name``."""
    module, _, name = target.partition(":")
    found: Target = getattr(importlib.import_module(module), name)
    return found


def _reset_signals() -> None:
    """Every signal as a fresh Python has it, whatever the daemon was started with; they stay blocked."""
    signal.set_wakeup_fd(-1)
    for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError):  # the C library keeps some real-time signals to itself
            signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_IGN)


def _set_streams(out: int | None, err: int | None) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null if out is None else out, 1)
    os.dup2(null if err is None else err, 2)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # somebody may be following what is written


def _close_all_but(keep: set[int]) -> None:
    """Close the forkserver's descriptors. Its Python objects stay referenced by the frames below and are never run
    down, because a child leaves by ``os._exit``: none of them closes a number that has another meaning by then.
    """
    for fd in {int(entry.name) for entry in Path("/proc/self/fd").iterdir()} - keep:
        with contextlib.suppress(OSError):  # the one that listed them
            os.close(fd)


def _parent_sentinels() -> set[int]:
    parent = multiprocessing.parent_process()
    return set() if parent is None else {parent.sentinel}


def _set_priority(nice: int, cpus: list[int]) -> None:
    if os.getpriority(os.PRIO_PROCESS, 0) != nice:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, nice)
        except PermissionError:
            if nice != 0:  # 0 is what nobody asked for: then the daemon's own will do
                raise PermissionError(f"this user may not set the niceness {nice}") from None
    if cpus:
        try:
            os.sched_setaffinity(0, cpus)
        except OSError as why:
            raise OSError(f"cannot pin to the cores {cpus}: {why.strerror}") from None


def _forget_forkserver(name: str) -> None:
    sys.modules["__main__"] = ModuleType("__main__")
    sys.argv[:] = [name]


def _open_channel(fd: int | None) -> socket.socket | None:
    if fd is None:
        return None
    channel = socket.socket(fileno=fd)
    channel.setblocking(True)
    return channel


def _open_page(fd: int | None) -> mmap.mmap | None:
    if fd is None:
        return None
    page = mmap.mmap(fd, 0)  # shared, readable, writable; it keeps a descriptor of its own
    os.close(fd)
    return page
