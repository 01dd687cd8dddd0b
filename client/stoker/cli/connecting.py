"""A verb's connection: found or started by the library's own rules, with this shell's environment.

Imports zmq and msgpack, and neither msgspec nor asyncio: the short verbs must start fast.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from stoker import __version__
from stoker.connection import Connection
from stoker.environment import of_command_line
from stoker.errors import StokerError
from stoker.protocol.codec import Frame
from stoker.protocol.endpoint import parse


class Peer:
    """The daemon that a verb talks to.

    Args:
        connection: its connection, closed at the end of the ``with``.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @property
    def endpoint(self) -> str:
        """Its control socket."""
        return self.connection.url

    @property
    def events(self) -> str:
        """Its event socket."""
        told = self.connection.greeting.get("events")
        return str(told or parse(self.endpoint).events)

    def call(
        self, method: str, params: dict[str, Any], payload: Sequence[Frame] = (), timeout: float | None = None
    ) -> tuple[dict[str, Any], Sequence[Frame]]:
        """Ask, wait for the answer: its result map and payload frames.

        Args:
            method: the word on the wire.
            params: a MessagePack-able map.
            payload: frames that travel untouched.
            timeout: seconds; None, or infinite: as long as the daemon takes.

        Raises:
            StokerError: what the daemon answered, or why it did not.
        """
        return self.connection.call(method, params, payload, None if timeout == float("inf") else timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()


def connect(socket: str | None, *, start: bool = True, on_disconnect: str = "keep") -> Peer:
    """The daemon that the user named, else the one at the default endpoint.

    Args:
        socket: what ``--socket`` says, if anything.
        start: start a private daemon where none answers at the default endpoint.
        on_disconnect: ``cancel``: this session's unfinished jobs end with it.

    Raises:
        ConnectionFailed: there is no daemon to talk to.
    """
    from stoker.autostart import locate

    url = locate(socket, autostart=None if start else False, environ=os.environ)
    hello = {
        "client": f"stoker {__version__} (command line)",
        "pid": os.getpid(),
        "environment": of_command_line(),
        "on_disconnect": on_disconnect,
    }
    connection = Connection(url, hello=hello)
    connection.on_away = _note_away
    return Peer(connection)


def _note_away(why: StokerError) -> None:
    """Whoever watches has to know what is waited for."""
    print(f"stoker: {why.message}; waiting for it to come back", file=sys.stderr, flush=True)
