"""The client that is used where none is given: one per daemon and process, made on first use.

A forked child uses the same object, whose connection begins afresh there.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stoker.client import Client

_clients: dict[str | None, Client] = {}
_given: weakref.WeakValueDictionary[str, Client] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def default_client() -> Client:
    """The client of ``STOKER_SOCKET``, else of the user's own daemon, which is started if there is none.

    Raises:
        ConnectionFailed: no daemon can be reached or started.
    """
    return _client(os.environ.get("STOKER_SOCKET") or None)


def client_at(endpoint: str) -> Client:
    """The client of the daemon at ``endpoint``, for what has travelled here from another process.

    One that this process has already, if there is one. An endpoint that is not on this machine's file system, because
    it was a remote program's, gives way to ``STOKER_SOCKET``, which a daemon sets for what it runs.

    Raises:
        ConnectionFailed: it cannot be reached.
    """
    known = _given.get(endpoint)
    if known is not None and _is_open(known):
        return known
    if endpoint in _clients or (endpoint.startswith("ipc://") and os.path.exists(endpoint.removeprefix("ipc://"))):  # noqa: PTH110 - no Path is needed
        return _client(endpoint)
    return _client(os.environ.get("STOKER_SOCKET") or endpoint)


def remember(client: Client) -> None:
    """A client that the user has made: what travels to this process from its daemon uses it too."""
    _given[client.endpoint] = client


def _client(endpoint: str | None) -> Client:
    from stoker.client import Client

    with _lock:
        client = _clients.get(endpoint)
        if client is None or not _is_open(client):
            client = _clients[endpoint] = Client(endpoint)
            _clients.setdefault(client.endpoint, client)
        return client


def _is_open(client: Client) -> bool:
    return not client.connection._closed  # noqa: SLF001 - the same family


def _after_fork() -> None:
    """Another thread may have held the lock at the moment of the fork."""
    global _lock  # noqa: PLW0603 - a lock cannot be reset
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
