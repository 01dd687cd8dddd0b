"""What a supervised process should be."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Restart: TypeAlias = Literal["always", "on-failure", "never"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A program and how it is kept.

    Args:
        name: its name.
        argv: program and arguments; no shell.
        cwd: absolute path of its working directory.
        env: variables laid over the daemon's environment.
        restart: what to do when it ends.
        stop_signal: the name of the signal that asks it to end.
        grace: seconds from that signal to SIGKILL.
    """

    name: str
    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str] = field(default_factory=dict)
    restart: Restart = "on-failure"
    stop_signal: str = "SIGTERM"
    grace: float = 10.0

    @property
    def signum(self) -> signal.Signals:
        """``stop_signal`` as a number."""
        return signal.Signals[self.stop_signal]
