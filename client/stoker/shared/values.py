"""Python values as opaque bytes with an encoding, and back.

Numbers, strings, bytes, booleans and None travel as MessagePack, so that programs in other languages can read them;
everything else is pickled, since only that gives back a tuple as a tuple and a set as a set.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

from stoker.errors import CannotPack
from stoker.functions import pack_value
from stoker.protocol.codec import Frame, pack, unpack

_PLAIN = frozenset({type(None), bool, int, float, str, bytes})


def encode(value: object) -> tuple[str, bytes]:
    """The encoding and the bytes of a value.

    Raises:
        CannotPack: it cannot be pickled.
    """
    if type(value) in _PLAIN:
        try:
            return "msgpack", pack(value)
        except (CannotPack, UnicodeEncodeError):
            pass  # an integer of more than 64 bits, a lone surrogate
    return "pickle", pack_value(value)


def decode(encoding: str, data: Frame) -> Any:
    """The value that some bytes stand for."""
    if encoding == "pickle":
        return pickle.loads(data)  # noqa: S301 - it comes from a program of the same user, by way of the daemon
    return unpack(data, limit=len(data))


def encode_all(values: Sequence[object]) -> tuple[dict[str, Any], tuple[bytes, ...]]:
    """Parameters and payload for several values."""
    packed = [encode(value) for value in values]
    encodings = tuple(dict.fromkeys(encoding for encoding, _ in packed))
    if len(encodings) != 1:
        encodings = tuple(encoding for encoding, _ in packed) or ("msgpack",)
    data = [data for _, data in packed]
    lengths = tuple(map(len, data))
    return {"encodings": encodings, "lengths": lengths}, (b"".join(data),) if data else ()


def decode_all(reply: dict[str, Any], payload: Sequence[Frame]) -> Iterator[Any]:
    """The values of a reply."""
    lengths = reply.get("lengths", ())
    encodings = reply.get("encodings", ())
    if len(encodings) == 1:
        encodings = encodings * len(lengths)
    whole = memoryview(payload[0]) if payload else memoryview(b"")
    start = 0
    for encoding, length in zip(encodings, lengths, strict=True):
        yield decode(encoding, whole[start : start + length])
        start += length


def encode_key(key: object) -> Any:
    """A dict's key as it travels: itself, or pickled in a way that is the same for equal keys."""
    if type(key) in _PLAIN and not (type(key) is int and not -(2**63) <= key < 2**64):
        return key
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, 4)
    pickler.fast = True  # without back-references: whether two parts of a key are one object must not matter
    try:
        pickler.dump(key)
    except Exception as why:  # any __reduce__ may raise anything
        raise CannotPack(f"{key!r:.80} cannot be a key: {why}", hint="use strings, numbers or tuples of them") from why
    return {"pickle": stream.getvalue()}


def decode_key(key: Any) -> Any:
    """The key that travelled."""
    return pickle.loads(key["pickle"]) if isinstance(key, dict) else key  # noqa: S301 - as in decode
