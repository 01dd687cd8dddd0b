"""What the handlers of shared objects have in common: who asks, payload to values and back, answers that come later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from stoker.errors import BadRequest, InvalidParams
from stoker.protocol.objects import Encoding, ObjectRequest
from stokerd.control.caller import Caller
from stokerd.promise import Promise
from stokerd.shared.base import Item
from stokerd.shared.waiters import Actor

T = TypeVar("T")
A = TypeVar("A")


def actor_of(caller: Caller, request: ObjectRequest[Any]) -> Actor:
    """Who asks; without a session for a peer that never said hello."""
    return Actor("" if caller.session.anonymous else caller.session.id, request.holder)


def owner_of(caller: Caller, request: ObjectRequest[Any]) -> Actor:
    """Who asks, for what can be owned.

    Raises:
        BadRequest: a peer without a session: nothing would notice its end.
    """
    if caller.session.anonymous:
        raise BadRequest(
            f"{request.method} needs a session, because what it gives is freed when the session ends",
            hint="send hello first",
        )
    return actor_of(caller, request)


def then(promise: Promise[T], finish: Callable[[T], A]) -> A | Promise[A]:
    """The reply made of a promised value: at once where it is there already."""
    if promise.settled:
        return finish(promise.value())
    later: Promise[A] = Promise(on_abandon=promise.abandon)

    def settled(done: Promise[T]) -> None:
        if done.error is not None:
            later.reject(done.error)
        else:
            later.resolve(finish(done.value()))

    promise.when_settled(settled)
    return later


def items_of(caller: Caller, lengths: Sequence[int], encodings: Sequence[Encoding]) -> list[Item]:
    """The values that came with a request.

    Raises:
        InvalidParams: lengths, encodings and payload frames do not go together.
    """
    values = _cut(caller, lengths) if lengths else [bytes(frame) for frame in caller.payload]
    if len(encodings) == 1:
        return [Item(encodings[0], value) for value in values]
    if len(encodings) != len(values):
        raise InvalidParams(f"{len(values)} values and {len(encodings)} encodings", hint="one for all, or each its own")
    return [Item(encoding, value) for encoding, value in zip(encodings, values, strict=True)]


def _cut(caller: Caller, lengths: Sequence[int]) -> list[bytes]:
    if len(caller.payload) != 1 or (size := len(bytes(caller.payload[0]))) != sum(lengths):
        have = "no payload frame" if not caller.payload else f"{len(caller.payload)} payload frames"
        have = have if len(caller.payload) != 1 else f"a payload frame of {size} bytes"
        raise InvalidParams(
            f"lengths add up to {sum(lengths)} bytes, and there is {have}",
            hint="send the values as one payload frame, one after the other; or leave lengths out",
        )
    whole, start, values = bytes(caller.payload[0]), 0, []
    for length in lengths:
        values.append(whole[start : start + length])
        start += length
    return values


def encodings_of(items: Sequence[Item]) -> tuple[Encoding, ...]:
    """The encodings of some items: one for all where they are alike."""
    encodings = tuple(item.encoding for item in items)
    return encodings[:1] if len(set(encodings)) == 1 else encodings


def payload_of(items: Sequence[Item]) -> tuple[bytes, ...]:
    """Items as payload: one frame, or none for none."""
    return (b"".join(item.data for item in items),) if items else ()


def lengths_of(items: Sequence[Item]) -> tuple[int, ...]:
    """Where each item ends."""
    return tuple(len(item.data) for item in items)


def frame_of(caller: Caller) -> bytes:
    """The one payload frame.

    Raises:
        InvalidParams: there is none, or several.
    """
    if len(caller.payload) != 1:
        raise InvalidParams(f"{len(caller.payload)} payload frames where one is expected")
    return bytes(caller.payload[0])
