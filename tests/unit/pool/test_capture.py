"""Output: cut into one stretch per job, bounded, from memory files that somebody else writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.pool.parts import appended

from stokerd.capture import Capture
from stokerd.output import Kept


@pytest.fixture
def files() -> Iterator[tuple[int, int]]:
    """Stdout and stderr as the writer has them."""
    ends = appended("out"), appended("err")
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.fixture
def capture(files: tuple[int, int]) -> Iterator[Capture]:
    """The reader's end, which keeps 100 bytes."""
    made = Capture((os.dup(files[0]), os.dup(files[1])), keep=100)
    yield made
    made.close()


def blocks(fd: int) -> int:
    """Bytes of memory behind a file."""
    return os.fstat(fd).st_blocks * 512


@given(st.lists(st.tuples(st.binary(max_size=300), st.integers(0, 2)), max_size=20))
@settings(max_examples=60, deadline=None)
def test_every_job_gets_its_own_output_whatever_is_trimmed_in_between(jobs: list[tuple[bytes, int]]):
    fds = appended("out"), appended("err")
    capture = Capture(fds, keep=100)
    try:
        for text, trims in jobs:
            for part in range(trims + 1):
                size = len(text) // (trims + 1)
                os.write(fds[0], text[part * size : (part + 1) * size if part < trims else None])
                capture.trim(capture.sizes())
            os.write(fds[1], text[::-1])
            output = capture.cut(*capture.sizes())
            for kept, written in ((output.out, text), (output.err, text[::-1])):
                assert kept.size == len(written)
                if len(written) <= 100:
                    assert kept.head + kept.tail == written
                    assert kept.dropped == 0
                else:
                    assert (kept.head, kept.tail) == (written[:50], written[-50:])
                    assert kept.dropped == len(written) - 100
    finally:
        capture.close()


def test_a_stretch_is_cut_where_its_job_ended_however_much_was_written_since(capture: Capture, files: tuple[int, int]):
    os.write(files[0], b"first")
    end = capture.sizes()
    os.write(files[0], b"second")
    assert capture.cut(*end).out.head == b"first"
    assert capture.peek(capture.sizes()).out.head == b"second"
    assert capture.cut(*capture.sizes()).out.head == b"second"
    assert capture.peek(capture.sizes()).out == Kept(b"", b"", 0)


def test_memory_is_given_back_while_a_job_floods_and_after_it(files: tuple[int, int]):
    capture = Capture((os.dup(files[0]), os.dup(files[1])), keep=64 * 1024)
    most = 0
    for number in range(200):
        os.write(files[0], bytes([number]) * 100_000)
        capture.trim(capture.sizes())
        most = max(most, blocks(files[0]))
    assert most < 1_000_000
    kept = capture.cut(*capture.sizes()).out
    assert kept.size == 20_000_000
    assert (kept.head, kept.tail) == (b"\0" * 32768, b"\xc7" * 32768)
    assert blocks(files[0]) <= 8192
    capture.close()


def test_trimming_leaves_alone_what_was_written_after_the_size_was_taken(capture: Capture, files: tuple[int, int]):
    os.write(files[0], b"a" * 1000)
    sizes = capture.sizes()
    os.write(files[0], b"b" * 100_000)
    capture.trim(sizes)
    assert capture.cut(1000, 0).out == Kept(b"a" * 50, b"a" * 50, 1000)
    assert capture.cut(1100, 0).out.head == b"b" * 100


def test_a_job_that_truncates_its_stdout_is_read_from_the_beginning(capture: Capture, files: tuple[int, int]):
    os.write(files[0], b"what the job before it wrote, which is rather long")
    capture.cut(*capture.sizes())
    with Path(f"/proc/self/fd/{files[0]}").open("w") as anew:  # what a shell does for `> /dev/stdout`
        anew.write("hello")
    assert capture.peek(capture.sizes()).out.head == b"hello"
    assert capture.cut(*capture.sizes()).out.head == b"hello"
    os.write(files[0], b"next")
    assert capture.cut(*capture.sizes()).out.head == b"next"


@given(st.binary(max_size=60), st.integers(0, 70), st.integers(2, 40))
@settings(max_examples=200, deadline=None)
def test_what_comes_since_an_offset_tells_of_what_was_dropped(text: bytes, offset: int, keep: int):
    half = keep // 2
    kept = Kept(text, b"", len(text)) if len(text) <= keep else Kept(text[:half], text[-half:], len(text))
    since = kept.since(offset)
    if offset >= len(text):
        assert since == b""
    elif not kept.dropped or offset >= len(text) - half:
        assert since == text[offset:]
    else:
        head = text[:half][offset:]
        assert since == head + b"\n[... %d bytes dropped ...]\n" % kept.dropped + text[-half:]
