"""How an event loop waits for what a :class:`~stoker.connection.Connection` receives.

The asyncio face does not drive a socket of its own: it shares the connection, with all that lies above and below it
(the gathering of submits, the upload of functions, both transports, the detection of loss), and has the connection's
pump thread receive. What arrives there is handed to the loop by ``call_soon_threadsafe``, once per message and not once
per job. So there is one thread per client, none per call, and the loop never blocks on a socket.

Requests of one exchange are not written a second time either: :class:`Rehearsal` runs the synchronous method up to its
request, and again with the reply.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from stoker.comeback import ABSENT, Comeback
from stoker.errors import DeadlineExceeded, StokerError

if TYPE_CHECKING:
    from stoker.connection import Connection
    from stoker.functions import Packed
    from stoker.protocol.codec import Frame

R = TypeVar("R")
Reply = tuple[dict[str, Any], "Sequence[Frame]"]


def tell(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: Any) -> None:
    """From any thread: call it in the loop. If the loop is closed, nobody is there to be told."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *args)


class _Awaited:
    """The completion of a request whose reply goes to a loop. Called with the connection's lock held."""

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[Reply] = loop.create_future()
        self.settled = False
        self._connection, self._loop = connection, loop

    def part(self, result: dict[str, Any], payload: Sequence[Frame]) -> None:
        """See :class:`stoker.session.Completion`."""

    def finish(self, result: dict[str, Any], payload: Sequence[Frame]) -> None:
        """See :class:`stoker.session.Completion`."""
        if self.leave():
            tell(self._loop, self._resolve, (result, payload))

    def fail(self, error: StokerError) -> None:
        """See :class:`stoker.session.Completion`."""
        if self.leave():
            tell(self._loop, self._reject, error)

    def leave(self) -> bool:
        """Nobody needs to receive for it any more; False if that was so already."""
        if self.settled:
            return False
        self.settled = True
        self._connection.pump.release()
        return True

    def _resolve(self, reply: Reply) -> None:
        if not self.future.done():
            self.future.set_result(reply)

    def _reject(self, error: StokerError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


async def exchange(
    connection: Connection,
    method: str,
    params: dict[str, Any],
    payload: Sequence[Frame],
    timeout: float | None,  # noqa: ASYNC109 - it becomes an error of ours
) -> Reply:
    """Ask, and await the answer; cancelled, it drops the answer, and what was asked for is done all the same.

    Args:
        connection: to whom.
        method: the word on the wire.
        params: a MessagePack-able map.
        payload: frames that travel untouched.
        timeout: seconds; None: for ever.

    Raises:
        DeadlineExceeded: no answer in time.
        StokerError: what the daemon answered, or why it did not.
    """
    try:
        async with asyncio.timeout(timeout) as limit:
            return await _exchange(connection, method, params, payload)
    except TimeoutError as why:
        if not limit.expired() or isinstance(why, StokerError):
            raise
        raise DeadlineExceeded(
            f"no answer to {method} from {connection.url} in time", hint="allow more time, or see `stoker status`"
        ) from None


async def patiently(connection: Connection, attempt: Callable[[], R]) -> R:
    """The value of something that needs the daemon, tried again while one that comes back is away.

    Args:
        connection: to it.
        attempt: fails with one of ``ABSENT`` while nothing of it has left.

    Raises:
        StokerError: as ``attempt``.
    """
    try:
        return attempt()
    except ABSENT as why:
        patience, failure = connection.patience(), why
        if not patience:
            raise
    loop = asyncio.get_running_loop()
    comeback = Comeback("", {}, loop.time() + patience)
    while (pause := comeback.pause(failure, loop.time(), left=False)) is not None:
        await asyncio.sleep(pause)
        try:
            return attempt()
        except ABSENT as again:
            failure = again
    raise failure


async def _exchange(connection: Connection, method: str, params: dict[str, Any], payload: Sequence[Frame]) -> Reply:
    """Ask, and ask again where a daemon comes back: as ``Connection.call`` does."""
    left: list[None] = []
    try:
        return await _once(connection, method, params, payload, left)
    except ABSENT as why:
        patience, failure = connection.patience(), why
        if not patience:
            raise
    loop = asyncio.get_running_loop()
    comeback = Comeback(method, params, loop.time() + patience)
    while True:
        pause = comeback.pause(failure, loop.time(), left=bool(left))
        if pause is None:
            raise failure
        await asyncio.sleep(pause)
        left.clear()
        try:
            return await _once(connection, method, params, payload, left)
        except ABSENT as again:
            failure = again
        except StokerError as answer:
            raise comeback.verdict(answer) from None


async def _once(
    connection: Connection, method: str, params: dict[str, Any], payload: Sequence[Frame], left: list[None]
) -> Reply:
    """One attempt; ``left`` gets an element when it has been handed over."""
    awaited = _Awaited(connection, asyncio.get_running_loop())
    with connection.lock:
        connection.pump.attend()
        try:
            connection.gathered.flush()
            number = connection.send(method, params, payload, awaited)
            left.append(None)
        except BaseException:
            awaited.leave()
            raise
    try:
        return await awaited.future
    finally:
        with connection.lock:
            if awaited.leave():
                connection.session.forget(number)


class _Asked(BaseException):
    """A rehearsed method has come to its request. Not an Exception: no method may take it for an answer."""

    def __init__(self, method: str, params: dict[str, Any], payload: Sequence[Frame], timeout: float | None) -> None:
        super().__init__()
        self.method, self.params, self.payload, self.timeout = method, params, payload, timeout


class Rehearsal:
    """Stands in for a connection, and for the outbox over it, in methods that make one call and look at its result.

    Such a method is a function of its arguments and of one reply. So it is run a first time until it asks, which tells
    the request; and a second time with the reply to it, which gives the value. Nothing is written twice, no thread
    blocks.

    Args:
        connection: the real one.
        upload: hands over a function that travels by value.
    """

    def __init__(self, connection: Connection, upload: Callable[[Packed], None]) -> None:
        self._real = connection
        self._upload = upload
        self._reply: Reply | None = None
        self.connection = self
        self.lock = connection.lock

    async def perform(self, method: Callable[[Any], R]) -> R:
        """The value of a method that takes this in place of a connection or of an outbox.

        Raises:
            StokerError: as the method.
        """
        try:
            return await patiently(self._real, lambda: method(self))
        except _Asked as asked:
            limit = self._real.timeout if asked.timeout is None else asked.timeout
            self._reply = await exchange(self._real, asked.method, asked.params, asked.payload, limit)
        return method(self)

    @property
    def url(self) -> str:
        """See :class:`~stoker.connection.Connection`."""
        return self._real.url

    @property
    def greeting(self) -> dict[str, Any]:
        """See :class:`~stoker.connection.Connection`; it is there since the client was opened."""
        return self._real.greeting

    def upload(self, packed: Packed) -> None:
        """See :class:`stoker.batch.Outbox`: the first time only."""
        if self._reply is None:
            self._upload(packed)

    def call(
        self, method: str, params: dict[str, Any], payload: Sequence[Frame] = (), timeout: float | None = None
    ) -> Reply:
        """The reply, where there is one."""
        if self._reply is None:
            raise _Asked(method, params, payload, timeout)
        return self._reply
