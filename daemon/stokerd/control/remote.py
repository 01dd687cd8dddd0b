"""Clients from afar: tcp with CURVE, a role per key, events at the next port.

A key that is taken away is out at once: its sessions end, its later messages are refused, and the event socket is made
anew, because libzmq cannot part with one subscriber alone.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import zmq

from stoker.errors import BadKey, CannotListen, EndpointInUse, PermissionRefused, StokerError
from stoker.protocol import codec
from stoker.protocol.endpoint import parse
from stoker.protocol.requests import KeyInfo
from stokerd.clock import Clock
from stokerd.config import Config
from stokerd.control.auth import Doorman, guard, revoked
from stokerd.control.dispatch import Dispatcher
from stokerd.control.keyring import Keyring
from stokerd.control.publisher import Publisher
from stokerd.control.server import Server
from stokerd.control.sessions import Sessions
from stokerd.log import get_logger

PLACE = "tcp"
"""What its peers are told from those of other sockets by."""
BEAT, BEAT_TIMEOUT = 5_000, 15_000
"""Milliseconds between pings of libzmq's own, and without an answer after which a connection is given up."""
BACKLOG = 128
"""Connections that wait to be accepted."""
LOOKS = (0.02, 0.2, 2.0)
"""Seconds after the end of a connection at which it is looked whose it was."""


class Remote:
    """See the module.

    Args:
        url: where to listen; events are at the next port.

    Raises:
        BadKey: there are no keys to go by, or libzmq was built without CURVE.
        EndpointInUse, CannotListen, PermissionRefused: why it cannot listen there.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], clock: Clock, config: Config, largest: int) -> None:
        if not zmq.has("curve"):
            raise BadKey("tcp takes CURVE, and this libzmq was built without", hint="install pyzmq from its wheel")
        self._clock, self.url = clock, config.daemon.tcp
        self.keys = Keyring(Path(config.security.keys_dir))
        self._sessions: Sessions
        self._dispatcher: Dispatcher
        self._sockets = [_listen(self.url)]
        try:
            self._sockets.append(_listen(parse(self.url).events))
        except BaseException:
            self._sockets[0].close()
            raise
        self._doorman = Doorman(context, clock, self.keys.knows)
        self._server = Server(context, clock, largest_frame=largest, place=PLACE, owner=self.keys.owner)
        self._publisher = Publisher(context, clock, self._adopt_events)
        self._monitor: zmq.Socket[bytes] | None = None
        self._adopt(self._server.socket, self.url, self._sockets[0])
        self._publisher.open()

    def _adopt_events(self, made: zmq.Socket[bytes]) -> None:
        self._adopt(made, parse(self.url).events, self._sockets[1])

    def _adopt(self, made: zmq.Socket[bytes], url: str, listening: socket.socket) -> None:
        """Let a ZeroMQ socket accept there, by a descriptor of its own: the next one can at once do so too."""
        guard(made, self.keys.server.public, self.keys.server.secret)
        made.set(zmq.HEARTBEAT_IVL, BEAT)
        made.set(zmq.HEARTBEAT_TIMEOUT, BEAT_TIMEOUT)
        made.set(zmq.IPV6, int(listening.family == socket.AF_INET6))
        made.set(zmq.USE_FD, os.dup(listening.fileno()))
        made.bind(url)

    @property
    def publisher(self) -> Publisher:
        """What sends events."""
        return self._publisher

    def serve(self, sessions: Sessions, dispatcher: Dispatcher, touched: Callable[[], None]) -> None:
        """Begin to answer."""
        self._sessions, self._dispatcher = sessions, dispatcher
        self._publisher.serve()
        self._monitor = self._server.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._clock.watch(int(self._monitor.get(zmq.FD)), self._connection_ended)
        self._connection_ended()
        self._server.serve(sessions, dispatcher, touched)
        self.keys.watch(self._clock, self.refresh)
        get_logger().info("listening for remote clients", endpoint=self.url, keys=len(self.keys.owners))
        if not self.keys.owners:
            get_logger().warning("no key is authorized: nobody can connect over tcp", folder="authorized")

    def _connection_ended(self) -> None:
        """Somebody's connection has ended, and libzmq does not say whose."""
        assert self._monitor is not None  # noqa: S101 - it is what called
        ended = False
        while int(self._monitor.get(zmq.EVENTS)) & zmq.POLLIN:
            self._monitor.recv_multipart(zmq.NOBLOCK)
            ended = True
        if ended:
            for seconds in LOOKS:
                self._clock.later(seconds, self._knock)

    def _knock(self) -> None:
        """Say something to everybody who takes it: whoever is gone is found out."""
        word: list[codec.Frame] = [b"", codec.pack({"push": "alive"})]
        for peer, session in self._sessions.with_keys():
            if session.pushes and isinstance(peer, tuple):
                self._server.send(peer[1], word)

    def refresh(self) -> None:
        """Read the keys again; whoever has lost theirs is out."""
        before = set(self.keys.owners)
        if not self.keys.refresh():
            return
        lost = before - self.keys.owners.keys()
        roles = {owner.name: owner.role for owner in self.keys.owners.values()}
        ended = 0
        for peer, session in self._sessions.with_keys():
            if session.public in self.keys.owners:
                session.role = roles[session.key]
                continue
            self._dispatcher.refuse_all(revoked(session.key), session)
            self._sessions.close(peer, "its key was revoked")
            ended += 1
        if lost:
            self._publisher.renew()
        get_logger().info("the authorized keys have changed", keys=len(self.keys.owners), sessions_ended=ended)

    def known(self) -> tuple[KeyInfo, ...]:
        """Who may connect, and how often they are here."""
        here = Counter(session.key for _, session in self._sessions.with_keys())
        return tuple(
            KeyInfo(name=owner.name, role=owner.role.word, public=public, sessions=here[owner.name])
            for public, owner in sorted(self.keys.owners.items(), key=lambda item: item[1].name)
        )

    def close(self) -> None:
        """Close all sockets."""
        self.keys.close(self._clock)
        if self._monitor is not None:
            self._clock.unwatch(int(self._monitor.get(zmq.FD)))
            self._server.socket.disable_monitor()
            self._monitor.close(0)
        self._server.close()
        self._publisher.close()
        self._doorman.close()
        for listening in self._sockets:
            listening.close()


def _listen(url: str) -> socket.socket:
    host, port = url.removeprefix("tcp://").rsplit(":", 1)
    host = host.strip("[]")
    try:
        family, *_, address = socket.getaddrinfo(
            "" if host == "*" else host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as why:
        raise _refusal(url, why) from None
    made.setblocking(False)
    return made


def _refusal(url: str, why: OSError) -> StokerError:
    if why.errno == errno.EADDRINUSE:
        return EndpointInUse(f"something listens at {url} already", hint="choose another port, or end that program")
    if isinstance(why, PermissionError):
        return PermissionRefused(f"not allowed to listen at {url}", hint="choose a port above 1023")
    return CannotListen(f"cannot listen at {url}: {why.strerror or why}", hint="is it an address of this machine?")
