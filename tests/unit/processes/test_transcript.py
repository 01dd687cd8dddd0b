from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator

import pytest

from stokerd.clock import LoopClock
from stokerd.processes.transcript import Transcript

KEEP = 1000
DEADLINE = 30.0


class Writer:
    """The other ends of a run's pipes."""

    def __init__(self, transcript: Transcript) -> None:
        ends = [os.pipe2(os.O_NONBLOCK) for _ in range(2)]
        self.out, self.err = (write for _, write in ends)
        self.read_ends = tuple(read for read, _ in ends)
        transcript.attach((ends[0][0], ends[1][0]))

    def close(self) -> None:
        os.close(self.out)
        os.close(self.err)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def transcript(loop: asyncio.AbstractEventLoop) -> Transcript:
    return Transcript(LoopClock(loop), KEEP)


def wait_news(loop: asyncio.AbstractEventLoop, transcript: Transcript) -> None:
    news = loop.create_future()
    transcript.when_news(lambda: news.set_result(None))
    loop.run_until_complete(asyncio.wait_for(news, DEADLINE))


def is_open(fd: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        return False
    return True


def test_what_is_written_is_news_and_kept_per_stream(loop, transcript: Transcript) -> None:
    writer = Writer(transcript)
    os.write(writer.out, b"one")
    wait_news(loop, transcript)
    os.write(writer.err, b"two")
    wait_news(loop, transcript)
    output = transcript.output()
    assert (output.out.since(0), output.err.since(0)) == (b"one", b"two")
    transcript.detach()
    writer.close()


def test_the_end_of_a_run_takes_in_what_is_left_and_gives_the_descriptors_back(transcript: Transcript) -> None:
    writer = Writer(transcript)
    os.write(writer.out, b"last words")
    transcript.detach()
    assert transcript.output().out.since(0) == b"last words"
    assert not any(map(is_open, writer.read_ends))
    writer.close()


def test_a_pipe_that_was_full_is_read_to_its_end(transcript: Transcript) -> None:
    writer = Writer(transcript)
    size = 1 << 20
    fcntl.fcntl(writer.out, fcntl.F_SETPIPE_SZ, size)
    assert os.write(writer.out, b"x" * size) == size
    transcript.detach()
    assert transcript.output().out.size == size
    writer.close()


def test_offsets_go_on_over_the_runs_of_a_process(transcript: Transcript) -> None:
    for text in (b"first ", b"second"):
        writer = Writer(transcript)
        os.write(writer.out, text)
        writer.close()
        transcript.detach()
    output = transcript.output().out
    assert output.size == 12
    assert output.since(6) == b"second"


def test_a_flood_is_kept_by_its_beginning_and_its_end_and_the_rest_is_counted(loop, transcript: Transcript) -> None:
    writer = Writer(transcript)
    for _ in range(100):
        os.write(writer.out, b"y" * 1000)
        wait_news(loop, transcript)
    transcript.detach()
    output = transcript.output().out
    assert output.size == 100_000
    assert len(output.head) + len(output.tail) <= KEEP
    assert output.dropped == output.size - KEEP
    writer.close()


def test_a_stream_that_the_process_closed_is_no_longer_watched(loop, transcript: Transcript) -> None:
    writer = Writer(transcript)
    os.close(writer.err)
    os.write(writer.out, b"still here")
    wait_news(loop, transcript)
    loop.run_until_complete(asyncio.sleep(0))
    assert not is_open(writer.read_ends[1])
    transcript.detach()
    os.close(writer.out)
