"""Messages on a byte stream: whatever comes, in whatever pieces, is a message, a refusal, or the end."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.errors import MalformedMessage, MessageTooLarge
from stoker.protocol.framing import LARGE, OWN, PREAMBLE, Intake, Unfit, enclose, single

FRAMES = st.lists(st.binary(max_size=300), min_size=1, max_size=5)


def stream(*messages: list[bytes]) -> bytes:
    return b"".join(piece for frames in messages for piece in enclose(frames))


def header(size: int, count: int, descriptors: int = 0, flags: int = 0, *lengths: int) -> bytes:
    return struct.pack(f"<QIHH{len(lengths)}Q", size, count, descriptors, flags, *lengths)


def feed(intake: Intake, data: bytes) -> int:
    """As much as there is room for; returns how much."""
    room = intake.room()
    count = min(len(room), len(data))
    room[:count] = data[:count]
    intake.arrived.append(count)
    return count


def taken(intake: Intake, data: bytes, cuts: list[int] | None = None, *, adopt: bool = False) -> list[list[bytes]]:
    """All messages of ``data``, fed in pieces of these sizes."""
    got: list[list[bytes]] = []
    sizes = iter(cuts or [])
    while data:
        piece = data[: next(sizes, len(data))]
        if adopt and intake.idle:
            intake.adopt(piece)
            intake.adopt(piece)
            data = data[len(piece) :]
        else:
            data = data[feed(intake, piece) :]
        while (frames := intake.next()) is not None:
            intake.delivered()
            got.append(frames)
    return [[bytes(frame) for frame in frames] for frames in got]


@settings(max_examples=300, deadline=None)
@given(messages=st.lists(FRAMES, min_size=1, max_size=6), cuts=st.lists(st.integers(1, 200)), adopt=st.booleans())
def test_messages_arrive_whole_however_the_stream_is_cut(messages, cuts, adopt):
    assert taken(Intake(preamble=True), PREAMBLE + stream(*messages), cuts, adopt=adopt) == messages


@pytest.mark.parametrize("size", [OWN - 1, OWN, LARGE - 1, LARGE, 3_000_000])
@pytest.mark.parametrize("adopt", [False, True])
def test_large_frames_arrive_as_they_were_and_stay_so(size, adopt):
    messages = [[b"head", bytes([number]) * size, b"", b"tail"] for number in range(4)]
    assert taken(Intake(), stream(*messages), [1000, 70_000, 1 << 20], adopt=adopt) == messages


def test_a_large_frame_is_sent_from_where_it_lies():
    large = bytes(LARGE)
    pieces = enclose([b"head", large, b"tail"])
    assert len(pieces) == 3
    assert pieces[1] is large
    assert len(enclose([b"head", bytes(LARGE - 1), b"tail"])) == 1


def test_a_view_of_numbers_is_sent_as_its_bytes():
    view = memoryview(struct.pack("<4d", 1, 2, 3, 4)).cast("d")
    assert taken(Intake(), stream([b"head", view])) == [[b"head", bytes(view)]]


@given(frames=FRAMES, more=st.binary(max_size=20))
def test_a_message_of_one_frame_is_known_as_such(frames, more):
    whole = stream(frames)
    assert single(whole) == (frames[0] if len(frames) == 1 else None)
    assert single(whole[:-1]) is None
    assert not more or single(whole + more) is None


def test_a_message_can_be_asked_for_again_until_it_was_delivered():
    intake = Intake()
    intake.adopt(stream([b"one", b"x" * OWN], [b"two"]))
    assert intake.next() == intake.next() == [b"one", b"x" * OWN]
    intake.delivered()
    assert intake.next() == [b"two"]
    intake.delivered()
    assert intake.next() is None
    assert intake.idle
    assert not intake.buffered


def test_what_is_only_announced_costs_no_memory():
    intake = Intake(message_bytes=1 << 30, head_bytes=1 << 20, patience=4)
    feed(intake, header((1 << 29) + 8, 1, 0, 0, 1 << 29) + b"x")
    assert intake.next() is None
    intake.room()
    assert intake.buffered <= 2 << 20


def test_a_large_message_grows_its_buffer_as_it_comes():
    size = 9_000_000
    intake = Intake(message_bytes=1 << 30)
    data = header(size + 8, 1, 0, 0, size) + bytes(size)
    come = 0
    while come < len(data):
        come += feed(intake, data[come:])
        assert intake.buffered <= 4 * come + (2 << 20)
    frames = intake.next()
    assert frames is not None
    assert len(frames[0]) == size


def refusal(intake: Intake) -> Unfit:
    with pytest.raises(Unfit) as caught:
        intake.next()
    return caught.value


SMALL = {"message_bytes": 1000, "head_bytes": 100, "frames": 3, "patience": 4}


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (header(24, 2, 0, 0, 4, 5) + b"12345678", MalformedMessage),  # lengths that do not add up
        (header(12, 1, 1, 0, 4) + b"1234", MalformedMessage),  # a descriptor
        (header(12, 1, 0, 1, 4) + b"1234", MalformedMessage),  # a flag
        (header(0, 0), MalformedMessage),  # nothing
        (header(32, 4, 0, 0, 0, 0, 0, 0), MalformedMessage),  # too many frames
        (header(1001, 1, 0, 0, 993) + bytes(993), MessageTooLarge),  # too large, and its head as well
        (header(2016, 2, 0, 0, 1900, 100) + bytes(2000), MessageTooLarge),
    ],
)
@pytest.mark.parametrize("cut", [1, 20, 10_000])
def test_what_is_refused_is_read_past_and_the_next_is_the_next(message, error, cut):
    intake = Intake(**SMALL)
    told: list[Unfit] = []
    got: list[list[bytes]] = []
    data = message + stream([b"next"])
    while data:
        data = data[feed(intake, data[:cut]) :]
        while True:
            try:
                frames = intake.next()
            except Unfit as why:
                told.append(why)
                continue
            if frames is None:
                break
            intake.delivered()
            got.append(frames)
    assert [type(why.error) for why in told] == [error]
    assert not told[0].fatal
    assert got == [[b"next"]]
    assert intake.buffered < 1 << 20


def test_the_head_of_what_is_too_large_is_known():
    intake = Intake(**SMALL)
    feed(intake, stream([b"h" * 100, bytes(900)]))
    assert refusal(intake).frames == [b"h" * 100]


def test_the_head_of_what_is_too_large_is_known_before_the_rest_has_come():
    intake = Intake(**SMALL)
    feed(intake, stream([b"h" * 100, bytes(900)])[:140])
    assert refusal(intake).frames == [b"h" * 100]
    assert intake.next() is None


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (header(4001, 1, 0, 0), MessageTooLarge),  # beyond all patience
        (header(1 << 63, 1), MessageTooLarge),
        (header(15, 2), MalformedMessage),  # no room for its own lengths
        (header(16, 0xFFFFFFFF), MalformedMessage),
        (b"GET / HTTP/1.1\r\n\r\n", MessageTooLarge),
    ],
)
def test_what_nothing_can_follow_ends_the_conversation(message, error):
    intake = Intake(**SMALL)
    feed(intake, message)
    why = refusal(intake)
    assert isinstance(why.error, error)
    assert why.fatal


@pytest.mark.parametrize("begin", [b"GET / HT", b"\xff\0\0\0\0\0\0\0\x01\x7f", b"stoker\0\2", b"x"])
def test_whoever_begins_otherwise_is_no_client(begin):
    intake = Intake(preamble=True)
    feed(intake, begin)
    assert refusal(intake).fatal


@settings(max_examples=500, deadline=None)
@given(data=st.binary(max_size=400), cuts=st.lists(st.integers(1, 50)), preamble=st.booleans())
def test_garbage_is_refused_or_waited_for_and_never_breaks_anything(data, cuts, preamble):
    intake = Intake(**SMALL, preamble=preamble)
    try:
        taken(intake, PREAMBLE + data, cuts)
    except Unfit as why:
        assert isinstance(why.error, MalformedMessage | MessageTooLarge)
    assert intake.buffered < 1 << 20
