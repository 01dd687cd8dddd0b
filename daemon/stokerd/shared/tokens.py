"""Fencing tokens: each is larger than all before it, over restarts of the daemon too."""

from __future__ import annotations

TOKENS_PER_SECOND = 1 << 21
"""Tokens begin at this many times the time of the start, so that they grow over restarts too. They stay below 2**53,
which is what a float holds exactly, until the year 2106."""


class Tokens:
    """A counter that can be told of tokens that were counted elsewhere, no faster than so many a second.

    Args:
        now: UTC seconds at the start of the daemon.
    """

    def __init__(self, now: float) -> None:
        self._last = int(now * TOKENS_PER_SECOND)

    def next(self) -> int:
        """The next one."""
        self._last += 1
        return self._last

    def beyond(self, token: int) -> None:
        """The next one is larger than this."""
        self._last = max(self._last, token)
