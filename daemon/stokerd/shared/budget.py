"""Bytes that all shared objects together may hold."""

from __future__ import annotations

from collections.abc import Callable


class Budget:
    """Bytes to take and to give back; whoever found too few can be told when there are more.

    Args:
        total: bytes.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self._hungry: dict[Callable[[], None], None] = {}

    def take(self, size: int) -> bool:
        """Take ``size`` bytes; False and nothing is taken where there are too few."""
        if self.used + size > self.total:
            return False
        self.used += size
        return True

    def give(self, size: int) -> None:
        """Give ``size`` bytes back, and tell the hungry, each once, in order."""
        self.used -= size
        hungry, self._hungry = self._hungry, {}
        for call in hungry:
            call()

    def when_freed(self, call: Callable[[], None]) -> None:
        """Call once when bytes were given back."""
        self._hungry[call] = None
