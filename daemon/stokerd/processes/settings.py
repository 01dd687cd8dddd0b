"""What a supervised process should be."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from stoker.protocol.models import Environment

Restart: TypeAlias = Literal["always", "on-failure", "never"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A Python target in the place of a program: forked, not executed, so that it begins within milliseconds.

    Args:
        form: ``pickle``: ``data`` is the pickle of something that is called without arguments; ``call``: it is the
            MessagePack map of ``function``, ``args`` and ``kwargs``.
        data: opaque to the daemon.
        label: for people: what ``status`` shows.
        environment: the interpreter that it runs under, and where that was started.
    """

    form: Literal["pickle", "call"]
    data: bytes = field(repr=False)
    label: str
    environment: Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A program and how it is kept.

    Args:
        name: its name.
        argv: program and arguments; no shell. Empty for a Python target.
        task: the Python target; None for a program.
        owner: the session that it belongs to, which hears of its output and its end, and with which it ends; None: it
            is on its own.
        cwd: absolute path of its working directory.
        env: variables laid over the daemon's environment.
        restart: what to do when it ends.
        stop_signal: the name of the signal that asks it to end.
        grace: seconds from that signal to SIGKILL.
    """

    name: str
    argv: tuple[str, ...] = ()
    task: Task | None = None
    owner: str | None = None
    cwd: str
    env: Mapping[str, str] = field(default_factory=dict)
    restart: Restart = "on-failure"
    stop_signal: str = "SIGTERM"
    grace: float = 10.0

    @property
    def signum(self) -> signal.Signals:
        """``stop_signal`` as a number."""
        return signal.Signals[self.stop_signal]
