"""Segments of shared memory: filled again only when nobody looks at them any more, and what lies in them."""

from __future__ import annotations

import gc
import os
import pickle
from typing import Any

import pytest

from stoker.protocol import segments
from stoker.protocol.segments import LARGE, RETIRED, SHARED, USED, Arena, Segment, Shelf

ROOM = 1 << 24


def arena(room: int = ROOM, **options: Any) -> Arena:
    made = Arena(lambda: room - made.nbytes, **options)
    return made


def claimed(made: Arena, size: int = LARGE) -> Segment:
    segment = made.claim(size)
    assert segment is not None
    return segment


def laid(made: Arena, value: object) -> tuple[Segment, bytes]:
    stream, buffers = segments.flatten(value, 3)
    segment = claimed(made, segments.needed(stream, buffers))
    return segment, segments.lay(segment, stream, buffers)


class Array:
    """Something that is pickled beside the pickle, as arrays are."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, ...]:
        return Array, (pickle.PickleBuffer(self.data),)


def test_a_segment_is_filled_again_only_when_its_last_view_is_gone() -> None:
    made = arena()
    segment, parcel = laid(made, Array(bytearray(b"x" * LARGE)))
    value = segments.load(segment.hold(), parcel)
    assert claimed(made) is not segment
    part = memoryview(value.data)[10:20]
    del value
    gc.collect()
    assert segment.used
    assert claimed(made) is not segment
    del part
    assert not segment.used
    assert claimed(made) is segment


def test_a_segment_in_use_is_not_given_out_twice() -> None:
    made = arena()
    assert claimed(made) is not claimed(made)


def test_what_was_retired_is_never_filled_again_and_its_maker_is_told() -> None:
    told: list[int] = []
    made = arena(on_drop=told.append)
    segment = claimed(made)
    segment.free()
    segment.words[RETIRED] = 1
    assert claimed(made) is not segment
    assert told == [segment.number]


def test_who_claims_a_segment_that_is_being_retired_leaves_it_alone() -> None:
    segment = Segment.make(1, LARGE)
    segment.free()
    segment.words[RETIRED] = 1
    assert not segment.claim()
    assert not segment.used


def test_free_ones_make_room_for_what_they_are_too_small_for() -> None:
    made = arena(4 * LARGE)
    for segment in [claimed(made) for _ in range(3)]:
        segment.free()
    assert made.claim(3 * LARGE) is not None
    assert made.nbytes <= 4 * LARGE


def test_where_there_is_no_room_nothing_is_made() -> None:
    made = arena(2 * LARGE)
    assert made.claim(LARGE) is not None
    assert made.claim(2 * LARGE) is None
    assert len(made) == 1


def test_where_memory_is_short_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "available", lambda: LARGE)
    assert arena().claim(LARGE) is None


def test_no_more_are_made_than_may_be() -> None:
    made = arena(most=2)
    assert [made.claim(LARGE) is not None for _ in range(3)] == [True, True, False]


def test_a_small_thing_does_not_take_a_huge_segment() -> None:
    made = arena()
    huge = claimed(made, 100 * LARGE)
    huge.free()
    assert claimed(made, LARGE) is not huge


def test_it_cannot_be_made_smaller_by_whoever_has_its_descriptor() -> None:
    segment = Segment.make(1, LARGE)
    assert segments.is_sealed(segment.fd)
    with pytest.raises(PermissionError):
        os.ftruncate(segment.fd, 0)
    read, write = os.pipe()
    assert not segments.is_sealed(read)
    os.close(read)
    os.close(write)


def test_a_reader_finds_what_was_laid_and_frees_it() -> None:
    made, shelf = arena(), Shelf()
    value = ["text", Array(b"y" * LARGE), bytes(LARGE), bytearray(LARGE), {"k": (1, b"z" * LARGE)}]
    segment, parcel = laid(made, value)
    shelf.learn(7, segment.fd)
    back = segments.load(shelf.find(7).hold(), parcel)
    assert back[0] == "text"
    assert bytes(back[1].data) == b"y" * LARGE
    assert back[2:] == value[2:]
    assert [type(part) for part in back[2:4]] == [bytes, bytearray]
    assert segment.used
    del back
    gc.collect()
    assert not segment.used


def test_a_pickle_that_is_large_itself_lies_there_too() -> None:
    made = arena()
    value = [str(number) for number in range(20_000)]
    segment, parcel = laid(made, value)
    assert len(parcel) < 100
    assert segments.load(segment.hold(), parcel) == value


def test_the_same_bytes_twice_stay_one_object() -> None:
    data = bytes(LARGE)
    segment, parcel = laid(arena(), [data, data])
    one, other = segments.load(segment.hold(), parcel)
    assert one is other


def test_it_can_be_made_a_plain_pickle_again() -> None:
    value = [b"a" * LARGE, Array(b"b" * LARGE), "c" * LARGE]
    segment, parcel = laid(arena(), value)
    plain = segments.inline(segment.hold(), parcel)
    assert not segment.used
    back = pickle.loads(plain)
    assert back[0] == value[0]
    assert bytes(back[1].data) == b"b" * LARGE
    assert back[2] == value[2]


@pytest.mark.parametrize("parcel", [b"", b"\1\0\0\0", b"\1\0\0\0" + b"\xff" * 16, b"\2\0\0\0" + bytes(16)])
def test_a_parcel_that_makes_no_sense_is_told_to_be_none(parcel: bytes) -> None:
    segment = Segment.make(1, LARGE)
    with pytest.raises(ValueError, match="parcel"):
        segments.load(segment.hold(), parcel)


def test_what_a_forked_child_may_look_at_is_neither_filled_again_nor_wiped() -> None:
    made = arena()
    segment, parcel = laid(made, Array(b"x" * LARGE))
    value = segments.load(segment.hold(), parcel)
    segment.leave_as_is()
    del value
    assert segment.words[USED] == 0
    assert segment.words[SHARED] == 1
    assert claimed(made) is not segment
    assert segment.memory[segments.HEAD : segments.HEAD + 4] == b"xxxx"


def test_what_is_given_up_has_no_memory_left() -> None:
    made = arena()
    segment = claimed(made)
    segment.memory[segments.HEAD :] = b"x" * segment.size
    before = os.fstat(segment.fd).st_blocks
    segment.free()
    made.drop(segment)
    assert os.fstat(segment.fd).st_blocks < before / 4
