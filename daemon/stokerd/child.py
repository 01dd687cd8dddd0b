"""What the parts ask of a forkserver and what they get: a child process with its private descriptors.

The parts know these types and nothing of how a fork is done; :mod:`stokerd.forkserver.host` does it.
"""

from __future__ import annotations

import mmap
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from stoker.protocol.models import Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkSpec:
    """One child to be forked.

    Args:
        target: ``stokerd.module:function``, called in the child as ``function(args, handles)``; it imports the
            standard library and its siblings only, because it runs under the environment's own interpreter.
        name: what ``ps`` shows.
        args: JSON values for the target.
        channel: give the child one end of a private stream socketpair.
        page_bytes: give the child this much zeroed memory shared with the daemon; 0: none.
        capture: give the child memory files as stdout and stderr, else it writes to the null device.
        pipes: capture by pipes instead of memory files; ``output`` then are their reading ends, non-blocking.
        nice: niceness.
        cpus: cores to pin to; empty: not pinned.
        load: it is load, and goes into the control group of the burners where there is one.
    """

    target: str
    name: str
    args: dict[str, Any] = field(default_factory=dict)
    channel: bool = False
    page_bytes: int = 0
    capture: bool = False
    pipes: bool = False
    nice: int = 0
    cpus: tuple[int, ...] = ()
    load: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a child ended: reaped, and its process group killed.

    Args:
        code: exit code, negative for a signal; None where it never ran.
        error: why it never ran; empty where it did.
        scarce: it never ran because the system had no process, descriptor or memory to spare: another time it may.
    """

    code: int | None
    error: str = ""
    scarce: bool = False

    def __str__(self) -> str:
        if self.code is None:
            return self.error
        if self.code >= 0:
            return f"exit code {self.code}"
        try:
            return f"signal {signal.Signals(-self.code).name}"
        except ValueError:
            return f"signal {-self.code}"


class Child(Protocol):
    """A child process, from the order to fork it until it is reaped."""

    @property
    def pid(self) -> int | None:
        """Its process id, which is also its process group and session; None until it was forked."""

    @property
    def channel(self) -> socket.socket | None:
        """The daemon's end of its socketpair, non-blocking. The part that asked for it closes it."""

    @property
    def page(self) -> mmap.mmap | None:
        """The shared memory."""

    @property
    def output(self) -> tuple[int, int] | None:
        """Descriptors of the memory files behind its stdout and stderr, or of the reading ends of the pipes.

        The part that asked for them closes them.
        """

    def signal(self, signum: int, *, group: bool = True) -> bool:
        """Send a signal, to its whole process group or to it alone; False where it has ended already.

        Asked for before the fork has been reported, the signal is sent as soon as it is.
        """


class Forker(Protocol):
    """Who can fork: one per daemon, one forkserver per environment behind it."""

    @property
    def default(self) -> Environment:
        """The environment of whoever does not name one: the daemon's own."""

    def fork(
        self,
        environment: Environment,
        spec: ForkSpec,
        on_started: Callable[[Child], None],
        on_exit: Callable[[Child, Exit], None],
    ) -> Child:
        """Order a child. ``on_started`` is called when it has a pid, ``on_exit`` exactly once, when it is reaped
        or could not be started; both later, never from within this call.

        Its channel, page and output are there when this returns.

        Raises:
            Unavailable: the system refuses descriptors or memory.
        """
