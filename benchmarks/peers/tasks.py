"""The functions that jobs call: every peer's workers import them by name."""

from __future__ import annotations

import time
from typing import Any


def cube(x: int) -> int:
    return x * x * x


def echo(payload: bytes) -> bytes:
    return payload


def add_one(array: Any) -> Any:
    return array + 1


def spin(seconds: float) -> None:
    """Use the processor for so long, by this thread's own clock."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
