"""What only the kernel can promise about a process: that it dies with its parent, and adopts its orphans."""

from __future__ import annotations

import ctypes
import os

_SET_PDEATHSIG = 1
_SET_NAME = 15
_SET_CHILD_SUBREAPER = 36
_COMM_BYTES = 15

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)


def die_with_parent(parent: int, signum: int) -> bool:
    """From now on get ``signum`` when the thread that created this process ends.

    Args:
        parent: process id of the parent that was meant.
        signum: the signal.

    Returns:
        False where that parent is gone already, so that the signal will never come.
    """
    _prctl(_SET_PDEATHSIG, int(signum))
    return os.getppid() == parent


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent died, so that they can be reaped, or ended, here."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def set_name(name: str) -> None:
    """Set what ``ps`` and ``/proc/self/comm`` show: the first 15 bytes of ``name``."""
    _prctl(_SET_NAME, name.encode("utf-8", "replace").replace(b"\0", b"?")[:_COMM_BYTES])


def _prctl(option: int, argument: int | bytes) -> None:
    if _libc.prctl(option, argument, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")
