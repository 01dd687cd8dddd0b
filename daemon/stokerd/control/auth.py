"""Who may do what on this machine: a role by user; and what libzmq asks about those who come over tcp (ZAP).

The handler of ZAP (ZeroMQ RFC 27) is a socket of the loop's own, so that nobody else has to know the keys.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable

import zmq
from zmq.utils import z85

from stoker.errors import ConfigError, PermissionDenied
from stoker.protocol.roles import Role
from stokerd.clock import Clock
from stokerd.config import SecurityConfig

DOMAIN = "stoker"
"""The ZAP domain of the sockets that ask; it must match exactly."""
ZAP = "inproc://zeromq.zap.01"


class Users:
    """The roles of users on the control socket: root, the daemon's own and ``admins`` are admins.

    Raises:
        ConfigError: an admin is no user of this machine.
    """

    def __init__(self, config: SecurityConfig) -> None:
        self._others = Role.of(config.peer_role)
        self._admins = {0, os.geteuid(), *map(_uid, config.admins)}

    def role_of(self, uid: int | None) -> Role:
        """The role of a user; whom the kernel does not name may observe."""
        if uid is None:
            return Role.OBSERVE
        return Role.ADMIN if uid in self._admins else self._others


def _uid(user: str) -> int:
    try:
        return int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ConfigError(
            f"security.admins: there is no user {user!r} on this machine",
            hint="create the user, or take it off the list",
            data={"path": None, "line": None, "key": "security.admins"},
        ) from None


class Doorman:
    """Answers libzmq's question whether a key may connect.

    Args:
        may_enter: whether this public key, in Z85, may.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], clock: Clock, may_enter: Callable[[str], bool]) -> None:
        self._clock, self._may_enter = clock, may_enter
        self._socket = context.socket(zmq.ROUTER)
        self._socket.set(zmq.LINGER, 0)
        self._socket.bind(ZAP)
        self._fd = int(self._socket.get(zmq.FD))
        clock.watch(self._fd, self._look)
        self._look()

    def _look(self) -> None:
        while int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
            peer, empty, *request = self._socket.recv_multipart(zmq.NOBLOCK)
            self._socket.send_multipart([peer, empty, *self._answer(request)], zmq.NOBLOCK)

    def _answer(self, request: Iterable[bytes]) -> list[bytes]:
        """RFC 27: version, request id, status, its text, user id, metadata."""
        version, number, domain, _address, _routing, mechanism, *credentials = request
        key = z85.encode(credentials[0]).decode() if mechanism == b"CURVE" and len(credentials) == 1 else ""
        if domain == DOMAIN.encode() and key and self._may_enter(key):
            return [version, number, b"200", b"OK", key.encode(), b""]
        return [version, number, b"400", b"no such key", b"", b""]

    def close(self) -> None:
        """Nobody may connect any more."""
        self._clock.unwatch(self._fd)
        self._socket.close()


def guard(socket: zmq.Socket[bytes], public: str, secret: str) -> None:
    """Have a socket let in only whom a :class:`Doorman` does.

    Args:
        socket: not bound yet.
        public: the daemon's key, Z85.
        secret: likewise.
    """
    socket.set(zmq.CURVE_SERVER, 1)
    socket.set(zmq.CURVE_PUBLICKEY, public.encode())
    socket.set(zmq.CURVE_SECRETKEY, secret.encode())
    socket.set(zmq.ZAP_DOMAIN, DOMAIN.encode())
    # without it, libzmq lets everybody in while there is nobody to ask
    socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)
    socket.set(zmq.HANDSHAKE_IVL, 10_000)


def revoked(name: str = "") -> PermissionDenied:
    """What somebody is told whose key was taken away."""
    return PermissionDenied(
        f"the key {name!r} may not be used here any more" if name else "this key may not be used here any more",
        hint="have it authorized again: `stoker key authorize` on the daemon's machine",
    )
