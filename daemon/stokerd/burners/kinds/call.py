"""Any function as a load: called again and again, and measured by the CPU clock of all that it runs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from resource import RUSAGE_CHILDREN, getrusage
from time import process_time
from typing import Any

from stokerd.burners.control import CLAMP
from stokerd.burners.kinds.base import Load, Params, Refusal

MOST_CREDIT = 60.0
"""Seconds of CPU time: a call that takes longer is not made up for in full."""


def make_call(params: Params) -> Load:
    """Call ``call`` without arguments.

    Raises:
        Refusal: it cannot be imported, or cannot be called.
    """
    repeated = Repeated(find(params["call"]), params["call"])
    return Load(
        repeated.turn, clock=cpu_seconds, work=lambda: repeated.calls, credit=repeated.credit, note=repeated.note
    )


def cpu_seconds() -> float:
    """CPU seconds of this process, its threads, and those of its children that it has waited for."""
    children = getrusage(RUSAGE_CHILDREN)
    return process_time() + children.ru_utime + children.ru_stime


class Repeated:
    """Calls, and what the longest of them took.

    Args:
        function: to be called.
        name: what to call it in what people read.
        clock: CPU seconds.
    """

    __slots__ = ("_clock", "_function", "_longest", "_name", "calls")

    def __init__(self, function: Callable[[], Any], name: str, clock: Callable[[], float] = cpu_seconds) -> None:
        self._function, self._name, self._clock = function, name, clock
        self._longest = 0.0
        self.calls = 0.0

    def turn(self) -> None:
        """One call.

        Raises:
            Refusal: it raised.
        """
        before = self._clock()
        try:
            self._function()
        except (Exception, SystemExit) as why:
            text = f": {why}" if str(why) else ""
            raise Refusal(
                f"{self._name} raised {type(why).__name__}{text}",
                hint="make it catch what it can go on after; a burner does not repeat what fails",
            ) from why
        self.calls += 1
        self._longest = max(self._longest, self._clock() - before)

    def credit(self) -> float:
        """What the longest call burns beyond the clamp is silence owed, or a coarse function would burn too much."""
        return min(max(0.0, self._longest - CLAMP), MOST_CREDIT)

    def note(self) -> str:
        """Where a call is coarser than the control law's clamp."""
        if self._longest <= CLAMP:
            return ""
        return (
            f"one call of {self._name} burns up to {self._longest:.2f} s of CPU time: its load holds over many calls,"
            " not within one second"
        )


def find(call: str) -> Callable[[], Any]:
    """The function behind ``pkg.mod:name``; the name may have dots.

    Raises:
        Refusal: there is none, its module cannot be imported, or it cannot be called.
    """
    module, _, name = call.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except (Exception, SystemExit) as why:
        raise Refusal(
            f"the module {module} of {call} cannot be imported: {type(why).__name__}: {why}",
            hint="start it from where `python -c 'import …'` finds it, with that interpreter",
        ) from why
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise Refusal(f"there is no {name} in {module}", hint="write pkg.mod:function") from None
    if not callable(found):
        raise Refusal(f"{call} is of type {type(found).__name__}, which cannot be called", hint="name a function")
    function: Callable[[], Any] = found
    return function
