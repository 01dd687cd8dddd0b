"""One ZeroMQ socket to one daemon: connecting with clear errors, whole messages in and out, and the loss of the peer.

Three things that a bare DEALER does not give:

* *Why* it cannot connect: libzmq only says that it is going to try again, so a plain ``connect()`` finds out.
* That the daemon *is gone*: the socket monitor reports the disconnect, after all that had arrived before it. It needs
  no process ids, so it is the same for ipc, tcp, socket activation and other pid namespaces.
* Messages that a Ctrl-C does not tear. pyzmq runs Python's signal handlers inside its calls, *after* a frame has been
  sent or received, and a handler that raises there loses it. So the main thread, the only one that runs handlers, holds
  the signals back while a message passes, all of whose frames go through C code in one expression. If another thread
  of the program draws the signal all the same, the link counts as lost: an error for whoever waits, never silence.

The ZeroMQ descriptor is edge-like: after any send or receive :meth:`Link.receive` must be called until it says no.
"""

from __future__ import annotations

import itertools
import os
import select
import signal
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import zmq

from stoker.credentials import Credentials
from stoker.errors import (
    BadEndpoint,
    ConnectionFailed,
    DaemonLost,
    HandshakeFailed,
    NobodyListening,
    PermissionRefused,
)
from stoker.interrupts import HELD_BACK
from stoker.protocol.codec import Frame
from stoker.refusal import explain, too_slow

LINGER = 500
"""Milliseconds that closing a socket, or the end of the process, waits for what is not yet sent."""

ZERO_COPY = 1 << 18
"""Bytes from which a frame is handed to libzmq without a copy; below, the bookkeeping costs more than the copy."""

_NEVER = 2**31 - 1
_EVENTS, _RCVMORE = int(zmq.EVENTS), int(zmq.RCVMORE)
_POLLIN, _NOBLOCK, _SNDMORE = int(zmq.POLLIN), int(zmq.NOBLOCK), int(zmq.SNDMORE)
_CONNECTED, _HANDSHAKEN = int(zmq.EVENT_CONNECTED), int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
_SEE_LOG = "see its log; `stoker up` starts one"
_LOSSES: dict[int, tuple[type[ConnectionFailed], str, str]] = {
    int(zmq.EVENT_DISCONNECTED): (DaemonLost, "the daemon at {} went away", _SEE_LOG),
    int(zmq.EVENT_CONNECT_RETRIED): (NobodyListening, "nobody listens at {} any more", _SEE_LOG),
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): (
        HandshakeFailed,
        "the peer at {} hung up during the handshake",
        "is it a daemon, and is the server key its own? compare with server.key in its directory of keys",
    ),
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): (
        HandshakeFailed,
        "what listens at {} does not speak ZeroMQ with CURVE as expected",
        "is it the port of `daemon.tcp`?",
    ),
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): (
        PermissionRefused,
        "the daemon at {} does not accept this client's key",
        "have it authorized on the daemon's machine: `stoker key authorize`",
    ),
}
BEAT, BEAT_TIMEOUT = 5_000, 15_000
"""Milliseconds between pings of libzmq's own over tcp, and without an answer after which the daemon is lost."""
_WATCHED = sum(_LOSSES) | _CONNECTED | _HANDSHAKEN

_MAIN = threading.main_thread().ident
_numbers = itertools.count(1)
_contexts: dict[int, zmq.Context[zmq.Socket[bytes]]] = {}


def context() -> zmq.Context[zmq.Socket[bytes]]:
    """This process's ZeroMQ context. A forked child gets its own: the parent's I/O thread is not in it."""
    pid = os.getpid()
    found = _contexts.get(pid)
    if found is None:
        found = _contexts[pid] = zmq.Context()
    return found


class Link:
    """A connected socket. Not thread-safe: its owner has the lock.

    Args:
        url: where to.
        timeout: seconds that connecting may take.
        kind: ``zmq.DEALER`` or ``zmq.SUB``.
        topics: for SUB, what to subscribe to.
        credentials: the keys for tcp.

    Raises:
        ConnectionFailed: see :func:`stoker.refusal.explain`.
    """

    edgy = True
    """A send may swallow the signal that something has arrived."""
    unsent = False
    """libzmq has a thread that sends what waits."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 5.0,
        kind: int = zmq.DEALER,
        topics: Sequence[str] = (),
        credentials: Credentials | None = None,
    ) -> None:
        self.url = url
        self.inbox: list[bytes] = []
        # kept from one time to the next: should a handler raise as soon as signals are held back, it is put back
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._holding = False
        self._socket = _open(kind)
        self._secure = credentials is not None
        if credentials is not None:
            _lock_up(self._socket, credentials)
        self._monitor = _watch(self._socket)
        # the compiled methods under pyzmq's Python ones
        base: Any = super(zmq.Socket, self._socket)
        self._send, self._recv, self._get = base.send, base.recv, base.get
        self._more = partial(base.get, _RCVMORE)
        self.torn = False
        """True once a message went through in part: nothing that follows would be understood."""
        self.connected = False
        self.handshaken = False
        for topic in topics:
            self._socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        self.fd = int(self._get(zmq.FD))
        self.monitor_fd = int(self._monitor.getsockopt(zmq.FD))
        self.descriptors: tuple[int, ...] = (self.fd, self.monitor_fd)
        self.suspect = False
        """True if :meth:`loss` has something to say."""
        self.bounced = False
        """True if the last message cannot have been delivered: which ZeroMQ never says."""
        try:
            self._socket.connect(url)
            self._await_connected(timeout)
        except zmq.ZMQError as why:
            self.close(0)
            raise BadEndpoint(f"{url}: {why.strerror}", hint="use ipc://PATH or tcp://HOST:PORT") from None
        except BaseException:
            self.close(0)
            raise

    def _await_connected(self, timeout: float) -> None:
        poll = select.poll()
        poll.register(self.monitor_fd, select.POLLIN)
        deadline = time.monotonic() + timeout
        while True:
            if (why := self.loss()) is not None:
                if isinstance(why, HandshakeFailed | PermissionRefused):
                    raise why
                raise explain(self.url, max(deadline - time.monotonic(), 0.1))
            if self.handshaken or (self.connected and not self._secure):
                return
            if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
                raise too_slow(self.url)

    def send(self, frames: Sequence[Frame], sent: list[None]) -> None:
        """Hand one message to libzmq; never blocks (there is no high-water mark), never tears.

        Args:
            frames: the message.
            sent: gets an element in the same step.
        """
        flags = [_SNDMORE] * (len(frames) - 1) + [0]
        copies = [len(frame) < ZERO_COPY for frame in frames]
        steps = itertools.chain(map(self._send, frames, flags, copies), map(sent.append, (None,)))
        self._pass(partial(deque, steps, 0))

    def flush(self) -> None:
        """Nothing to do: see :attr:`unsent`."""

    def look(self, ready: set[int]) -> None:
        """Take note of what poll has found."""
        self.suspect = self.monitor_fd in ready

    def seek(self) -> None:
        """Nothing to do: :meth:`receive` always asks the socket."""

    def receive(self) -> Sequence[Frame] | None:
        """The next message; :meth:`delivered` takes it out. None when there is none."""
        inbox = self.inbox
        if not inbox:
            if not self._get(_EVENTS) & _POLLIN:
                return None
            # the value of RCVMORE, 1, doubles as the NOBLOCK flag of the next recv
            self._pass(partial(inbox.extend, map(self._recv, itertools.chain((_NOBLOCK,), iter(self._more, 0)))))
        return inbox

    def delivered(self) -> None:
        """The message that was received last has been dealt with."""
        self.inbox.clear()

    def _pass(self, message: Callable[[], object]) -> None:
        """Let a whole message through, in or out."""
        if threading.get_ident() != _MAIN:
            self._pass_unguarded(message)
            return
        try:
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
            if not self._holding:
                self._mask = mask
            self._holding = True
            self._pass_unguarded(message)
        finally:
            # A handler may raise right here, when another thread drew the signal. The mask is then not put back, which
            # the next message makes good: it must not take the signals held back here for ones its user holds back.
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            self._holding = False

    def _pass_unguarded(self, message: Callable[[], object]) -> None:
        self.torn = True
        message()
        self.torn = False

    def loss(self) -> ConnectionFailed | None:
        """Why the peer is gone; None while it is there. What had arrived before can still be received."""
        if self.torn:
            self.inbox.clear()
            return DaemonLost(f"a signal handler raised while a message of {self.url} passed, and tore it")
        while int(self._monitor.getsockopt(_EVENTS)) & _POLLIN:
            frames = self._monitor.recv_multipart(_NOBLOCK)
            event: int = struct.unpack_from("=H", frames[0])[0]
            if event == _CONNECTED:
                self.connected = True
            elif event == _HANDSHAKEN:
                self.handshaken = True
            elif event in _LOSSES:
                kind, message, hint = _LOSSES[event]
                if kind is HandshakeFailed and not self._secure:  # it is about to come, or about to go
                    kind, hint = DaemonLost, _SEE_LOG
                return kind(message.format(self.url), hint=hint)
        return None

    def abandon(self) -> None:
        """In a forked child: leave it as it is. Taking it apart would reach into the parent's sockets."""

    def close(self, linger: int = LINGER) -> None:
        """Close; what is not yet sent may take ``linger`` milliseconds more."""
        # closing the monitor first would leave libzmq writing to nobody
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(linger)


def _open(kind: int) -> zmq.Socket[bytes]:
    opened = context().socket(kind)
    # unlimited queues: what is under way is bounded by the client, and a full queue would drop or block
    opened.setsockopt(zmq.SNDHWM, 0)
    opened.setsockopt(zmq.RCVHWM, 0)
    opened.setsockopt(zmq.LINGER, LINGER)
    # a reconnected socket would speak to another daemon without saying hello; what a *closed* pipe holds is lost, so
    # the reconnection is put off for ever rather than switched off
    opened.setsockopt(zmq.RECONNECT_IVL, _NEVER)
    opened.setsockopt(zmq.HANDSHAKE_IVL, 10_000)
    opened.setsockopt(zmq.IPV6, 1)
    return opened


def _lock_up(socket: zmq.Socket[bytes], credentials: Credentials) -> None:
    socket.setsockopt(zmq.CURVE_PUBLICKEY, credentials.public.encode())
    socket.setsockopt(zmq.CURVE_SECRETKEY, credentials.secret.encode())
    socket.setsockopt(zmq.CURVE_SERVERKEY, credentials.server.encode())
    socket.setsockopt(zmq.HEARTBEAT_IVL, BEAT)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, BEAT_TIMEOUT)


def _watch(watched: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
    address = f"inproc://stoker-monitor-{threading.get_ident()}-{next(_numbers)}"
    watched.monitor(address, _WATCHED)
    monitor = context().socket(zmq.PAIR)
    monitor.setsockopt(zmq.LINGER, 0)
    monitor.connect(address)
    return monitor
