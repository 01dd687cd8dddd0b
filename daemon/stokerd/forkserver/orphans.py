"""The end of children whose forkserver has died before it could reap them."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

from stokerd.clock import Clock


def end_orphan(clock: Clock, pid: int, forkserver: int, gone: Callable[[], object]) -> None:
    """Kill a child and its process group, and call ``gone``, later, when it has ended.

    The kernel kills it with its forkserver; this is for the rest of its group, and for certainty.

    Args:
        clock: time and readiness.
        pid: the child.
        forkserver: the process id that its forkserver had.
        gone: called once.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:  # it is gone; as long as there is anybody left in its group, nobody else gets its number
        _kill_group(pid)
        clock.soon(gone)
        return
    if not _is_child(pid, forkserver):
        os.close(pidfd)
        clock.soon(gone)
        return
    with contextlib.suppress(OSError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    _kill_group(pid)

    def ended() -> None:
        clock.unwatch(pidfd)
        os.close(pidfd)
        gone()

    clock.watch(pidfd, ended)


def _is_child(pid: int, forkserver: int) -> bool:
    """Whether the number still means our child: it leads its session, or has not left its forkserver's yet."""
    try:
        return os.getsid(pid) in (pid, forkserver)
    except OSError:
        return False


def _kill_group(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
