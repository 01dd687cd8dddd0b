"""What a kind of load is to the loop that runs it, and how fine work is cut from coarse.

Standard library only, here and in every kind: loads are made in the burner's process, under its own interpreter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import thread_time
from typing import Any

CHUNK_SECONDS = 50e-6
"""How long a chunk should take: how finely the control law can be obeyed."""

_SAMPLE_SECONDS = 200e-6
_SAMPLES = 9
_MOST = 1 << 24

Chunk = Callable[[], None]
Params = Mapping[str, Any]
"""The parameters of a kind that were given: JSON values, checked by :mod:`stokerd.burners.demands`."""


class Refusal(Exception):
    """A kind cannot be, or cannot go on; its burner fails with this reason, and nobody tries again.

    Args:
        message: what happened and why.
        hint: what to do next.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def _nothing() -> None:
    pass


def _none() -> float:
    return 0.0


def _silence() -> str:
    return ""


def _no_credit() -> float:
    return 0.0


@dataclass(frozen=True, slots=True)
class Load:
    """A kind at work in one process.

    Args:
        chunk: does about 50 µs of work.
        clock: seconds of what 100 % of it is a second of; mostly the CPU clock that sees all that a chunk burns.
        work: what has been done, in the kind's unit of work.
        credit: seconds that may be done in advance beyond the clamp, because a chunk takes so long.
        note: what ``status`` should say of it; empty: nothing.
        close: called at the end, whatever the end is, unless it is SIGKILL.
    """

    chunk: Chunk
    clock: Callable[[], float] = thread_time
    work: Callable[[], float] = _none
    credit: Callable[[], float] = _no_credit
    note: Callable[[], str] = _silence
    close: Callable[[], None] = _nothing


class Tally:
    """Work of equal pieces, counted.

    Args:
        work: does so many turns.
        each: what one turn gets done, in the kind's unit of work.
    """

    __slots__ = ("_each", "_work", "done")

    def __init__(self, work: Callable[[int], None], each: float) -> None:
        self._work, self._each = work, each
        self.done = 0.0

    def turn(self, turns: int) -> None:
        """Do and count them."""
        self._work(turns)
        self.done += turns * self._each

    def load(self, *, close: Callable[[], None] = _nothing) -> Load:
        """A load of calibrated chunks of it; what the calibration does is not counted."""
        chunk = calibrated(self.turn)
        self.done = 0.0
        return Load(chunk, work=lambda: self.done, close=close)


def calibrated(work: Callable[[int], None], clock: Callable[[], float] = thread_time) -> Chunk:
    """``work`` with the number of turns that takes about :data:`CHUNK_SECONDS`.

    The quickest of several samples counts: a busy host makes samples slower, never quicker. The first ones warm the
    interpreter up.

    Args:
        work: takes time in proportion to its argument.
        clock: CPU seconds.
    """
    turns = 64
    while _seconds(work, turns, clock) < _SAMPLE_SECONDS and turns < _MOST:
        turns *= 2
    quickest = min(_seconds(work, turns, clock) for _ in range(_SAMPLES))
    return partial(work, max(1, round(turns * CHUNK_SECONDS / max(quickest, 1e-9))))


def _seconds(work: Callable[[int], None], turns: int, clock: Callable[[], float]) -> float:
    before = clock()
    work(turns)
    return clock() - before
