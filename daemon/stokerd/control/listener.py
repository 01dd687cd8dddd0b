"""Owning a listening socket, and handing it to ZeroMQ.

libzmq's own bind() unlinks whatever lies at the path and takes over a live daemon's endpoint in silence. So the socket
is made here: the lock first, then a look at what lies at the path, then bind with the right mode; libzmq adopts the
descriptor. A socket that systemd made goes the same way, and is not unlinked at the end.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import zmq

from stoker.errors import BadEndpoint, CannotListen, ConfigError, EndpointInUse, PermissionRefused, StokerError
from stoker.protocol.endpoint import Endpoint, direct_path, parse, status_path
from stokerd.config import DaemonConfig
from stokerd.control.path_lock import PathLock, identity, in_use

BACKLOG = 512
"""Connections that wait to be accepted, as far as net.core.somaxconn allows."""


class Listener:
    """A listening Unix socket that this process owns.

    Args:
        fd: the socket; closed by :meth:`close`.
        endpoint: where it listens.
        lock: the lock on its path; None where the directory is not ours to write to.
        made: device and inode of the path where this process made it; None: somebody else unlinks it.
    """

    def __init__(self, fd: int, endpoint: Endpoint, lock: PathLock | None, made: tuple[int, int] | None) -> None:
        self.fd = fd
        self.endpoint = endpoint
        self._lock = lock
        self._made = made

    @property
    def locked(self) -> bool:
        """Whether the lock on its path is ours."""
        return self._lock is not None

    def adopt(self, zmq_socket: zmq.Socket[bytes]) -> None:
        """Let a ZeroMQ socket accept here; it gets a descriptor of its own, which it closes itself."""
        zmq_socket.setsockopt(zmq.USE_FD, os.dup(self.fd))
        try:
            zmq_socket.bind(self.endpoint.url)
        finally:
            zmq_socket.setsockopt(zmq.USE_FD, -1)  # it sticks, and a second bind would adopt the same descriptor

    def close(self) -> None:
        """Listen no more. The path is unlinked if it is still the one made here, and only then is the lock let go."""
        if self.fd < 0:
            return
        os.close(self.fd)
        self.fd = -1
        path = str(self.endpoint.path)
        if self._made is not None and self._made == identity(path):
            with contextlib.suppress(OSError):
                Path(path).unlink()
        if self._lock is not None:
            self._lock.release()


def open_both(config: DaemonConfig, handed: Mapping[str, list[int]]) -> tuple[Listener, Listener]:
    """The control socket and the event socket beside it.

    Args:
        config: ``socket`` (resolved), ``mode`` and ``group``.
        handed: sockets from systemd; those named ``control`` and ``events`` are adopted.

    Raises:
        EndpointInUse: another daemon or program listens there.
        BadEndpoint: something that is no socket lies there.
        PermissionRefused: this user may not listen there.
        CannotListen: a directory is missing, read-only or full.
        ConfigError: there is no such group, or it is tcp.
    """
    mode, gid = int(config.mode, 8), _gid(config.group)
    control = _adopted(handed["control"][0]) if "control" in handed else listen(parse(config.socket), mode, gid)
    try:
        where = parse(control.endpoint.events)
        open_to = mode | int(config.status_mode or "0", 8)  # whoever may observe may hear of events
        events = _adopted(handed["events"][0]) if "events" in handed else listen(where, open_to, gid)
    except BaseException:
        control.close()
        raise
    return control, events


class Listeners(NamedTuple):
    """All that the daemon listens at on this machine.

    ``direct`` is None where it cannot be had, ``status`` where it is not wanted.
    """

    control: Listener
    events: Listener
    direct: Listener | None
    status: Listener | None


def open_all(config: DaemonConfig, handed: Mapping[str, list[int]]) -> Listeners:
    """The sockets of :func:`open_both`, the direct channel and the status socket beside them.

    Raises:
        EndpointInUse, BadEndpoint, PermissionRefused, CannotListen, ConfigError: see :func:`open_both`.
    """
    control, events = open_both(config, handed)
    direct: Listener | None = None
    try:
        direct = open_beside(control)
        return Listeners(control, events, direct, _open_status(config, control, handed))
    except BaseException:
        if direct is not None:
            direct.close()
        events.close()
        control.close()
        raise


def _open_status(config: DaemonConfig, control: Listener, handed: Mapping[str, list[int]]) -> Listener | None:
    if "status" in handed:
        return _adopted(handed["status"][0])
    if not config.status_mode or control.endpoint.path is None:
        return None
    return listen(Endpoint(f"ipc://{status_path(control.endpoint.path)}"), int(config.status_mode, 8))


def open_beside(control: Listener) -> Listener | None:
    """The direct channel beside a control socket, for whoever may use that one.

    Args:
        control: what it goes with; its lock is held for both.

    Returns:
        None where it cannot be made: clients do without.

    Raises:
        EndpointInUse: somebody else listens there, whom clients would take for this daemon.
    """
    path = control.endpoint.path
    if path is None or not control.locked:
        return None
    where = direct_path(path)
    try:
        given = Path(path).stat()
        _clear(where)
        fd = _bind(where, stat.S_IMODE(given.st_mode), given.st_gid if given.st_gid != os.getegid() else -1)
    except EndpointInUse:
        raise
    except (OSError, BadEndpoint):
        return None
    return Listener(fd, Endpoint(f"ipc://{where}"), None, identity(where))


def _gid(group: str) -> int:
    if not group:
        return -1
    try:
        return int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigError(
            f"daemon.group: there is no group {group!r} on this machine",
            hint=f"create it with `groupadd --system {group}`, or leave the key empty",
            data={"path": None, "line": None, "key": "daemon.group"},
        ) from None


def listen(endpoint: Endpoint, mode: int = 0o600, gid: int = -1) -> Listener:
    """Make a listening socket.

    Args:
        endpoint: where.
        mode: permissions of the socket.
        gid: its group; -1: the process's.

    Raises:
        EndpointInUse, BadEndpoint, PermissionRefused, CannotListen: see :func:`open_both`.
    """
    if (path := endpoint.path) is None:
        raise ConfigError(
            f"the control socket is a path, and {endpoint.url} is tcp, which is for clients with keys",
            hint=f'write tcp = "{endpoint.url}" in [daemon], and make keys with `stoker key new`',
            data={"path": None, "line": None, "key": "daemon.socket"},
        )
    with _refusals(path):
        _check_directory(Path(path).parent, create=mode & 0o077 == 0)
        lock = PathLock.take(path)
        try:
            _clear(path)
            fd = _bind(path, mode, gid)
        except BaseException:
            lock.release()
            raise
    return Listener(fd, endpoint, lock, identity(path))


def _check_directory(directory: Path, *, create: bool) -> None:
    """Make a private directory where there is none; refuse one in which somebody else could put another socket."""
    if not directory.exists():
        if not create:
            raise CannotListen(
                f"the directory {directory} does not exist",
                hint=f"create it with permissions for its users, such as `install -d -m 0755 {directory}`",
            )
        for missing in reversed([each for each in (directory, *directory.parents) if not each.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
    if not directory.is_dir():
        raise BadEndpoint(f"{directory} is not a directory", hint="choose another path for the socket")
    facts = directory.stat()
    open_to_all = facts.st_mode & stat.S_IWOTH and not facts.st_mode & stat.S_ISVTX
    if facts.st_uid not in (0, os.geteuid()) or open_to_all:
        raise PermissionRefused(
            f"the directory {directory} belongs to another user, or everybody may write to it:"
            " another program could take the socket's place",
            hint=f"choose another directory, or `chown {os.geteuid()}` and `chmod go-w` it",
        )


def _clear(path: str) -> None:
    """Unlink what a daemon that was killed left behind, and nothing else. The lock is ours."""
    if not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise BadEndpoint(
            f"{path} exists and is not a socket", hint="move it away, or choose another path for the socket"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        verdict = probe.connect_ex(path)
    if verdict in (0, errno.EAGAIN, errno.EINPROGRESS):  # for instance systemd, which has no lock of ours
        raise in_use(path, "a program without our lock listens there, such as systemd for stokerd.socket")
    if verdict not in (errno.ECONNREFUSED, errno.ENOENT, errno.EPROTOTYPE):
        raise OSError(verdict, os.strerror(verdict))
    with contextlib.suppress(FileNotFoundError):
        Path(path).unlink()


def _bind(path: str, mode: int, gid: int) -> int:
    """A listening socket that is never open to more than ``mode`` says, not even for a moment."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as made:
        os.fchmod(made.fileno(), mode & 0o700)  # Linux: bind() makes the file with this mode
        made.bind(path)
        try:
            if gid >= 0:
                os.chown(path, -1, gid)
            Path(path).chmod(mode)
            made.listen(BACKLOG)
        except OSError:
            Path(path).unlink()
            raise
        return made.detach()


@contextlib.contextmanager
def _refusals(path: str) -> Iterator[None]:
    """What the system says no to, as what Stoker says; its own verdicts, some of which are OSErrors, pass."""
    try:
        yield
    except StokerError:
        raise
    except OSError as why:
        reason = why.strerror or str(why)
        if why.errno in (errno.EACCES, errno.EPERM):
            raise PermissionRefused(
                f"not allowed to listen at {path}: {reason}",
                hint="choose another endpoint with --socket, or run as its owner",
            ) from None
        raise CannotListen(
            f"cannot listen at {path}: {reason}",
            hint="the directory must exist, be writable and have space left",
            data={"full": why.errno in (errno.ENOSPC, errno.EDQUOT)},
        ) from None


def _adopted(fd: int) -> Listener:
    """A listening socket that systemd made. libzmq aborts the process over anything else, so look first."""
    if (name := _listening_at(fd)) is None:
        raise BadEndpoint(
            f"descriptor {fd} from systemd is not a listening stream socket with a path",
            hint="write ListenStream=/absolute/path in the socket unit",
        )
    endpoint = parse(name)
    try:
        lock: PathLock | None = PathLock.take(name)
    except EndpointInUse:
        raise
    except OSError:  # the directory is systemd's and not ours to write to
        lock = None
    return Listener(fd, endpoint, lock, None)


def _listening_at(fd: int) -> str | None:
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return None
    with socket.socket(fileno=os.dup(fd)) as given:
        if (given.family, given.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
            return None
        name = given.getsockname()
        listening = given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        return name if listening and isinstance(name, str) and name else None
