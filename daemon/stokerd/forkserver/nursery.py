"""The children of one forkserver, from their order to the moment when their owner has been told of their end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, final

from stokerd.child import Exit
from stokerd.clock import Clock
from stokerd.forkserver.offspring import Offspring
from stokerd.forkserver.orphans import end_orphan

_KILLED = Exit(code=-9)


@final
class Nursery:
    """Answers for every child exactly once. Owners are called from the loop, so that nothing they do disturbs
    what goes on here, and in the order in which things happened.

    Args:
        clock: time and readiness.
        on_empty: called, from the loop, whenever the last child has ended.
    """

    def __init__(self, clock: Clock, on_empty: Callable[[], object]) -> None:
        self._clock = clock
        self._on_empty = on_empty
        self._children: dict[int, Offspring] = {}

    def __len__(self) -> int:
        return len(self._children)

    def add(self, child: Offspring) -> None:
        """It has been ordered."""
        self._children[child.number] = child

    def withdraw(self, child: Offspring) -> None:
        """It could not be ordered, as its owner is being told."""
        del self._children[child.number]

    def pids(self) -> set[int]:
        """Those that have been forked."""
        return {child.pid for child in self._children.values() if child.pid is not None}

    def note(self, report: dict[str, Any]) -> None:
        """The forkserver reports of a child."""
        child = self._children.get(report["id"])
        if child is None:
            return
        if "pid" in report:
            child.pid = report["pid"]
            self._clock.soon(child.started)
        elif "code" in report:
            self._finish(child, Exit(code=report["code"]))
        else:
            self._finish(child, Exit(code=None, error=report["error"], scarce=report.get("scarce", False)))

    def forsake(self, forkserver: int, reason: str, *, scarce: bool = False) -> None:
        """The forkserver has ended without reporting of those that are left.

        Args:
            forkserver: the process id that it had.
            reason: why those that have not been forked never will be.
            scarce: it is that the system had nothing to spare.
        """
        for child in list(self._children.values()):
            if child.pid is None:
                self._finish(child, Exit(code=None, error=reason, scarce=scarce))
            else:
                end_orphan(self._clock, child.pid, forkserver, partial(self._finish, child, _KILLED))

    def _finish(self, child: Offspring, how: Exit) -> None:
        child.ended = True
        del self._children[child.number]
        self._clock.soon(child.finished, how)
        if not self._children:
            self._clock.soon(self._on_empty)
