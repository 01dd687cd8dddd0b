"""Frames <-> maps: the only importer of msgpack.

A message is one MessagePack map, the *head*, and zero or more payload frames that pass through untouched. This
module checks that a message is one at all (:func:`decode_head`); whether its parameters make sense is for
:mod:`stoker.protocol.typed`, which knows the structs. Kept apart so that the CLI's short verbs need not load them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgpack

from stoker.errors import CannotPack, MalformedMessage, MessageTooLarge

PROTOCOL = 1
"""The version of the protocol that this module speaks."""

Frame: TypeAlias = bytes | bytearray | memoryview

MAX_HEAD = 16 * 1024 * 1024
"""Bytes of one head, unless the configuration says less."""


def pack(value: Any) -> bytes:
    """MessagePack one value.

    Raises:
        CannotPack: the value holds something that MessagePack has no form for.
    """
    try:
        packed: bytes = msgpack.packb(value, use_bin_type=True)
    except (TypeError, ValueError, OverflowError, RecursionError) as why:
        raise CannotPack(
            f"not a MessagePack value: {why}",
            hint="use None, bool, int of 64 bits, float, str, bytes, lists and maps; or use Python, which pickles",
        ) from None
    return packed


def unpack(data: Frame, *, limit: int = MAX_HEAD) -> Any:
    """The one value that ``data`` holds. A timestamp is read as float seconds since the epoch.

    Args:
        data: MessagePack.
        limit: most bytes that are looked at.

    Raises:
        MessageTooLarge: more than ``limit`` bytes.
        MalformedMessage: not MessagePack, nested too deeply, more than one value, or of an extension type.
    """
    size = data.nbytes if isinstance(data, memoryview) else len(data)
    if size > limit:
        raise MessageTooLarge(
            f"{size} bytes of MessagePack, at most {limit} are allowed",
            hint="send less at once, large values as payload frames, or raise limits.head_bytes",
            data={"limit": limit},
        )
    try:
        return msgpack.unpackb(
            data, raw=False, strict_map_key=False, use_list=True, timestamp=1, ext_hook=_no_extension
        )
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException, RecursionError) as why:
        raise MalformedMessage(
            f"not MessagePack: {_REASONS.get(type(why)) or why}",
            hint="the first frame after the empty delimiter must be one MessagePack map",
        ) from None


_WORDS = frozenset((str,))
_REASONS = {
    msgpack.StackError: "it is nested too deeply",
    msgpack.FormatError: "a byte that begins nothing",
    RecursionError: "it is nested too deeply",
}
"""What msgpack does not say in words."""


def _no_extension(number: int, _data: bytes) -> Any:
    raise ValueError(f"extension type {number} is not part of the protocol")


def encode_request(
    request_id: int | str, method: str, params: dict[str, Any], payload: Sequence[Frame] = (), *, quiet: bool = False
) -> list[Frame]:
    """The frames of a request, delimiter first; ``quiet``: it is answered only if it fails.

    Raises:
        CannotPack: ``params`` hold something that MessagePack has no form for.
    """
    head: dict[str, Any] = {"v": PROTOCOL, "id": request_id, "method": method, "params": params}
    if quiet:
        head["quiet"] = True
    return [b"", pack(head), *payload]


def encode_reply(
    request_id: int | str | None, result: dict[str, Any], payload: Sequence[Frame] = (), *, more: bool = False
) -> list[Frame]:
    """The frames of a reply, delimiter first; ``more``: further replies to the same request follow."""
    head: dict[str, Any] = {"id": request_id, "result": result}
    if more:
        head["more"] = True
    return [b"", pack(head), *payload]


def encode_error(request_id: int | str | None, error: dict[str, Any]) -> list[Frame]:
    """The frames of an error reply, delimiter first."""
    return [b"", pack({"id": request_id, "error": error})]


def decode_head(frames: Sequence[Frame], *, limit: int = MAX_HEAD) -> tuple[dict[str, Any], Sequence[Frame]]:
    """Head and payload frames of a message, delimiter first.

    Raises:
        MalformedMessage: no delimiter, no head, or the head is not a map with string keys.
        MessageTooLarge: the head is over ``limit`` bytes.
    """
    if len(frames) < 2 or len(frames[0]) != 0:
        raise MalformedMessage(
            f"{len(frames)} frames, the first of which is not an empty delimiter followed by a head"
            if frames
            else "a message without frames",
            hint="send an empty frame, one MessagePack map, then any payload frames; a REQ socket adds the empty one",
        )
    head = unpack(frames[1], limit=limit)
    if type(head) is not dict or not _WORDS.issuperset(map(type, head)):
        found = "a map with other keys" if isinstance(head, dict) else type(head).__name__
        raise MalformedMessage(
            f"the head is {found}, not a map with string keys",
            hint='send {"v": 1, "id": 7, "method": "ping", "params": {}}',
        )
    return head, frames[2:]
