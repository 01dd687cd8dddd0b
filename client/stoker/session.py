"""One client's conversation with a daemon, without the wire: request ids, replies, deadlines, loss.

No sockets, no threads, no clock: frames go in and come out, the time is passed in. Every driver
(:mod:`stoker.connection`, an asyncio one) is a thin loop around one :class:`Session`.

A request is registered with a *completion*, an object with three methods that are called as its replies arrive:
``part`` for each reply that is marked ``more``, then exactly one of ``finish`` or ``fail``. All three must be
idempotent: a Ctrl-C that hits while a message is being delivered makes the driver deliver it again.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from stoker.errors import DeadlineExceeded, MalformedMessage, StokerError, from_wire
from stoker.protocol.codec import Frame, decode_head, encode_request
from stoker.protocol.framing import close_descriptors


class Completion(Protocol):
    """Whoever waits for the replies to one request."""

    def part(self, result: dict[str, Any], payload: Sequence[Frame]) -> None:
        """A reply that others follow."""

    def finish(self, result: dict[str, Any], payload: Sequence[Frame]) -> None:
        """The last reply."""

    def fail(self, error: StokerError) -> None:
        """There is no answer, or it is an error."""


class Exchange:
    """The completion of a plain request: one reply, or an error. Earlier parts are dropped."""

    __slots__ = ("_error", "_payload", "_result", "settled")

    def __init__(self) -> None:
        self.settled = False
        self._result: dict[str, Any] = {}
        self._payload: Sequence[Frame] = ()
        self._error: StokerError | None = None

    def part(self, result: dict[str, Any], payload: Sequence[Frame]) -> None:
        """See :class:`Completion`."""

    def finish(self, result: dict[str, Any], payload: Sequence[Frame]) -> None:
        """See :class:`Completion`."""
        self._result, self._payload = result, payload
        self.settled = True

    def fail(self, error: StokerError) -> None:
        """See :class:`Completion`."""
        self._error = error
        self.settled = True

    @property
    def error(self) -> StokerError | None:
        """Why it failed; None when it did not, or not yet."""
        return self._error

    def outcome(self) -> tuple[dict[str, Any], Sequence[Frame]]:
        """Result map and payload frames.

        Raises:
            StokerError: the request failed with it.
        """
        if self._error is not None:
            raise self._error
        return self._result, self._payload


class Session:
    """The requests that are under way, by id."""

    def __init__(self) -> None:
        self._next = 1
        self._pending: dict[int, Completion] = {}
        self._deadlines: list[tuple[float, int]] = []
        self._told: deque[tuple[int, Callable[[StokerError], object]]] = deque()
        """Quiet requests of which it is not known yet that they went well, oldest first."""

    @property
    def outstanding(self) -> int:
        """How many requests have not been answered to the end."""
        return len(self._pending)

    def request(
        self,
        method: str,
        params: dict[str, Any],
        payload: Sequence[Frame],
        completion: Completion,
        deadline: float | None = None,
    ) -> tuple[int, list[Frame]]:
        """Register a request.

        Args:
            method: the word on the wire.
            params: a MessagePack-able map.
            payload: frames that travel untouched.
            completion: told of the replies.
            deadline: when to give up, on the clock whose time is passed to :meth:`expire`.

        Returns:
            Its id and the frames to be sent.

        Raises:
            CannotPack: the parameters are not MessagePack-able; nothing was registered.
        """
        number = self._next
        frames = encode_request(number, method, params, payload)
        self._next = number + 1
        self._pending[number] = completion
        if deadline is not None:
            heapq.heappush(self._deadlines, (deadline, number))
        return number, frames

    def tell(self, method: str, params: dict[str, Any], on_error: Callable[[StokerError], object]) -> list[Frame]:
        """A quiet request: one that is dealt with at once and answered only if it fails.

        An answer to a later request, or nothing at all from a daemon that is gone, means that it went well.

        Args:
            method: the word on the wire.
            params: a MessagePack-able map.
            on_error: told what it failed of.

        Returns:
            The frames to be sent.
        """
        number = self._next
        frames = encode_request(number, method, params, quiet=True)
        self._next = number + 1
        self._told.append((number, on_error))
        return frames

    def _heard(self, number: int) -> Callable[[StokerError], object] | None:
        """An answer has come: what was told before has been dealt with. Returns whom it concerns, if it is told."""
        told = self._told
        while told and told[0][0] < number:
            told.popleft()
        return told[0][1] if told and told[0][0] == number else None

    def adopt(self, number: int, completion: Completion) -> None:
        """Register a request again that was forgotten: it is sent once more."""
        self._pending[number] = completion

    def forget(self, number: int) -> None:
        """Nobody waits for this request any more; its late replies are dropped."""
        self._pending.pop(number, None)

    def receive(self, frames: Sequence[Frame]) -> None:
        """Take in one message.

        Raises:
            MalformedMessage: the peer does not speak the protocol; the conversation is over.
        """
        head, payload = decode_head(frames)
        number = head.get("id")
        if number is None:
            self._unattributed(head)
            return
        if not isinstance(number, int):
            raise MalformedMessage(f"the daemon's reply has an id of type {type(number).__name__}")
        completion = self._pending.get(number)
        on_error = self._heard(number) if self._told and isinstance(number, int) else None
        if completion is None:
            if on_error is not None and "error" in head:
                on_error(from_wire(_as_map(head["error"])))
            close_descriptors(payload)
            return
        if "error" in head:
            completion.fail(from_wire(_as_map(head["error"])))
        elif head.get("more"):
            completion.part(_as_map(head.get("result")), payload)
            return
        else:
            completion.finish(_as_map(head.get("result")), payload)
        self._pending.pop(number, None)

    def _unattributed(self, head: dict[str, Any]) -> None:
        """An error without an id answers a message that the daemon could not read; no one knows which, so nobody
        may go on waiting for it. Pushes are not for this layer.
        """
        if "error" in head:
            wire = _as_map(head["error"])
            self.fail_all(lambda: from_wire(wire))

    def fail_all(self, error: Callable[[], StokerError]) -> None:
        """Fail everything that is under way, each with an error of its own."""
        while self._pending:
            number, completion = next(iter(self._pending.items()))
            completion.fail(error())
            self._pending.pop(number, None)
        self._deadlines.clear()
        self._told.clear()

    @property
    def next_deadline(self) -> float | None:
        """When :meth:`expire` must be called next."""
        while self._deadlines and self._deadlines[0][1] not in self._pending:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def expire(self, now: float) -> None:
        """Fail the requests whose deadline has come."""
        while (due := self.next_deadline) is not None and due <= now:
            number = self._deadlines[0][1]
            self._pending[number].fail(
                DeadlineExceeded("the daemon did not answer in time", hint="allow more time, or see `stoker status`")
            )
            self._pending.pop(number, None)


def _as_map(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedMessage(f"the daemon's reply holds {type(value).__name__} where a map belongs")
    return value
