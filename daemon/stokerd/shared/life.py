"""A word in memory that the kernel itself changes when this process dies.

It is that of a robust mutex, held by the thread that owns the daemon's state for as long as it lives. Others get a
descriptor by which they can map the memory and only read it, see :mod:`stoker.protocol.loans`: the mutex is part of a
list of pointers, which nobody else may write to.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import threading

from stoker.protocol.loans import LIFE_AT, SIZE

_SHARED, _ROBUST = 1, 1
_FUTURE_WRITE = 0x0010
"""F_SEAL_FUTURE_WRITE (since Linux 5.1) of <linux/fcntl.h>, which Python does not name."""
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | _FUTURE_WRITE
_OF_ATTRIBUTES, _OF_MUTEX = 64, 64
"""Bytes that are enough for either on any machine."""
_TID = 0x3FFF_FFFF
"""FUTEX_TID_MASK of <linux/futex.h>."""


class Life:
    """See the module. One for the process: :func:`life`."""

    def __init__(self) -> None:
        self.thread = threading.get_native_id()
        """Whose life it is."""
        self.fd = os.memfd_create("stoker-life", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        """For others."""
        try:
            os.ftruncate(self.fd, SIZE)
            self._memory = mmap.mmap(self.fd, SIZE)
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)
            _hold_mutex(self._memory)
        except BaseException:
            os.close(self.fd)
            raise


_kept: list[Life] = []
"""The kernel follows the list of mutexes when a thread dies, so their memory is never given back."""


def life() -> Life:
    """That of this thread, which has to live as long as the process.

    Raises:
        OSError: this system has no such thing.
    """
    if not _kept or _kept[-1].thread != threading.get_native_id():
        _kept.append(Life())
    return _kept[-1]


def _hold_mutex(memory: mmap.mmap) -> None:
    """Make a mutex at the beginning, take it, and note which word is its owner's."""
    libc = ctypes.CDLL(None)
    attributes = ctypes.create_string_buffer(_OF_ATTRIBUTES)
    mutex = (ctypes.c_char * _OF_MUTEX).from_buffer(memory)
    try:
        steps = (
            (libc.pthread_mutexattr_init, (attributes,)),
            (libc.pthread_mutexattr_setpshared, (attributes, _SHARED)),
            (libc.pthread_mutexattr_setrobust, (attributes, _ROBUST)),
            (libc.pthread_mutex_init, (mutex, attributes)),
            (libc.pthread_mutex_lock, (mutex,)),
        )
    except AttributeError as why:
        raise OSError(f"no robust mutexes: {why}") from None
    for step, arguments in steps:
        if number := step(*arguments):
            raise OSError(number, os.strerror(number))
    with memoryview(memory) as whole, whole.cast("I") as words:
        found = [at for at in range(_OF_MUTEX // 4) if words[at] & _TID == threading.get_native_id()]
        if not found:
            raise OSError("a robust mutex that does not say whose it is")
        words[LIFE_AT] = found[0]
