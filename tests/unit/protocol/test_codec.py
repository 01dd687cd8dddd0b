"""What is not a message is refused with a reason, whatever it is."""

from __future__ import annotations

import math
import random
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.protocol_values import INT64, instances

from stoker.errors import CannotPack, MalformedMessage, MessageTooLarge, StokerError
from stoker.protocol import codec, typed
from stoker.protocol.methods import METHODS

HEAD = codec.pack({"v": 1, "id": 7, "method": "ping", "params": {}})


def nested(depth: int) -> bytes:
    return b"\x91" * depth + b"\xc0"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"", "incomplete"),
        (b"\xc1", "begins nothing"),
        (b"\xc0\xc0", "extra data"),
        (HEAD + b"\x00", "extra data"),
        (HEAD + HEAD, "extra data"),
        (HEAD[:-1], "incomplete"),
        (nested(10_000), "nested too deeply"),
        (b"\x81\xa1a" * 10_000 + b"\xc0", "nested too deeply"),
        (b"\xdd\xff\xff\xff\xff", "max_array_len"),
        (b"\xdf\xff\xff\xff\xff", "max_map_len"),
        (b"\xc6\xff\xff\xff\xff", "incomplete"),
        (b"\xdb\xff\xff\xff\xff", "incomplete"),
        (b"\xa1\xff", "utf-8"),
        (b"\xa3\xed\xa0\x80", "utf-8"),
        (b"\x81\x90\x01", "unhashable"),
        (b"\x81\x80\x01", "unhashable"),
        (b"\xd4\x05\x01", "extension type 5"),
        (b"\xc7\x00\x7f", "extension type 127"),
        (b"\xc7\x03\xffabc", "timestamp"),
        (b"\xc7\x0c\xff" + b"\xff" * 12, "nanoseconds"),
    ],
)
def test_what_is_not_one_value_of_messagepack_is_malformed(bad: bytes, why: str) -> None:
    with pytest.raises(MalformedMessage, match=why) as caught:
        codec.unpack(bad)
    assert caught.value.hint
    assert len(caught.value.message) < 300


def test_a_timestamp_is_read_as_float_seconds() -> None:
    assert codec.unpack(msgpack.packb(msgpack.Timestamp(5, 500_000_000))) == 5.5


def test_ints_floats_and_text_come_through_at_their_limits() -> None:
    values = [2**64 - 1, -(2**63), math.inf, -math.inf, 5e-324, "\U0010ffff\0", b"\xff", {1: {b"k": None}}]
    assert codec.unpack(codec.pack(values)) == values
    assert math.isnan(codec.unpack(codec.pack(math.nan)))


@pytest.mark.parametrize("bad", [2**64, -(2**63) - 1, {1, 2}, object(), "\ud800", 1j, print, [{"a": object()}]])
def test_what_has_no_form_in_messagepack_cannot_be_packed(bad: Any) -> None:
    with pytest.raises(CannotPack) as caught:
        codec.pack(bad)
    assert caught.value.hint


def test_a_value_that_holds_itself_cannot_be_packed() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(CannotPack):
        codec.pack(endless)


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
def test_the_limit_counts_bytes_whatever_holds_them(form: Any) -> None:
    data = form(codec.pack("x" * 100))
    assert codec.unpack(data, limit=len(data)) == "x" * 100
    with pytest.raises(MessageTooLarge) as caught:
        codec.unpack(data, limit=len(data) - 1)
    assert caught.value.data == {"limit": len(data) - 1}


def test_the_limit_counts_bytes_of_a_view_of_wider_items() -> None:
    with pytest.raises(MessageTooLarge, match="8 bytes"):
        codec.unpack(memoryview(bytes(8)).cast("Q"), limit=7)


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b""],
        [HEAD],
        [HEAD, b""],
        [b"x", HEAD],
        [b"", b""],
        [b"", codec.pack([])],
        [b"", codec.pack(None)],
        [b"", codec.pack("ping")],
        [b"", codec.pack({1: 2})],
        [b"", codec.pack({b"id": 2})],
        [b"", codec.pack({"id": 1, None: 2})],
    ],
)
def test_frames_that_are_not_a_message_are_malformed(frames: list[bytes]) -> None:
    with pytest.raises(MalformedMessage) as caught:
        codec.decode_head(frames)
    assert caught.value.message
    assert caught.value.hint


def test_payload_frames_are_passed_on_and_not_looked_at() -> None:
    payload: list[codec.Frame] = [b"", b"\xc1", bytearray(b"x"), memoryview(b"yz")]
    head, rest = codec.decode_head([b"", HEAD, *payload])
    assert head["method"] == "ping"
    assert all(ours is theirs for ours, theirs in zip(rest, payload, strict=True))


def understand(frames: list[bytes]) -> None:
    """As the daemon does."""
    head, _ = codec.decode_head(frames, limit=4096)
    typed.request_id(head)
    typed.decode_request(head)


def refusal(frames: list[bytes]) -> bytes:
    """The head of the answer where they are refused."""
    try:
        understand(frames)
    except StokerError as why:
        return bytes(codec.encode_error(1, why.to_wire())[1])
    return b""


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=64), max_size=5))
def test_random_frames_are_refused_with_a_stoker_error(frames: list[bytes]) -> None:
    with pytest.raises(StokerError):
        understand([b"", *frames])


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["v", "id", "method", "params", "x"]),
        st.sampled_from([1, "start", "submit", {}, [], None, -1, 1.5, "ping", b"ping", True])
        | st.dictionaries(st.text(max_size=5) | INT64, INT64, max_size=3),
    )
)
def test_a_map_of_odd_things_is_understood_or_refused_with_a_stoker_error(head: dict[str, Any]) -> None:
    assert len(refusal([b"", codec.pack(head)])) < 4096


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_a_mutated_request_is_understood_or_refused_with_a_stoker_error(data: st.DataObject) -> None:
    word = data.draw(st.sampled_from(sorted(METHODS)))
    request = data.draw(instances(METHODS[word]))
    head = bytearray(codec.encode_request(1, word, typed.encode_params(request))[1])
    dice = random.Random(data.draw(st.integers(0, 2**32)))
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(head))
        match dice.randrange(4):
            case 0:
                head[at] = dice.randrange(256)
            case 1:
                head[at:at] = dice.randbytes(dice.randint(1, 4))
            case 2 if len(head) > 8:
                del head[at : at + dice.randint(1, 4)]
            case _:
                head[at] ^= 1 << dice.randrange(8)
    assert len(refusal([b"", bytes(head)])) < 4096
