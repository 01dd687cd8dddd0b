"""Output from pipes: bounded, and cut exactly at marks."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stokerd.output import EMPTY, Stream, Stretch

MARK = b"\x00mark:"


def mark(seq: int) -> bytes:
    return MARK + seq.to_bytes(8, "little")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


@given(st.lists(st.binary(max_size=40)), st.integers(2, 64))
def test_a_stretch_keeps_beginning_and_end_and_counts_the_rest(parts: list[bytes], keep: int) -> None:
    stretch = Stretch(keep)
    for part in parts:
        stretch.add(part)
    whole, kept = b"".join(parts), stretch.kept()
    assert kept.size == len(whole)
    assert whole.startswith(kept.head)
    assert whole.endswith(kept.tail)
    assert len(kept.head) + len(kept.tail) <= keep
    assert kept.dropped == 0 if len(whole) <= keep // 2 * 2 else kept.dropped > 0


@given(st.binary(max_size=60), st.integers(2, 40), st.integers(0, 70))
def test_reading_on_from_an_offset_gives_what_comes_after_it(whole: bytes, keep: int, offset: int) -> None:
    stretch = Stretch(keep)
    stretch.add(whole)
    kept = stretch.kept()
    if not kept.dropped:
        assert kept.since(offset) == whole[offset:]
    elif offset < len(kept.head):
        assert kept.since(offset).startswith(kept.head[offset:])
        assert kept.since(offset).endswith(kept.tail)
        assert b"%d bytes dropped" % kept.dropped in kept.since(offset)
    elif offset >= kept.size - len(kept.tail):
        assert kept.since(offset) == whole[offset:]


@given(
    st.lists(st.binary(max_size=30).filter(lambda data: b"\x00" not in data), min_size=1, max_size=8),
    st.lists(st.integers(1, 20), min_size=1, max_size=40),
)
def test_marks_cut_exactly_however_the_pipe_is_read(outputs: list[bytes], sizes: list[int]) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    try:
        stream = Stream(ours, 1024, MARK)
        written = b"".join(data + mark(seq) for seq, data in enumerate(outputs))
        for size in sizes:
            os.write(theirs, written[:size])
            written = written[size:]
            stream.read()
        os.write(theirs, written)
        assert [stream.take(seq).head for seq in range(len(outputs))] == [data[:512] for data in outputs]
    finally:
        os.close(ours)
        os.close(theirs)


def test_what_looks_like_the_beginning_of_a_mark_is_not_lost(pipe: tuple[int, int]) -> None:
    ours, theirs = pipe
    stream = Stream(ours, 1024, MARK)
    os.write(theirs, b"text" + MARK[:3])
    stream.read()
    assert stream.current.kept().head == b"text"
    os.write(theirs, b"more" + MARK)
    stream.finish()
    assert stream.current.kept().head == b"text" + MARK[:3] + b"more" + MARK


def test_the_output_of_a_job_nobody_asked_about_is_forgotten(pipe: tuple[int, int]) -> None:
    ours, theirs = pipe
    stream = Stream(ours, 1024, MARK)
    os.write(theirs, b"one" + mark(1) + b"two" + mark(2))
    assert stream.take(2).head == b"two"
    assert stream.take(1) == EMPTY
