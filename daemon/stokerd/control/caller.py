"""Who asks, and what an answer may carry besides its struct."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from stoker.protocol.codec import Frame
from stoker.protocol.models import Environment, Model
from stoker.protocol.roles import Role


@dataclass(slots=True, eq=False)
class Session:
    """One connected client. What it owns is released when it dies.

    Args:
        id: unique for this boot of the daemon.
        client: what it calls itself.
        pid: its process on this machine, as the kernel told us; None for remote ones.
        uid: its user, likewise.
        address: where it is, as libzmq or the kernel told us.
        role: what it may do.
        key: the name of the key that it came with over tcp; empty for whoever is on this machine.
        public: that key.
        pushes: it takes messages that it did not ask for.
        environment: where its functions live; None: the daemon's own.
        anonymous: it never said hello; nothing is owned by it.
        weight: its share of a pool beside others.
        most: how many of its jobs may run at a time; None: any number.
        due: how many of its requests are still to be answered.
        pass_descriptors: has its connection pass descriptors from now on; None: it can't.
        shares: shared memory is used with it.
        gone: it is closed.
    """

    id: str
    client: str = ""
    pid: int | None = None
    uid: int | None = None
    address: str = ""
    role: Role = Role.OBSERVE
    key: str = ""
    public: str = ""
    pushes: bool = False
    environment: Environment | None = None
    on_disconnect: str = "keep"
    anonymous: bool = True
    weight: float = 1.0
    most: int | None = None
    due: int = 0
    pass_descriptors: Callable[[], None] | None = None
    shares: bool = False
    gone: bool = False


@dataclass(slots=True)
class Caller:
    """One request's sender, and the payload frames that came with it."""

    session: Session
    payload: Sequence[Frame] = ()


@dataclass(slots=True)
class Answer:
    """A reply with payload frames."""

    reply: Model
    payload: Sequence[Frame] = field(default=())


Part = Callable[[dict[str, Any], Sequence[Frame], bool], None]
"""Sends one part of a stream: the part as a map, its payload frames, and whether more follow."""


@dataclass(slots=True)
class Stream:
    """An answer in parts: ``start`` is called once with what sends them; the last part says that no more follow."""

    start: Callable[[Part], None]
