"""The keys that a client connects with over tcp: its own, and the daemon's public one.

Each is given as itself, as a file, or as a name in the directory of keys; or is found there by its usual name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import NamedTuple

from stoker.errors import BadKey, PermissionRefused
from stoker.protocol import endpoint, keyfile
from stoker.protocol.keyfile import MAX_FILE, PUBLIC, SECRET, SERVER, KeyFile

CLIENT = "client"
"""The usual name of a user's own key."""


class Credentials(NamedTuple):
    """All in Z85.

    Args:
        public: this client's.
        secret: likewise; never shown.
        server: the daemon's public key.
    """

    public: str
    secret: str
    server: str

    def __repr__(self) -> str:
        return f"Credentials(public={self.public!r}, secret=(not shown), server={self.server!r})"


def directory(environ: Mapping[str, str]) -> str:
    """The directory of keys: ``STOKER_KEYS``, else ``keys`` beside the user's configuration."""
    return environ.get("STOKER_KEYS") or f"{os.path.dirname(endpoint.user_config(environ))}/keys"  # noqa: PTH120 - no pathlib where start-up time counts


def find(url: str, key: str | None, server_key: str | None, environ: Mapping[str, str]) -> Credentials:
    """The keys to be used at a tcp endpoint.

    Args:
        url: the endpoint.
        key: this client's: a file, a name, or the secret key; None: ``STOKER_KEY``, else ``client.key_secret``.
        server_key: the daemon's: a file, a name, or the public key; None: ``STOKER_SERVER_KEY``, else
            ``HOST:PORT.key``, else ``server.key``.
        environ: the environment variables.

    Raises:
        PermissionRefused: there is no key to connect with.
        BadKey: what was named holds none, or others may read it.
    """
    folder = directory(environ)
    place = url.removeprefix("tcp://")
    own = key or environ.get("STOKER_KEY") or _usual(folder, [f"{CLIENT}{SECRET}"])
    if not own:
        raise PermissionRefused(
            f"{url} takes a key, and there is none: no key=, no STOKER_KEY, no {folder}/{CLIENT}{SECRET}",
            hint=f"make one with `stoker key new {CLIENT}`, and have it authorized on the daemon's machine",
        )
    server = server_key or environ.get("STOKER_SERVER_KEY") or _usual(folder, [f"{place}{PUBLIC}", f"{SERVER}{PUBLIC}"])
    if not server:
        raise PermissionRefused(
            f"the daemon's own key is not known: no server_key=, no STOKER_SERVER_KEY, no {folder}/{place}{PUBLIC}",
            hint=f"copy {SERVER}{PUBLIC} from the daemon's directory of keys to {folder}/{place}{PUBLIC}",
        )
    mine = _secret(own, folder)
    return Credentials(mine.public, mine.secret, _public(server, folder))


def _usual(folder: str, names: list[str]) -> str:
    return next((path for name in names if os.path.exists(path := f"{folder}/{name}")), "")  # noqa: PTH110 - likewise


def _secret(given: str, folder: str) -> KeyFile:
    if keyfile.is_key(given):
        import zmq

        return KeyFile(zmq.curve_public(given.encode()).decode(), given)
    path = _path(given, folder, SECRET)
    found = read(path)
    if not found.secret:
        raise BadKey(f"{path} holds no secret key", hint=f"name the file that ends in {SECRET}")
    return found


def _public(given: str, folder: str) -> str:
    return given if keyfile.is_key(given) else read(_path(given, folder, PUBLIC)).public


def _path(given: str, folder: str, suffix: str) -> str:
    """The file that is meant: a path, or a name in the directory of keys."""
    if "/" in given or os.path.exists(given):  # noqa: PTH110 - likewise
        return os.path.expanduser(given)
    return f"{folder}/{given if given.endswith(suffix) else given + suffix}"


def read(path: str) -> KeyFile:
    """The keys in a file; one with a secret key must be closed to others.

    Raises:
        BadKey: it cannot be read, holds no key, or others may read the secret one.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - likewise
            mode = os.fstat(file.fileno()).st_mode
            found = keyfile.parse(file.read(MAX_FILE), what=path)
    except OSError as why:
        raise BadKey(f"{path} cannot be read: {why.strerror}", hint="name the file of a key, or a key") from None
    if found.secret and stat.S_IMODE(mode) & 0o077:
        raise BadKey(
            f"others may read the secret key in {path}", hint=f"`chmod 600 {path}`, and make a new key if they have"
        )
    return found
