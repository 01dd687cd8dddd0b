"""What a supervised process should be."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec

from stoker.protocol.models import Environment
from stoker.protocol.processes import INSTANCE, Keeping

_DEFAULT = Keeping()


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
        name: its name, that of all its instances.
        argv: program and arguments; no shell. Empty for a Python target.
        task: the Python target; None for a program.
        owner: the session that it belongs to, which hears of its output and its end, and with which it ends; None: it
            is on its own.
        cwd: absolute path of its working directory.
        env: variables laid over the daemon's environment.
        keep: how it is kept.
        configured: it is not forgotten when it is stopped, or can't be started.
    """

    name: str
    argv: tuple[str, ...] = ()
    task: Task | None = None
    owner: str | None = None
    cwd: str
    env: Mapping[str, str] = field(default_factory=dict)
    keep: Keeping = _DEFAULT
    configured: bool = False

    @property
    def signum(self) -> signal.Signals:
        """The signal that asks it to end, as a number."""
        return signal.Signals[self.keep.stop_signal]

    def runs_like(self, other: Settings) -> bool:
        """Whether a process with these settings need not be started again to have the others."""
        mine, its = (replace(each, keep=_DEFAULT, configured=False) for each in (self, other))
        return mine == its and all(getattr(self.keep, key) == getattr(other.keep, key) for key in OF_A_RUN)


OF_A_RUN = ("ready", "ready_command", "user", "group", "rlimits", "nice", "cpus")
"""What takes effect when a process is started, and not while it runs."""


def of_instance(settings: Settings, number: int) -> Settings:
    """The settings of one instance.

    Args:
        settings: of all.
        number: from 1 on.
    """
    if settings.owner is not None:
        return settings
    argv = tuple(word.replace(INSTANCE, str(number)) for word in settings.argv)
    keep = msgspec.structs.replace(settings.keep, ready=settings.keep.ready.replace(INSTANCE, str(number)))
    env = {"STOKER_PROCESS": settings.name, "STOKER_INSTANCE": str(number), **settings.env}
    return replace(settings, argv=argv, keep=keep, env=env)
