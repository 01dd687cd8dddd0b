"""A connection to a daemon for threads: a thin driver of :class:`~stoker.session.Session` over a link.

*Two kinds of link.* Where the daemon has a direct channel beside its control socket, that is taken
(:mod:`stoker.local`), else ZeroMQ (:mod:`stoker.link`), which is not even imported before it is needed. Either does the
same. ``STOKER_TRANSPORT`` = ``direct`` or ``zmq`` insists on one.

*Leader and followers.* There is no receiving thread. Of the threads that wait for an answer one leads: it blocks on the
socket's descriptor and hands what arrives to whomever it belongs, so a sequential caller pays for no thread switch. The
others, the followers, sleep on a gate of their own until what they wait for is there, or until they inherit the lead.
Where nobody waits, :mod:`stoker.pump` leads.

*The edge.* With ZeroMQ a send may swallow the signal that something has arrived. A thread that sends while another one
sleeps on the descriptor therefore takes in what is there, and wakes the leader if there was anything.

*Loss.* When the daemon goes away, everything under way fails with :class:`~stoker.errors.DaemonLost` at once. The
next request connects afresh. :meth:`Connection.call` asks again by itself where that is safe, and waits for a daemon
that comes back (:mod:`stoker.comeback`).

This module needs msgpack only, and zmq where that is spoken, so that the short verbs of the CLI start fast.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from stoker import local
from stoker.comeback import ABSENT, PATIENCE, Comeback, patience_of
from stoker.errors import (
    BadEndpoint,
    ConnectionClosed,
    ConnectionFailed,
    DeadlineExceeded,
    MalformedMessage,
    StokerError,
)
from stoker.protocol.codec import Frame
from stoker.pump import Pump
from stoker.refusal import probe
from stoker.session import Completion, Exchange, Session
from stoker.turns import Slot, Turns

if TYPE_CHECKING:
    from stoker.credentials import Credentials

GREETING_DEADLINE = 30.0
"""Seconds within which a daemon must answer ``hello``."""

FAREWELL = 0.5
"""Seconds that the end of the process waits for the daemon to have read what it was sent."""

CONNECTING = 5.0
"""Seconds within which a daemon must accept a connection."""


class Link(Protocol):
    """What carries messages; see :class:`stoker.link.Link` and :class:`stoker.local.DirectLink`."""

    edgy: bool
    torn: bool
    descriptors: tuple[int, ...]

    @property
    def unsent(self) -> bool: ...  # noqa: D102 - all of them are described there
    @property
    def suspect(self) -> bool: ...  # noqa: D102
    @property
    def bounced(self) -> bool: ...  # noqa: D102
    def send(self, frames: Sequence[Frame], sent: list[None]) -> None: ...  # noqa: D102
    def flush(self) -> None: ...  # noqa: D102
    def look(self, ready: set[int]) -> None: ...  # noqa: D102
    def seek(self) -> None: ...  # noqa: D102
    def receive(self) -> Sequence[Frame] | None: ...  # noqa: D102
    def delivered(self) -> None: ...  # noqa: D102
    def loss(self) -> ConnectionFailed | None: ...  # noqa: D102
    def abandon(self) -> None: ...  # noqa: D102
    def close(self, linger: int = ...) -> None: ...  # noqa: D102


def reach(url: str, credentials: Credentials | None = None) -> Link:
    """A link to the daemon at ``url``: the direct channel where there is one, else ZeroMQ.

    Raises:
        BadEndpoint: ``STOKER_TRANSPORT`` is none of the words that it may be.
        ConnectionFailed: the daemon cannot be reached.
    """
    wanted = os.environ.get("STOKER_TRANSPORT") or "auto"
    if wanted not in ("auto", "direct", "zmq"):
        raise BadEndpoint(
            f"STOKER_TRANSPORT is {wanted!r}, and there is no such transport", hint="use auto, direct or zmq"
        )
    if wanted == "direct" or (wanted == "auto" and url.startswith("ipc://")):
        try:
            return local.reach(url, CONNECTING)
        except ConnectionFailed:  # an older daemon, or none
            if wanted == "direct":
                raise
        if (why := probe(url, CONNECTING)) is not None:  # without ZeroMQ, which would take longer to say so
            raise why
    from stoker.link import Link as ZmqLink

    return ZmqLink(url, timeout=CONNECTING, credentials=credentials)


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
        reconnect: seconds for which a daemon that went away is waited for; None: what ``STOKER_RECONNECT`` says, else
            a minute where a service manager brings it back, else not at all.
        credentials: the keys for tcp; None: those that :func:`stoker.credentials.find` finds.

    Raises:
        ConnectionFailed: see :func:`stoker.refusal.explain`.
        InvalidParams: ``STOKER_RECONNECT`` is not a number of seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        hello: dict[str, Any] | None = None,
        timeout: float | None = None,
        reconnect: float | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.url = url
        if url.startswith("tcp://"):
            from stoker.credentials import find

            credentials = credentials or find(url, None, None, os.environ)
            if hello is not None:  # its process, directories and variables are another machine's
                hello = {**hello, "pid": None, "environment": None, "pushes": True}
        self.credentials = credentials
        self.timeout = timeout
        self.on_away: Callable[[StokerError], object] | None = None
        """Told, once per loss, that the daemon went away and is waited for."""
        self._reconnect = patience_of(os.environ) if reconnect is None else reconnect
        self._supervised = False
        self.gathered: Gathered = _Nothing()
        self.posted: Gathered = _Nothing()
        """What must leave before any other request."""
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
        self.lenders = 0
        """Threads that wait inside a job, which lends its slot meanwhile: see :mod:`stoker.lending`."""
        self._link: Link | None = None
        self.baskets: dict[tuple[str, str], Any] = {}
        """What :mod:`stoker.shared.taking` has at hand, by queue and thread."""
        self.loans: Any = None
        """What :mod:`stoker.shared.borrowing` has been lent; None: nothing, or it went with the connection."""
        self._seen_off: Link | None = None
        """The link whose unsent messages the pump has been told of."""
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
            DaemonLost: the daemon went away meanwhile, and asking again might do the thing twice.
            NobodyListening: it went away, and was not back within the time that it is waited for.
            StokerError: what the daemon answered.
        """
        limit = self.timeout if timeout is None else timeout
        deadline = None if limit is None else time.monotonic() + limit
        sent: list[None] = []
        try:
            return self._ask(method, params, payload, deadline, sent)
        except ABSENT as why:
            patience = self.patience()
            if not patience or self._closed:
                raise
            first = why
        # the rare way is apart from the frequent one
        return self._ask_again(first, Comeback(method, params, time.monotonic() + patience), payload, deadline, sent)

    def _ask(
        self,
        method: str,
        params: dict[str, Any],
        payload: Sequence[Frame],
        deadline: float | None,
        left: list[None],
    ) -> tuple[dict[str, Any], Sequence[Frame]]:
        """One attempt; ``left`` gets an element when it has been handed over."""
        exchange = Exchange()
        number = self.send(method, params, payload, exchange)
        left.append(None)
        try:
            if not self.wait(exchange, None if deadline is None else max(deadline - time.monotonic(), 0)):
                raise DeadlineExceeded(
                    f"no answer to {method} from {self.url} in time", hint="allow more time, or see `stoker status`"
                )
        finally:
            if not exchange.settled:
                self.session.forget(number)
        return exchange.outcome()

    def _ask_again(
        self,
        why: StokerError,
        comeback: Comeback,
        payload: Sequence[Frame],
        deadline: float | None,
        left: list[None],
    ) -> tuple[dict[str, Any], Sequence[Frame]]:
        """Ask until there is an answer, it may not be asked again, or the daemon has been away for too long."""
        if self.on_away is not None:
            self.on_away(why)
        while True:
            now = time.monotonic()
            pause = comeback.pause(why, now, left=bool(left))
            if pause is None or (deadline is not None and now + pause >= deadline):
                raise why
            time.sleep(pause)
            left.clear()
            try:
                return self._ask(comeback.method, comeback.params, payload, deadline, left)
            except ABSENT as again:
                why = again
            except StokerError as answer:
                raise comeback.verdict(answer) from None

    def await_return(self, why: StokerError) -> None:
        """Wait for a daemon that is away, and connect to it; for what has not left and goes on by another way.

        Args:
            why: what it was seen by.

        Raises:
            StokerError: ``why``, where this daemon is not waited for, or has been away for too long.
        """
        patience = self.patience()
        if not patience or self._closed:
            raise why
        if self.on_away is not None:
            self.on_away(why)
        comeback = Comeback("", {}, time.monotonic() + patience)
        while (pause := comeback.pause(why, time.monotonic(), left=False)) is not None:
            time.sleep(pause)
            try:
                with self.lock:
                    self.connect()
            except ABSENT as again:
                why = again
            else:
                return
        raise why

    def patience(self) -> float:
        """Seconds for which this daemon is waited for when it is away."""
        if self._reconnect is not None:
            return self._reconnect
        self._note_greeting()
        return PATIENCE if self._supervised else 0.0

    def _note_greeting(self) -> None:
        """Remember of the daemon what must be known when it is gone."""
        greeting = self._greeting
        if greeting is not None and greeting.settled and greeting.error is None:
            self._supervised = bool(greeting.outcome()[0].get("supervised"))

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
            if self.posted.opened is not None:
                self.posted.flush()
            link = self.connect()
            number, frames = self.session.request(method, params, payload, completion)
            try:
                link.send(frames, sent)
                if link.bounced and self.session.outstanding == 1:
                    # it was gone before, and nobody had asked it for anything since: this cannot be done twice
                    link = self._again(link, frames, number, completion)
            finally:
                if not sent:
                    self.session.forget(number)
            if link.unsent:
                self._see_off(link)
            if link.edgy and self.turns.asleep and self._take_in(link, None):
                self.turns.wake()
        return number

    def tell(self, method: str, params: dict[str, Any], on_error: Callable[[StokerError], object]) -> None:
        """Ask for something that is dealt with at once, and go on; only a failure is answered.

        Args:
            method: the word on the wire.
            params: a MessagePack-able map.
            on_error: told of a failure, before any later request is answered, by whichever thread receives it and with
                the lock held.
        """
        with self.lock:
            if self.posted.opened is not None:
                self.posted.flush()
            link = self.connect()
            link.send(self.session.tell(method, params, on_error), [])
            if link.unsent:
                self._see_off(link)
            if link.edgy and self.turns.asleep and self._take_in(link, None):
                self.turns.wake()

    def _again(self, gone: Link, frames: Sequence[Frame], number: int, completion: Completion) -> Link:
        """Send by a new link what could not leave by one that had been given up by the other side."""
        self.session.forget(number)
        self._lose(gone, gone.loss() or _closed())
        link = self.connect()
        self.session.adopt(number, completion)
        link.send(frames, [])
        return link

    def _see_off(self, link: Link) -> None:
        """Something waits for room in the socket: whoever leads sends it, and somebody has to."""
        if link is not self._seen_off:
            self._seen_off = link
            self.pump.attend()
        self.turns.wake()

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
                self.flush()
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

    def flush(self) -> None:
        """Send what is gathered. Called with the lock held."""
        if self.posted.opened is not None:
            self.posted.flush()
        self.gathered.flush()

    @property
    def opened(self) -> float | None:
        """Since when the first of what is gathered waits; None where nothing does."""
        return min((since for since in (self.gathered.opened, self.posted.opened) if since is not None), default=None)

    def progress(self) -> None:
        """Take in what has arrived, without waiting, and send what is gathered."""
        with self.lock:
            self.flush()
            if self._link is not None and not self.turns.leader:
                self._link.seek()
                self._take_in(self._link, None)
                if self._link is not None:
                    self._check_loss(self._link)

    def take_in(self) -> None:
        """Deliver what has arrived. Called with the lock held."""
        if self._link is not None:
            self._link.seek()
            if self._take_in(self._link, None):
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
                if slot.settled:
                    return True
                left = None
                if (due := self.session.next_deadline) is not None or deadline is not None:
                    now = time.monotonic()
                    if due is not None:
                        self.session.expire(now)
                        due = self.session.next_deadline
                    if slot.settled or (deadline is not None and now >= deadline):
                        return True
                    left = min((moment - now for moment in (deadline, due) if moment is not None), default=None)
                self.turns.asleep = link is self._link
            if link is self._link:
                writing = link.descriptors[0] if link.unsent else None
                ready = self.turns.sleep(link.descriptors, left, writing)

    def _serve(self, link: Link, slot: Slot, ready: set[int]) -> None:
        link.look(ready)
        if link.unsent or self._seen_off is not None:
            self._flush(link)
        self._take_in(link, slot)
        if link.suspect:
            self._check_loss(link)
        if self._greeting is not None and self._greeting.error is not None:
            self._lose(link, self._greeting.error)

    def _flush(self, link: Link) -> None:
        link.flush()
        if not link.unsent and self._seen_off is not None:
            self._seen_off = None
            self.pump.release()

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
        if self._link is not None and (self._link.torn or (self._link.edgy and not self.session.outstanding)):
            self._check_loss(self._link)
        if self._link is None:
            self._note_greeting()
            self._link = reach(self.url, self.credentials)
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
        try:
            while not (slot is not None and slot.settled) and (frames := link.receive()) is not None:
                taken = True
                self.session.receive(frames)
                link.delivered()
        except MalformedMessage as why:
            self._lose(link, why)
            taken = True
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
        self._link = self.loans = None
        if self._seen_off is not None:
            self._seen_off = None
            self.pump.release()
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
                self.flush()
            self._closed = True
            link, self._link = self._link, None
            self.loans = None
            self.session.fail_all(_closed)
            self.turns.open_gates()
            self.turns.wake()
            self.pump.stop()
            if link is not None:
                link.close()
        self.pump.join()

    def after_fork(self) -> None:
        """In a forked child: leave everything that is the parent's alone, and connect afresh on first use."""
        if self._link is not None:
            self._link.abandon()
            _inherited.append(self._link)
        abandoned = self.session
        self._renew()
        abandoned.fail_all(
            lambda: ConnectionClosed("this request belongs to the parent process", hint="ask again in this one")
        )
        self.gathered.drop()
        self.posted.drop()

    @property
    def direct(self) -> bool:
        """Whether its link is the direct channel, at present."""
        return self._link is not None and not self._link.edgy

    def pass_descriptors(self) -> bool:
        """Be ready for descriptors beside messages; False where the link can't pass any. Called with the lock held."""
        link = self._link
        if not isinstance(link, local.DirectLink):
            return False
        link.pass_descriptors()
        return True

    def see_off(self) -> None:
        """See to it that what was handed in reaches the daemon, though nobody waits for it any more."""
        self.progress()
        if self.session.outstanding and not self._closed:
            self.call("ping", {}, timeout=FAREWELL)

    def farewell(self) -> None:
        """At exit."""
        with contextlib.suppress(StokerError):
            self.see_off()
        self.close()


_open: weakref.WeakSet[Connection] = weakref.WeakSet()
_inherited: list[Link] = []
"""The parent's links in a forked child: kept, because taking them apart would reach into the parent's sockets."""


def open_connections() -> list[Connection]:
    """All of this process that were not forgotten."""
    return list(_open)


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
