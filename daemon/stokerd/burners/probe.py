"""A guard's probe command: run with a time limit, again and again; exit code 0 means that all is well.

:func:`main` is what runs in the child, under the daemon's own environment: it becomes the program.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stoker.errors import StokerError
from stoker.protocol.models import Environment
from stokerd.child import Child, Exit, Forker, ForkSpec
from stokerd.clock import Clock, Timer

if TYPE_CHECKING:
    from stokerd.forkserver.handles import Handles

EVERY_SECONDS = 5.0
"""From the end of one run to the next."""

LIMIT_SECONDS = 5.0
"""A run that takes longer is killed, and counts as a failure."""

NOT_FOUND = 127
"""Exit code of a program that could not be started, as a shell has it."""


class Probe:
    """See the module.

    Args:
        clock: time.
        forker: who forks.
        environment: whose forkserver it is forked by.
        argv: the program.
        told: called after each run, with the exit code (negative for a signal) and what went wrong.
    """

    def __init__(
        self,
        clock: Clock,
        forker: Forker,
        environment: Environment,
        argv: tuple[str, ...],
        told: Callable[[int, str], None],
    ) -> None:
        self._clock, self._forker, self._environment, self._argv, self._told = clock, forker, environment, argv, told
        self._child: Child | None = None
        self._timer: Timer | None = None
        self._late = self._closed = False

    def start(self) -> None:
        """Run it now, and then again and again, until it is closed."""
        if self._closed:
            return
        spec = ForkSpec(target="stokerd.burners.probe:main", name="stoker probe", args={"argv": list(self._argv)})
        self._late = False
        try:
            self._child = self._forker.fork(self._environment, spec, _nothing, self._exited)
        except StokerError as why:
            self._timer = self._clock.later(EVERY_SECONDS, self.start)
            self._told(NOT_FOUND, f"it could not be started: {why.message}")
            return
        self._timer = self._clock.later(LIMIT_SECONDS, self._kill)

    def close(self) -> None:
        """Run no more; one that runs is killed."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._child is not None:
            self._child.signal(signal.SIGKILL)

    def _kill(self) -> None:
        self._late = True
        if self._child is not None:
            self._child.signal(signal.SIGKILL)

    def _exited(self, _child: Child, how: Exit) -> None:
        self._child = None
        if self._closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.later(EVERY_SECONDS, self.start)
        if self._late:
            self._told(-signal.SIGKILL, f"it took longer than {LIMIT_SECONDS:g} s")
        else:
            code = NOT_FOUND if how.code is None else how.code
            self._told(code, "" if code == 0 else f"it ended with {how}")


def _nothing(child: Child) -> None:
    """Only its end tells something."""


def main(args: dict[str, Any], _handles: Handles) -> None:
    """The target of the fork: become the program."""
    for signum in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and what is ignored stays so across an exec
        signal.signal(signum, signal.SIG_DFL)
    try:
        os.execvp(args["argv"][0], args["argv"])  # noqa: S606  # no shell, on purpose
    except (OSError, ValueError):
        raise SystemExit(NOT_FOUND) from None
