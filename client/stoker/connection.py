"""A connection to a daemon for threads: a thin driver of :class:`~stoker.session.Session` over a ZeroMQ socket.

*Leader and followers.* There is no receiving thread. Of the threads that wait for an answer one leads: it blocks on the
socket's descriptor and hands what arrives to whomever it belongs, so a sequential caller pays for no thread switch. The
others, the followers, sleep on a gate of their own until what they wait for is there, or until they inherit the lead.
Where nobody waits, :mod:`stoker.pump` leads.

*The edge.* A send may swallow the signal that something has arrived. A thread that sends while another one sleeps on
the descriptor therefore takes in what is there, and wakes the leader if there was anything.

*Loss.* When the daemon goes away, everything under way fails with :class:`~stoker.errors.DaemonLost` at once. The
next request connects afresh, once.

This module needs zmq and msgpack only, so that the short verbs of the CLI start fast.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any, Protocol

from stoker.errors import ConnectionClosed, DeadlineExceeded, MalformedMessage, StokerError
from stoker.link import Link
from stoker.protocol.codec import Frame
from stoker.pump import Pump
from stoker.session import Completion, Exchange, Session
from stoker.turns import Slot, Turns

GREETING_DEADLINE = 30.0
"""Seconds within which a daemon must answer ``hello``."""

FAREWELL = 0.5
"""Seconds that the end of the process waits for the daemon to have read what it was sent."""


class Gathered(Protocol):
    """Requests that wait for company before they leave (an outbox). Called with the connection's lock held."""

    @property
    def opened(self) -> float | None:
        """``time.monotonic()`` since which they wait; None: there are none."""

    def flush(self) -> None:
        """Send them."""

    def drop(self) -> None:
        """Give them up: they are the parent process's."""


class _Nothing:
    opened = None

    def flush(self) -> None:
        """See :class:`Gathered`."""

    def drop(self) -> None:
        """See :class:`Gathered`."""


class Connection:
    """One daemon, any number of threads.

    Args:
        url: ``ipc:///path`` or ``tcp://host:port``.
        hello: parameters of the ``hello`` that opens a session; None: stay anonymous.
        timeout: seconds that a call may take unless it says otherwise; None: for ever.

    Raises:
        ConnectionFailed: see :func:`stoker.link.explain`.
    """

    def __init__(self, url: str, *, hello: dict[str, Any] | None = None, timeout: float | None = None) -> None:
        self.url = url
        self.timeout = timeout
        self.gathered: Gathered = _Nothing()
        self.generation = 0
        """How often it has connected; what a session knew is forgotten when this changes."""
        self._hello = hello
        self._closed = False
        self._renew()
        with self.lock:
            self.connect()
        _open.add(self)

    def _renew(self) -> None:
        """Everything that a forked child must not share with its parent."""
        self.lock = threading.RLock()
        self.turns = Turns()
        self.pump = Pump(self)
        self.session = Session()
        self._link: Link | None = None
        self._greeting: Exchange | None = None

    # --- requests ---------------------------------------------------------------------------------------------------

    def call(
        self, method: str, params: dict[str, Any], payload: Sequence[Frame] = (), timeout: float | None = None
    ) -> tuple[dict[str, Any], Sequence[Frame]]:
        """Ask, wait for the answer.

        Args:
            method: the word on the wire.
            params: a MessagePack-able map.
            payload: frames that travel untouched.
            timeout: seconds; None: the connection's own.

        Returns:
            The result map and the payload frames of the reply.

        Raises:
            DeadlineExceeded: no answer in time.
            DaemonLost: the daemon went away meanwhile.
            StokerError: what the daemon answered.
        """
        exchange = Exchange()
        number = self.send(method, params, payload, exchange)
        try:
            if not self.wait(exchange, self.timeout if timeout is None else timeout):
                raise DeadlineExceeded(
                    f"no answer to {method} from {self.url} in time", hint="allow more time, or see `stoker status`"
                )
        finally:
            if not exchange.settled:
                self.session.forget(number)
        return exchange.outcome()

    def send(
        self,
        method: str,
        params: dict[str, Any],
        payload: Sequence[Frame],
        completion: Completion,
        sent: list[None] | None = None,
    ) -> int:
        """Ask, and go on.

        Args:
            method: the word on the wire.
            params: a MessagePack-able map.
            payload: frames that travel untouched.
            completion: told of the replies by whichever thread receives them, with the lock held.
            sent: gets an element in the very moment in which the request is handed over, so that a caller that
                was interrupted knows whether it was.

        Returns:
            The request's id.
        """
        sent = [] if sent is None else sent
        with self.lock:
            link = self.connect()
            number, frames = self.session.request(method, params, payload, completion)
            try:
                link.send(frames, sent)
            finally:
                if not sent:
                    self.session.forget(number)
            if self.turns.asleep and self._take_in(link, None):
                self.turns.wake()
        return number

    @property
    def greeting(self) -> dict[str, Any]:
        """What the daemon answered to ``hello``; waits for it. Empty for an anonymous connection.

        Raises:
            StokerError: it refused.
        """
        with self.lock:
            self.connect()
            greeting = self._greeting
        if greeting is None:
            return {}
        self.wait(greeting)
        return greeting.outcome()[0]

    # --- waiting ----------------------------------------------------------------------------------------------------

    def wait(self, slot: Slot, timeout: float | None = None) -> bool:
        """Send what is gathered, then sleep until ``slot`` is settled; receives for everybody meanwhile.

        Args:
            slot: what to wait for.
            timeout: seconds; None: for ever.

        Returns:
            False when the time was over first.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        gate: threading.Lock | None = None
        try:
            with self.lock:
                self.gathered.flush()
            while not slot.settled and not self._lead(slot, deadline):
                gate = threading.Lock()
                gate.acquire()
                with self.lock:
                    shut = self.turns.follow(gate, slot)
                if shut and not gate.acquire(True, -1 if deadline is None else max(deadline - time.monotonic(), 0)):
                    break
        finally:
            self._leave(gate)
        return bool(slot.settled)

    def lead(self, slot: Slot, timeout: float | None) -> bool:
        """Receive until ``slot`` is settled or the time is over.

        Args:
            slot: what to wait for.
            timeout: seconds; None: for ever.

        Returns:
            False, at once, when another thread leads.
        """
        try:
            return self._lead(slot, None if timeout is None else time.monotonic() + timeout)
        finally:
            self._leave(None)

    def progress(self) -> None:
        """Take in what has arrived, without waiting, and send what is gathered."""
        with self.lock:
            self.gathered.flush()
            if self._link is not None and not self.turns.leader:
                self._take_in(self._link, None)
                if self._link is not None:
                    self._check_loss(self._link)

    def take_in(self) -> None:
        """Deliver what has arrived. Called with the lock held."""
        if self._link is not None and self._take_in(self._link, None):
            self.turns.wake()

    def _lead(self, slot: Slot, deadline: float | None) -> bool:
        ready: set[int] = set()
        while True:
            with self.lock:
                if not self.turns.take():
                    return False
                link = self._link
                if link is None:
                    return True
                self._serve(link, slot, ready)
                now = time.monotonic() if deadline is not None or self.session.next_deadline is not None else 0.0
                self.session.expire(now)
                if slot.settled or (deadline is not None and now >= deadline):
                    return True
                due = self.session.next_deadline
                nearest = min((moment for moment in (deadline, due) if moment is not None), default=None)
                self.turns.asleep = link is self._link
            if link is self._link:
                ready = self.turns.sleep((link.fd, link.monitor_fd), None if nearest is None else nearest - now)

    def _serve(self, link: Link, slot: Slot, ready: set[int]) -> None:
        self._take_in(link, slot)
        if link.monitor_fd in ready:
            self._check_loss(link)
        if self._greeting is not None and self._greeting.error is not None:
            self._lose(link, self._greeting.error)

    def _leave(self, gate: threading.Lock | None) -> None:
        with self.lock:
            if not self.turns.leave(gate) and self.pump.unattended:
                self.pump.rouse()

    # --- the link -----------------------------------------------------------------------------------------------------

    def connect(self) -> Link:
        """The live link, made anew if there is none. Called with the lock held.

        Raises:
            ConnectionFailed: the daemon cannot be reached.
            ConnectionClosed: this connection was closed.
        """
        if self._closed:
            raise _closed()
        if self._link is not None and (self._link.torn or not self.session.outstanding):
            self._check_loss(self._link)
        if self._link is None:
            self._link = Link(self.url)
            self.generation += 1
            if self._hello is not None:
                self._greeting = greeting = Exchange()
                deadline = time.monotonic() + GREETING_DEADLINE
                _, frames = self.session.request("hello", self._hello, (), greeting, deadline)
                self._link.send(frames, [])
        return self._link

    def _take_in(self, link: Link, slot: Slot | None) -> bool:
        """Deliver what has arrived, but no more than ``slot`` needs. True if there was anything."""
        if link.torn:
            self._check_loss(link)
            return True
        taken = False
        while not (slot is not None and slot.settled) and link.receive():
            taken = True
            try:
                self.session.receive(link.inbox)
            except MalformedMessage as why:
                self._lose(link, why)
                break
            link.inbox.clear()
        if taken:
            self.turns.open_gates()
        return taken

    def _check_loss(self, link: Link) -> None:
        if link is not self._link:
            return  # given up a moment ago, for what it said; it is closed
        why = link.loss()
        if why is not None:
            if not link.torn:
                self._take_in(link, None)
            self._lose(link, why)

    def _lose(self, link: Link, why: StokerError) -> None:
        if link is not self._link:
            return
        self._link = None
        link.inbox.clear()
        link.close(0)
        self.session.fail_all(lambda: type(why)(why.message, hint=why.hint))
        self.turns.open_gates()
        self.turns.wake()

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Send what is gathered, fail what is under way with ConnectionClosed. Doing it twice is fine."""
        with self.lock:
            if self._closed:
                return
            if self._link is not None:
                self.gathered.flush()
            self._closed = True
            link, self._link = self._link, None
            self.session.fail_all(_closed)
            self.turns.open_gates()
            self.turns.wake()
            self.pump.stop()
            if link is not None:
                link.close()
        self.pump.join()

    def after_fork(self) -> None:
        """In a forked child: leave everything that is the parent's alone, and connect afresh on first use."""
        _inherited.append(self._link)
        abandoned = self.session
        self._renew()
        abandoned.fail_all(
            lambda: ConnectionClosed("this request belongs to the parent process", hint="ask again in this one")
        )
        self.gathered.drop()

    def farewell(self) -> None:
        """At exit: what was handed in reaches the daemon, though nobody waits for it any more."""
        with contextlib.suppress(StokerError):
            self.progress()
            if self.session.outstanding and not self._closed:
                self.call("ping", {}, timeout=FAREWELL)
        self.close()


_open: weakref.WeakSet[Connection] = weakref.WeakSet()
_inherited: list[Link | None] = []
"""The parent's links in a forked child: kept, because taking them apart would reach into the parent's sockets."""


def _closed() -> ConnectionClosed:
    return ConnectionClosed("this client has been closed", hint="make a new one")


def _close_all() -> None:
    for connection in list(_open):
        connection.farewell()


def _renew_all() -> None:
    for connection in list(_open):
        connection.after_fork()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_renew_all)
