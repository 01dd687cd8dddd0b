"""The first thing that runs in a child: it makes the child the process that its parent asked for."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing.util
import os
import pickle
import sys
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from typing import NoReturn

import stoker.connection
from stoker.shared import settle


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """All that a child takes from its parent. Called by the daemon's ``call_main``, which knows nothing of it.

    Args:
        process: the pickled :class:`~stoker.multiprocessing.Process`, to be read once the path is that of its parent.
        endpoint: where the daemon listens, so that objects and processes of the child live where its parent's do.
        local: whether the parent is on this machine; if not, its variables and its process id mean nothing here.
        parent: the parent's process id.
        cwd: its working directory.
        path: its ``sys.path``.
        argv: its ``sys.argv``.
        environ: its environment variables; they may be secret, and are seen by nobody else.
    """

    process: bytes = field(repr=False)
    endpoint: str
    local: bool
    parent: int
    cwd: str
    path: tuple[str, ...]
    argv: tuple[str, ...]
    environ: dict[str, str] = field(repr=False)

    def __call__(self) -> NoReturn:
        """Be the process. Does not return."""
        self._settle()
        process: BaseProcess = pickle.loads(self.process)  # noqa: S301 - the user's own, by way of the daemon
        for hook in (vars(stoker.connection)["_close_all"], settle):  # the forkserver's were forgotten with the fork
            atexit.unregister(hook)
            atexit.register(hook)
        code: int = process._bootstrap(parent_sentinel=self._sentinel())  # type: ignore[attr-defined]  # noqa: SLF001
        vars(multiprocessing.util)["_exit_function"]()  # its own children first: from 3.13 on nobody has done it yet
        atexit._run_exitfuncs()  # noqa: SLF001 - as the standard library's own children do, from 3.12 on
        vars(multiprocessing.util)["_flush_std_streams"]()
        os._exit(code)

    def _settle(self) -> None:
        sys.path[:] = self.path
        sys.argv[:] = self.argv
        if self.local:
            os.environ.clear()
            os.environ.update(self.environ)
            os.environ["STOKER_SOCKET"] = self.endpoint
        with contextlib.suppress(OSError):  # somebody has removed it
            os.chdir(self.cwd)

    def _sentinel(self) -> int:
        """A descriptor that can be read when the parent has ended."""
        if self.local:
            with contextlib.suppress(OSError):
                return os.pidfd_open(self.parent)
        return os.eventfd(0, os.EFD_CLOEXEC)  # nothing here will tell
