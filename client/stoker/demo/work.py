"""The functions that run in workers, importable there by their names."""

from __future__ import annotations

import os
import signal
from typing import Any

from stoker.shared import Lock, Queue, Value


def cube(number: int) -> int:
    """``number`` cubed."""
    return number**3


def square_from(numbers: Queue, squares: Queue) -> int:
    """Take numbers until a None comes, hand on each with its square; how many there were."""
    done = 0
    while (number := numbers.get()) is not None:
        squares.put([number, number * number])
        done += 1
    return done


def add(lock: Lock, total: Value, times: int) -> int:
    """Add 1, so many times: read and write apart, so that only the lock makes it right. The process that did it."""
    for _ in range(times):
        with lock:
            seen: Any = total.value
            total.value = seen + 1
    return os.getpid()


def cube_or_hold(number: int, held: int, announce: Queue) -> int:
    """``number`` cubed; but the one that is to be killed says who it is, and waits for that."""
    if number == held:
        announce.put(os.getpid())
        signal.pause()
    return cube(number)
