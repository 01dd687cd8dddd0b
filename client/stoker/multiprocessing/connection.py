"""``Pipe`` and its connections, and ``wait``: see :mod:`multiprocessing.connection`.

The messages go by way of the daemon. An end is closed when every process that had it has closed it or is gone; then
``recv`` at the other one raises EOFError, once all that was sent has been received.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import secrets
import select
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from multiprocessing import BufferTooShort
from multiprocessing.connection import Client, Listener  # of sockets: they know nothing of processes
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self

from stoker.errors import StokerError
from stoker.multiprocessing.packing import pack
from stoker.session import Exchange
from stoker.shared.face import Face
from stoker.shared.holder import holder, new_ticket

if TYPE_CHECKING:
    from stoker.protocol.codec import Frame

__all__ = ["Client", "Connection", "Listener", "Pipe", "wait"]


class _End(NamedTuple):
    pipe: str
    end: str


_held: Counter[tuple[int, _End]] = Counter()
"""How many connections this process, known by its id, has of each end: the daemon is told of the last one only."""
_collected: deque[tuple[Any, tuple[int, _End]]] = deque()
"""Ends of connections that nobody has closed and nobody has any more, each with the way to the daemon: given up with
the next call, since a finalizer may call nobody."""
_transit = threading.local()


class Ticket(NamedTuple):
    """An end that was pickled, until somebody has unpickled it."""

    pipe: str
    end: str
    ticket: str


@contextlib.contextmanager
def collecting() -> Iterator[list[Ticket]]:
    """The ends that are pickled in this thread meanwhile."""
    tickets: list[Ticket] = []
    _transit.tickets = tickets
    try:
        yield tickets
    finally:
        _transit.tickets = None


def void(connection: Any, tickets: Sequence[Ticket]) -> None:
    """Nobody is going to claim these: a process that was to have them has ended."""
    for pipe, end, ticket in tickets:
        params = {"id": pipe, "end": end, "for_ticket": ticket}
        with contextlib.suppress(StokerError):
            connection.send("pipe.give_up", params, (), Exchange())


class _Opened(Face):
    """The pipe itself."""

    _kind = "pipe"

    def __init__(self) -> None:
        self._open(None, None, {})


class Connection(Face):
    """One end of a pipe; see :class:`multiprocessing.connection.Connection`. Made by :func:`Pipe`."""

    _kind = "pipe"
    _closed = True

    def __init__(self, pipe: _Opened, end: str, *, readable: bool, writable: bool) -> None:
        self._client = pipe._client  # noqa: SLF001 - a face of the same family
        self._adopt(pipe._id, pipe._endpoint)  # noqa: SLF001 - likewise
        self._end, self._readable, self._writable = end, readable, writable
        self._hold()

    @property
    def closed(self) -> bool:
        """Whether it was closed here."""
        return self._closed

    @property
    def readable(self) -> bool:
        """Whether it can receive."""
        return self._readable

    @property
    def writable(self) -> bool:
        """Whether it can send."""
        return self._writable

    def send(self, obj: Any) -> None:
        """Send what can be pickled; see :meth:`send_bytes`."""
        self._check(self._writable, "write")
        self._put(pack(obj))

    def send_bytes(self, buf: Any, offset: int = 0, size: int | None = None) -> None:
        """Send bytes as one message.

        Raises:
            OSError: closed, or not for sending; BrokenPipeError: nobody has the other end.
            ValueError: offset and size are not within the buffer.
        """
        self._check(self._writable, "write")
        view = memoryview(buf).cast("B")
        if offset < 0:
            raise ValueError("offset is negative")
        if len(view) < offset:
            raise ValueError("buffer length < offset")
        if size is None:
            size = len(view) - offset
        elif size < 0:
            raise ValueError("size is negative")
        elif offset + size > len(view):
            raise ValueError("buffer length < offset + size")
        self._put(bytes(view[offset : offset + size]))

    def recv(self) -> Any:
        """Receive what was sent, waiting for it; see :meth:`recv_bytes`."""
        return pickle.loads(self._take())  # noqa: S301 - it comes from a program of the same user

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Receive one message as bytes, waiting for it.

        Raises:
            EOFError: there are no more, and nobody has the other end.
            OSError: closed, not for receiving, or the message is longer than ``maxlength``.
        """
        if maxlength is not None and maxlength < 0:
            raise ValueError("negative maxlength")
        message = self._take()
        if maxlength is not None and len(message) > maxlength:
            self.close()
            raise OSError("bad message length")
        return bytes(message)

    def recv_bytes_into(self, buf: Any, offset: int = 0) -> int:
        """Receive one message into a buffer; its length.

        Raises:
            BufferTooShort: it is longer than the buffer; the message is its argument.
        """
        view = memoryview(buf).cast("B")
        if offset < 0:
            raise ValueError("negative offset")
        if offset > len(view):
            raise ValueError("offset too large")
        message = self._take()
        if len(view) < offset + len(message):
            raise BufferTooShort(bytes(message))
        view[offset : offset + len(message)] = message
        return len(message)

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Whether there is something to receive, or the end, within ``timeout`` seconds; None: wait for it."""
        self._check(self._readable, "read")
        reply, _ = self._wait("pipe.receive", timeout, {"end": self._end, "peek": True})
        return bool(reply["ready"])

    def fileno(self) -> NoReturn:
        """There is none.

        Raises:
            io.UnsupportedOperation: always; it is an OSError and a ValueError.
        """
        raise io.UnsupportedOperation(
            "a connection by way of the daemon has no descriptor; stoker.multiprocessing.connection.wait takes it"
        )

    def close(self) -> None:
        """Have this end no more. Doing it twice is fine."""
        if self._closed:
            return
        self._closed = True
        if _let_go(self._key):
            with contextlib.suppress(StokerError):
                self._ask("pipe.give_up", end=self._end)

    def _put(self, message: bytes) -> None:
        reply, _ = self._wait("pipe.send", None, {"end": self._end}, (message,))
        if not reply["sent"]:
            raise BrokenPipeError("nobody has the other end of the pipe")

    def _take(self) -> Frame:
        self._check(self._readable, "read")
        _, payload = self._wait("pipe.receive", None, {"end": self._end})
        if not payload:
            raise EOFError("nobody has the other end of the pipe")
        return payload[0]

    def _check(self, able: bool, what: str) -> None:  # noqa: FBT001 - one of two
        _give_up_collected()
        if self._closed:
            raise OSError("handle is closed")
        if not able:
            raise OSError("connection is read-only" if what == "write" else "connection is write-only")

    @property
    def _key(self) -> tuple[int, _End]:
        return os.getpid(), _End(self._id, self._end)

    def _hold(self) -> None:
        """One more of this process."""
        self._closed = False
        _held[self._key] += 1

    def __getstate__(self) -> dict[str, Any]:
        if self._closed:
            raise OSError("handle is closed")
        ticket = secrets.token_hex(8)
        self._ask("pipe.hold", end=self._end, for_ticket=ticket)
        tickets = getattr(_transit, "tickets", None)
        if tickets is not None:
            tickets.append(Ticket(self._id, self._end, ticket))
        mine = {"end": self._end, "readable": self._readable, "writable": self._writable, "ticket": ticket}
        return {**super().__getstate__(), **mine}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._end, self._readable, self._writable = state["end"], state["readable"], state["writable"]
        self._hold()
        params = {"id": self._id, "holder": holder(), "end": self._end, "claim": state["ticket"]}
        self._connection.send("pipe.hold", params, (), Exchange())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed and self._client is not None and _collected is not None:  # the interpreter may be ending
            _collected.append((self._client.connection, self._key))
        super().__del__()


def _let_go(key: tuple[int, _End]) -> bool:
    """One fewer; True: that was the last one."""
    _held[key] -= 1
    if _held[key] > 0:
        return False
    del _held[key]
    return True


def _give_up_collected() -> None:
    while _collected:
        connection, key = _collected.popleft()
        if _let_go(key) and key[0] == os.getpid():
            with contextlib.suppress(StokerError):
                params = {"id": key[1].pipe, "holder": holder(), "end": key[1].end}
                connection.send("pipe.give_up", params, (), Exchange())


def Pipe(duplex: bool = True) -> tuple[Connection, Connection]:  # noqa: FBT001, FBT002, N802 - as multiprocessing's
    """Two connected ends; with ``duplex`` False the first one only receives and the second one only sends."""
    pipe = _Opened()
    first = Connection(pipe, "a", readable=True, writable=duplex)
    return first, Connection(pipe, "b", readable=duplex, writable=True)


class _Look:
    """Completion of one connection's question whether there is something; rings when there is.

    Args:
        connection: whose.
        bell: a descriptor to write to.
    """

    def __init__(self, connection: Connection, bell: int) -> None:
        self.connection, self._bell = connection, bell
        self.ticket = new_ticket()
        self.ready = False
        self.settled = False

    def part(self, result: dict[str, Any], payload: Sequence[Frame]) -> None:
        """There are no parts."""

    def finish(self, result: dict[str, Any], _payload: Sequence[Frame]) -> None:
        """It has been answered."""
        self._settle(ready=bool(result.get("ready")))

    def fail(self, _error: StokerError) -> None:
        """It can't be; what its next call raises says why."""
        self._settle(ready=True)

    def _settle(self, *, ready: bool) -> None:
        if not self.settled:
            self.settled, self.ready = True, ready
            with contextlib.suppress(OSError):
                os.write(self._bell, b"\0")


def wait(object_list: Sequence[Any], timeout: float | None = None) -> list[Any]:
    """Those that are ready, waiting for the first; see :func:`multiprocessing.connection.wait`.

    Args:
        object_list: connections of this package, descriptors (sentinels of processes, for instance), or whatever has a
            ``fileno()``.
        timeout: seconds; None: for ever.
    """
    ours = [each for each in object_list if isinstance(each, Connection)]
    others = [each for each in object_list if not isinstance(each, Connection)]
    deadline = None if timeout is None else time.monotonic() + max(timeout, 0.0)
    if not ours:
        return _select(others, None, deadline)[0]
    if there := [each for each in ours if each.poll()]:
        there += _select(others, None, 0.0)[0]
        return [each for each in object_list if each in there]
    reading, writing = os.pipe()
    looks = [_Look(connection, writing) for connection in ours]
    try:
        for look in looks:
            _ask(look, deadline)
        found: list[Any] = []
        while True:
            for look in looks:
                look.connection._connection.progress()  # noqa: SLF001 - the same module
            ready, rung = _select(others, reading, time.monotonic() if any(look.ready for look in looks) else deadline)
            found = [look.connection for look in looks if look.ready] + ready
            if found or not rung or all(look.settled for look in looks):
                return [each for each in object_list if each in found]
            os.read(reading, 4096)
    finally:
        for look in looks:
            _forget(look)
        os.close(reading)
        os.close(writing)


def _ask(look: _Look, deadline: float | None) -> None:
    ours = look.connection
    ours._check(ours._readable, "read")  # noqa: SLF001 - the same module
    params: dict[str, Any] = {"id": ours._id, "holder": holder(), "end": ours._end, "peek": True, "ticket": look.ticket}  # noqa: SLF001
    if deadline is not None:
        params["timeout"] = max(deadline - time.monotonic(), 0.0)
    with ours._connection.lock:  # noqa: SLF001 - likewise
        ours._connection.send("pipe.receive", params, (), look)  # noqa: SLF001
        ours._connection.pump.attend()  # noqa: SLF001


def _forget(look: _Look) -> None:
    connection = look.connection._connection  # noqa: SLF001 - the same module
    if not look.settled:
        look.connection._withdraw(look.ticket)  # noqa: SLF001 - likewise
    with connection.lock:
        connection.pump.release()
        look.settled = True


def _select(others: Sequence[Any], bell: int | None, deadline: float | None) -> tuple[list[Any], bool]:
    """Which of the others can be read, and whether the bell was rung."""
    poll = select.poll()
    by_fd: dict[int, list[Any]] = {}
    for each in others:
        fd = each if isinstance(each, int) else each.fileno()
        by_fd.setdefault(fd, []).append(each)
        poll.register(fd, select.POLLIN)
    if bell is not None:
        poll.register(bell, select.POLLIN)
    left = None if deadline is None else max(deadline - time.monotonic(), 0.0) * 1000
    found = {fd for fd, _ in poll.poll(left)}
    return [each for fd in found if fd in by_fd for each in by_fd[fd]], bell in found
