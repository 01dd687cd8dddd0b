"""What can generate load: each kind makes a *chunk*, a call that burns about 50 µs of CPU time.

The chunk is how finely the control law can be obeyed; everything else about a kind is its own. A kind is added by an
entry in :data:`KINDS`. Standard library only: chunks are made in the burner's process, under its own interpreter.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import thread_time
from typing import NamedTuple

CHUNK_SECONDS = 50e-6
_SAMPLE_SECONDS = 200e-6
_SAMPLES = 9
_MOST = 1 << 24

Chunk = Callable[[], None]


class Kind(NamedTuple):
    """A generator.

    Args:
        unit: what 100 % of it is.
        make: makes a calibrated chunk; it may take some milliseconds of CPU time, and runs in the burner's process.
        clock: the CPU clock that sees all that a chunk burns, seconds.
    """

    unit: str
    make: Callable[[], Chunk]
    clock: Callable[[], float] = thread_time


def spin(turns: int) -> None:
    """Integer arithmetic in the interpreter, in registers and the first-level cache.

    Args:
        turns: of a linear congruential generator (multiplier and increment as in BSD's ``rand``).
    """
    state = 12345
    for _ in range(turns):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF


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


KINDS: dict[str, Kind] = {
    "spin": Kind(unit="one core, executing integer arithmetic in Python", make=partial(calibrated, spin)),
}
