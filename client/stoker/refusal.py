"""Why nobody can be reached at an endpoint, as what Stoker says."""

from __future__ import annotations

import os
import socket

from stoker.errors import BadEndpoint, ConnectionFailed, NobodyListening, PermissionRefused


def explain(url: str, timeout: float) -> ConnectionFailed:
    """Why nobody could be reached there; see :func:`probe`."""
    return probe(url, timeout) or ConnectionFailed(f"{url} refused a connection and now accepts them", hint="try again")


def probe(url: str, timeout: float) -> ConnectionFailed | None:
    """Why nobody can be reached there: connects plainly, because libzmq does not tell.

    Args:
        url: ``ipc:///path`` or ``tcp://host:port``.
        timeout: seconds.

    Returns:
        None: somebody accepts connections.
        NobodyListening: there is no such socket, or nobody accepts on it.
        PermissionRefused: this user may not connect.
        BadEndpoint: something that is not a socket lies there, or the host has no address.
        ConnectionFailed: anything else.
    """
    try:
        if url.startswith("ipc://"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as plain:
                plain.settimeout(timeout)
                plain.connect(url.removeprefix("ipc://"))
        else:
            host, port = url.removeprefix("tcp://").rsplit(":", 1)
            socket.create_connection((host.strip("[]"), int(port)), timeout).close()
    except socket.gaierror as why:
        return BadEndpoint(f"{url}: {why.strerror or why}", hint="check the host name for a typing error")
    except OSError as why:
        return of_refusal(url, why)
    return None


def of_refusal(url: str, why: OSError) -> ConnectionFailed:
    """What the system said to an attempt to connect to ``url``."""
    path = url.removeprefix("ipc://")
    if isinstance(why, PermissionError):
        return PermissionRefused(
            f"{url}: permission denied", hint="use an account that may use this daemon, or name another one by --socket"
        )
    if isinstance(why, FileNotFoundError):
        return NobodyListening(f"nobody listens at {url}: there is no such socket", hint="start one with `stoker up`")
    if isinstance(why, ConnectionRefusedError):
        if path != url and os.path.lexists(path) and not _is_socket(path):
            return BadEndpoint(f"{path} is not a socket", hint="name the daemon's control socket")
        if url.startswith("tcp://"):
            hint = "does the daemon run there, with daemon.tcp set to this address and port?"
            return NobodyListening(f"nobody listens at {url}", hint=hint)
        return NobodyListening(f"nobody listens at {url}", hint="start a daemon with `stoker up`")
    if isinstance(why, NotADirectoryError):
        return BadEndpoint(f"{url}: {why.strerror}", hint="check the path for a typing error")
    if isinstance(why, TimeoutError):
        return too_slow(url)
    return ConnectionFailed(f"{url}: {why.strerror or why}")


def too_slow(url: str) -> ConnectionFailed:
    """It did not accept in time."""
    return ConnectionFailed(f"{url} did not accept a connection in time", hint="is the daemon stopped or overloaded?")


def lost(kind: type[ConnectionFailed], message: str) -> ConnectionFailed:
    """A connection that was there is gone."""
    return kind(message, hint="see its log; `stoker up` starts one")


def _is_socket(path: str) -> bool:
    import stat

    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)  # noqa: PTH116 - no pathlib where start-up time counts
    except OSError:
        return False
