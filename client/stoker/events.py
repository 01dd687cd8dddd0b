"""The daemon's events as they happen."""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import zmq

from stoker.errors import ConnectionClosed, DeadlineExceeded, MalformedMessage
from stoker.link import Link
from stoker.protocol.codec import Frame, unpack
from stoker.protocol.endpoint import parse

if TYPE_CHECKING:
    from stoker.connection import Connection

HANDSHAKE = 10.0
"""Seconds that the event socket may take to accept."""


class Happening(NamedTuple):
    """One event.

    Args:
        seq: its number; numbers are consecutive over all topics, for one boot of the daemon.
        time: UTC seconds since the epoch.
        topic: what changed, for instance ``job.ended``.
        facts: the fields of the event's struct.
        missed: how many events before it did not arrive. Known only to who listens to all topics, else 0.
    """

    seq: int
    time: float
    topic: str
    facts: dict[str, Any]
    missed: int = 0


class Listener:
    """An iterator over events, from the moment it was made. For one thread. Also a context manager.

    What happens while it subscribes is fetched over the control socket and comes first.

    Args:
        connection: to the daemon.
        topics: only topics that begin so; empty: all.

    Raises:
        ConnectionFailed: the event socket cannot be reached.
    """

    def __init__(self, connection: Connection, topics: tuple[str, ...] = ()) -> None:
        self._topics = topics
        self._missed_early = 0
        start, _ = connection.call("events", {"limit": 1})
        self._seq: int = start["seq"]
        greeting = connection.greeting or connection.call("hello", {})[0]
        where = greeting["events"] or parse(connection.url).events
        self._link: Link | None = Link(where, kind=zmq.SUB, topics=topics or ("",), credentials=connection.credentials)
        self._settle_in(self._link)
        early, _ = connection.call("events", {"after": self._seq, "limit": 10_000})
        self._ready = deque(self._from_memory(early))

    def get(self, timeout: float | None = None) -> Happening:
        """The next event.

        Args:
            timeout: seconds to wait; None: for ever.

        Raises:
            DeadlineExceeded: nothing happened.
            DaemonLost: the daemon went away.
            ConnectionClosed: the listener was closed.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._ready:
            if self._link is None:
                raise ConnectionClosed("this listener has been closed")
            if not self._take_in(self._link):
                self._sleep(self._link, deadline)
        happening = self._ready.popleft()
        self._seq = happening.seq
        return happening

    def __iter__(self) -> Iterator[Happening]:
        while self._link is not None:
            yield self.get()

    def close(self) -> None:
        """Unsubscribe."""
        link, self._link = self._link, None
        if link is not None:
            link.close(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _settle_in(self, link: Link) -> None:
        """Wait until the peer is there: a subscription goes out with the handshake."""
        deadline = time.monotonic() + HANDSHAKE
        while True:
            why = link.loss()
            if why is not None:
                raise why
            if link.handshaken:
                return
            self._sleep(link, deadline)

    def _sleep(self, link: Link, deadline: float | None) -> None:
        poll = select.poll()
        poll.register(link.fd, select.POLLIN)
        poll.register(link.monitor_fd, select.POLLIN)
        remaining = None if deadline is None else max(deadline - time.monotonic(), 0)
        ready = poll.poll(None if remaining is None else remaining * 1000)
        if not ready and deadline is not None and time.monotonic() >= deadline:
            raise DeadlineExceeded("no event in time")

    def _take_in(self, link: Link) -> bool:
        frames = link.receive()
        if frames is None:
            why = link.loss()
            if why is not None and link.receive() is None:
                raise why
            return why is not None
        seq, moment, topic, facts = _read(frames)
        link.delivered()
        last = self._ready[-1].seq if self._ready else self._seq
        if seq > last:
            missed = 0 if self._topics else seq - last - 1
            self._ready.append(Happening(seq, moment, topic, facts, missed))
        return True

    def _from_memory(self, reply: dict[str, Any]) -> Iterator[Happening]:
        last = self._seq
        for seq, topic, facts in reply["events"]:
            if not self._topics or topic.startswith(self._topics):
                yield Happening(seq, time.time(), topic, facts, 0 if self._topics else seq - last - 1)
            last = seq


def _read(frames: Sequence[Frame]) -> tuple[int, float, str, dict[str, Any]]:
    try:
        _, body = frames
        seq, moment, topic, facts = unpack(body)
    except (ValueError, TypeError) as why:
        raise MalformedMessage(f"not an event: {why}") from why
    return int(seq), float(moment), str(topic), dict(facts)
