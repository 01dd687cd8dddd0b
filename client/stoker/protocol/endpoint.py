"""Where the daemon listens, and where its files live.

Pure: looks at no file; what it needs of the machine (environment, uid) is passed in. Every short verb of the command
line loads this, so a named tuple and plain strings serve here: ``dataclasses`` and ``pathlib`` would cost it 15 ms.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from stoker.errors import BadEndpoint

SYSTEM_SOCKET = "/run/stoker/control.sock"
SYSTEM_CONFIG = "/etc/stoker/config.toml"
MAX_IPC_PATH = 107
"""Bytes of a Unix socket's path (``sun_path`` is 108 with its final zero)."""


class Endpoint(NamedTuple):
    """A place to listen at or to connect to.

    Args:
        url: ``ipc:///absolute/path`` or ``tcp://host:port``.
    """

    url: str

    @property
    def path(self) -> str | None:
        """The socket's path; None for tcp."""
        return self.url.removeprefix("ipc://") if self.url.startswith("ipc://") else None

    @property
    def events(self) -> str:
        """The event socket beside it."""
        if (path := self.path) is not None:
            return f"ipc://{events_path(path)}"
        host, port = self.url.removeprefix("tcp://").rsplit(":", 1)
        return f"tcp://{host}:{int(port) + 1}"

    def __str__(self) -> str:
        return self.url


def events_path(path: str) -> str:
    """The path of the event socket that belongs to a control socket."""
    stem = path.removesuffix(".sock").removesuffix(".status")
    return f"{stem}.events.sock"


def direct_path(path: str) -> str:
    """The path of the direct channel that belongs to a control socket."""
    stem = path.removesuffix(".sock")
    return f"{stem}.direct.sock"


def status_path(path: str) -> str:
    """The path of the status socket that belongs to a control socket."""
    stem = path.removesuffix(".sock")
    return f"{stem}.status.sock"


def parse(text: str) -> Endpoint:
    """An endpoint from what a user wrote: a path, ``ipc://path`` or ``tcp://host:port``.

    Raises:
        BadEndpoint: it is none of these, or the path is too long for a socket.
    """
    if text.startswith("tcp://"):
        return _parse_tcp(text)
    path = text.removeprefix("ipc://")
    if "://" in path:
        raise BadEndpoint(
            f"{text!r} has a scheme that is not supported", hint="use a path, ipc://PATH or tcp://HOST:PORT"
        )
    if not path:
        raise BadEndpoint("the endpoint is empty", hint="use a path, ipc://PATH or tcp://HOST:PORT")
    if "\0" in path:
        raise BadEndpoint(
            f"the socket path {path!r} holds a zero byte", hint="use a path, ipc://PATH or tcp://HOST:PORT"
        )
    path = os.path.abspath(os.path.expanduser(path))
    longest = len(os.fsencode(events_path(path)))
    if longest > MAX_IPC_PATH:
        raise BadEndpoint(
            f"the socket path {path!r} is too long: with the event socket's name it takes {longest} bytes,"
            f" and the system allows {MAX_IPC_PATH}",
            hint="choose a shorter directory, for instance under /run or $XDG_RUNTIME_DIR",
        )
    return Endpoint(f"ipc://{path}")


def _parse_tcp(text: str) -> Endpoint:
    found = re.fullmatch(r"tcp://(\[[0-9A-Fa-f:.]+\]|[^:/\s\[\]]+):(\d{1,5})", text)
    if not found or not 0 < int(found[2]) < 65535:
        raise BadEndpoint(f"{text!r} is not a tcp endpoint", hint="use tcp://HOST:PORT with a port from 1 to 65534")
    return Endpoint(text)


def user_runtime_dir(environ: Mapping[str, str], uid: int) -> str:
    """The directory in which a user's own daemon has its sockets."""
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        return f"{runtime}/stoker"
    return f"{environ.get('TMPDIR') or '/tmp'}/stoker-{uid}"  # noqa: S108 - made 0700 and checked by its maker


def user_state_dir(environ: Mapping[str, str]) -> str:
    """The directory in which a user's own daemon keeps what must outlive it."""
    return f"{environ.get('XDG_STATE_HOME') or environ.get('HOME', '') + '/.local/state'}/stoker"


def user_config(environ: Mapping[str, str]) -> str:
    """The user's own configuration file."""
    return f"{environ.get('XDG_CONFIG_HOME') or environ.get('HOME', '') + '/.config'}/stoker/config.toml"


def default(environ: Mapping[str, str], uid: int) -> Endpoint:
    """The user's own endpoint, which is where a private daemon is started.

    Raises:
        BadEndpoint: the runtime directory's path is too long.
    """
    return parse(f"{user_runtime_dir(environ, uid)}/control.sock")


def chosen(explicit: str | None, environ: Mapping[str, str]) -> Endpoint | None:
    """The endpoint that the user named: the argument, else ``STOKER_SOCKET``; None when neither is there.

    Raises:
        BadEndpoint: what was named cannot be used.
    """
    named = explicit or environ.get("STOKER_SOCKET")
    return parse(named) if named else None
