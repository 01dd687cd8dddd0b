"""What is said of a peer that could not be measured, and for how long anything is waited for."""

from __future__ import annotations

import contextlib
import re
import signal
import time
from collections.abc import Iterator


class Failed(Exception):
    """A peer is missing, broke or did not answer in time; the run goes on without it.

    Args:
        reason: what is told, on the page as well: of paths only the last part.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(re.sub(r"(?:/[\w.+-]+)+/([\w.+-]+)", r"\1", reason))


NOTHING = "has nothing of the kind"
"""The reason of a peer that lacks what was to be measured."""


@contextlib.contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raise Failed in here after so long, whatever this thread waits for. For the main thread only; may be nested."""

    def late(*_: object) -> None:
        raise Failed(f"took longer than {seconds:g} s")

    begin, before = time.monotonic(), signal.signal(signal.SIGALRM, late)
    rest, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        left = max(0.01, rest - (time.monotonic() - begin)) if rest else 0.0
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, left)
