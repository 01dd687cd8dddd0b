"""Who is connected: one session per peer of the control socket, from its first message until it is gone.

A peer that never says hello has an anonymous session, which owns nothing and is forgotten when there are too many. One
that says hello has its process watched by pidfd where it runs on this machine, or has promised to be heard from.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias

from stoker.errors import TooManySessions
from stoker.protocol.events import SessionClosed, SessionOpened
from stoker.protocol.requests import Hello
from stoker.protocol.roles import Role
from stokerd.bus import Bus
from stokerd.clock import Clock, Timer
from stokerd.control.caller import Session

PeerKey: TypeAlias = bytes | int | tuple[str, bytes]
"""What a peer is told from others by: its routing id, with its socket where that is not the control socket, or a number
of the direct channel's."""

MAX_ANONYMOUS = 1024
"""Peers without hello that are remembered; beyond, those not heard from for longest are forgotten."""


class Sessions:
    """See the module.

    Args:
        limit: how many peers may say hello.
        role_of: the role of a peer on this machine, by its user.
        on_closed: told of each session that is over, after it can no longer be reached; of anonymous ones as well.
    """

    def __init__(
        self,
        *,
        limit: int,
        role_of: Callable[[int | None], Role],
        clock: Clock,
        bus: Bus,
        on_closed: Callable[[Session], None],
    ) -> None:
        self.limit, self._role_of = limit, role_of
        self._clock, self._bus, self._on_closed = clock, bus, on_closed
        self._by_peer: dict[PeerKey, Session] = {}
        self._anonymous: OrderedDict[PeerKey, Session] = OrderedDict()
        self._pidfds: dict[str, int] = {}
        self._heartbeats: dict[str, tuple[float, Timer]] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._by_peer)

    def get(self, peer: PeerKey) -> Session | None:
        """The session of a peer; None where it is new."""
        session = self._by_peer.get(peer)
        if session is not None:
            if session.id in self._heartbeats:
                self._heard(session, peer)
            return session
        session = self._anonymous.get(peer)
        if session is not None:
            self._anonymous.move_to_end(peer)
        return session

    def meet(
        self, peer: PeerKey, address: str, role: Role | None = None, *, key: str = "", public: str = ""
    ) -> Session:
        """A new peer.

        Args:
            peer: what it is told from others by.
            address: what libzmq tells of it: for ipc ``localhost:UID:GID:PID`` from the kernel.
            role: what it may do; None: what its user may.
            key: the name of its key, if it came with one.
            public: that key.
        """
        self._count += 1
        uid, pid = (None, None) if key else _credentials(address)
        role = self._role_of(uid) if role is None else role
        session = self._anonymous[peer] = Session(
            id=f"s{self._count}", pid=pid, uid=uid, address=address, role=role, key=key, public=public
        )
        if len(self._anonymous) > MAX_ANONYMOUS:
            self._forget_one()
        return session

    def _forget_one(self) -> None:
        """Forget the anonymous session not heard from for longest; one that waits for an answer is kept a while."""
        peer, session = self._anonymous.popitem(last=False)
        if session.due:
            self._anonymous[peer] = session
        else:
            self._on_closed(session)

    def with_keys(self) -> list[tuple[PeerKey, Session]]:
        """Those who came over tcp."""
        both = (*self._by_peer.items(), *self._anonymous.items())
        return [(peer, session) for peer, session in both if session.key]

    def peer_of(self, session: Session) -> PeerKey | None:
        """The peer whose session this is."""
        for peer, other in self._by_peer.items():
            if other is session:
                return peer
        return None

    def open(self, session: Session, hello: Hello) -> None:
        """The peer said hello; saying it again only changes what it says.

        Raises:
            TooManySessions: as many are open as may be.
        """
        peer = next((peer for peer, other in self._anonymous.items() if other is session), None)
        if peer is not None:
            if len(self._by_peer) >= self.limit:
                raise TooManySessions(
                    f"{len(self._by_peer)} clients are connected, and no more are allowed",
                    hint="close some, or raise limits.sessions",
                    data={"limit": self.limit},
                )
            del self._anonymous[peer]
            self._by_peer[peer] = session
            self._watch(session, peer)
        session.anonymous = False
        session.client = hello.client
        session.environment = hello.environment
        session.on_disconnect = hello.on_disconnect
        session.weight, session.most = hello.weight, hello.most
        session.pushes = hello.pushes
        if peer is not None:
            self._bus.emit(
                SessionOpened(
                    session=session.id,
                    client=session.client,
                    pid=session.pid,
                    role=session.role.word,
                    key=session.key,
                )
            )
            if hello.heartbeat is not None and session.pid is None:
                self._heartbeats[session.id] = (
                    hello.heartbeat,
                    self._clock.later(hello.heartbeat, self._silent, peer),
                )

    def _watch(self, session: Session, peer: PeerKey) -> None:
        if session.pid is None:
            return
        try:
            fd = os.pidfd_open(session.pid)
        except ProcessLookupError:
            self._clock.soon(self.close, peer, "its process has ended")
            return
        except OSError:
            return  # another pid namespace: it says bye, or its silence is noticed when it is sent something
        self._pidfds[session.id] = fd
        self._clock.watch(fd, self.close, peer, "its process has ended")

    def _heard(self, session: Session, peer: PeerKey) -> None:
        seconds, timer = self._heartbeats[session.id]
        timer.cancel()
        self._heartbeats[session.id] = (seconds, self._clock.later(seconds, self._silent, peer))

    def _silent(self, peer: PeerKey) -> None:
        self.close(peer, "it was not heard from")

    def close(self, peer: PeerKey, reason: str) -> None:
        """The peer is gone."""
        session = self._by_peer.pop(peer, None)
        if session is None:
            session = self._anonymous.pop(peer, None)
            if session is not None:
                self._on_closed(session)
            return
        fd = self._pidfds.pop(session.id, None)
        if fd is not None:
            self._clock.unwatch(fd)
            os.close(fd)
        heartbeat = self._heartbeats.pop(session.id, None)
        if heartbeat is not None:
            heartbeat[1].cancel()
        self._bus.emit(SessionClosed(session=session.id, reason=reason))
        self._on_closed(session)

    def close_all(self) -> None:
        """The daemon ends."""
        for peer in list(self._by_peer):
            self.close(peer, "the daemon is stopping")


def _credentials(address: str) -> tuple[int | None, int | None]:
    """User and process id of a local peer's address; process 0 is one of another pid namespace."""
    parts = address.split(":")
    if len(parts) != 4 or not all(part.isdigit() for part in parts[1:]):
        return None, None
    return int(parts[1]), int(parts[3]) or None
