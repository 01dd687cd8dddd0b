"""A function over lines: a reading thread hands batches in, the main thread takes results out, in order.

Bounded both ways: no more than :data:`AHEAD` lines are under way or wait for an earlier one, so input of any length
takes the same memory. A batch is what a read gave, so that a slow pipe is not waited for.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stoker.cli import values
from stoker.cli.values import UsageError
from stoker.connection import Connection
from stoker.errors import DaemonLost, MalformedMessage, StokerError
from stoker.protocol.codec import Frame, unpack

AHEAD = 4096
"""Lines under way at most."""
BATCH = 256
"""Lines of one request at most."""
AHEAD_BYTES = 16 * 1024 * 1024
"""Bytes of lines under way, about, at most."""
_READ = 64 * 1024
_ERROR_BIT = 0x8000_0000
_COUNTED = 1 << 30
"""Bytes up to which the lines of a file are counted beforehand, for the bar."""


@dataclass(frozen=True, slots=True)
class Item:
    """What came of one line.

    Args:
        index: from 0.
        argument: what the function was called with.
        value: what it returned.
        error: an ``ErrorInfo`` map where it did not.
    """

    index: int
    argument: Any
    value: Any
    error: dict[str, Any] | None


class Source:
    """Lines of a file or of stdin, as they come.

    Args:
        fd: read from, without buffering: a buffer's lock would be held by the reading thread when we leave.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def open(cls, path: str) -> Source:
        """A file, or our own stdin for ``-``.

        Raises:
            UsageError: it cannot be read.
        """
        if path == "-":
            return cls(sys.stdin.fileno())
        try:
            return cls(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as why:
            raise UsageError(
                f"{path} cannot be read: {why.strerror}", hint="--input takes a file, or - for stdin"
            ) from None

    def total(self) -> int | None:
        """How many lines there will be, where that can be known beforehand."""
        facts = os.fstat(self._fd)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > _COUNTED:
            return None
        at, lines, last = os.lseek(self._fd, 0, os.SEEK_CUR), 0, b"\n"
        while block := os.pread(self._fd, 1 << 20, at):
            lines += block.count(b"\n")
            at, last = at + len(block), block
        return lines + (not last.endswith(b"\n"))

    def batches(self) -> Iterator[list[bytes]]:
        """Lines without their ends, at most :data:`BATCH` at a time; whatever a read has given goes out at once."""
        rest = b""
        while True:
            try:
                block = os.read(self._fd, _READ)
            except OSError as why:
                raise UsageError(
                    f"reading failed: {why.strerror}", hint="--input takes a file, not a directory"
                ) from None
            *lines, rest = (rest + block).split(b"\n")
            if not block and rest:
                lines, rest = [*lines, rest], b""
            for first in range(0, len(lines), BATCH):
                yield lines[first : first + BATCH]
            if not block:
                return


class Budget:
    """Lines and bytes that may be under way; blocks the reading thread when they are used up."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lines = self._bytes = 0
        self._closed = False

    def take(self, lines: int, size: int) -> bool:
        """Wait until there is room; False when the end has come instead. One batch always fits."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._lines or self._fits(lines, size))
            self._lines += lines
            self._bytes += size
            return not self._closed

    def _fits(self, lines: int, size: int) -> bool:
        return self._lines + lines <= AHEAD and self._bytes + size <= AHEAD_BYTES

    def give(self, lines: int, size: int) -> None:
        """There is room again."""
        with self._changed:
            self._lines -= lines
            self._bytes -= size
            self._changed.notify()

    def close(self) -> None:
        """Let the reading thread go."""
        with self._changed:
            self._closed = True
            self._changed.notify()


class Batch:
    """The completion of one batch: passes on what comes, with the place of the batch in the whole.

    Args:
        first: the index of its first line.
        arguments: what its lines stand for.
        size: bytes of its lines, for the budget.
        arrivals: where to put ``(batch, result map, payload)``, or ``(batch, error, ())``.
    """

    __slots__ = ("_arrivals", "_seen", "arguments", "first", "size")

    def __init__(self, first: int, arguments: list[Any], size: int, arrivals: Arrivals) -> None:
        self.first = first
        self.arguments = arguments
        self.size = size
        self._arrivals = arrivals
        self._seen: set[int] = set()

    def part(self, result: dict[str, Any], payload: Sequence[Frame]) -> None:
        """A reply that others follow; one that only tells ids is passed over. A Ctrl-C may have it delivered twice."""
        first = result.get("first")
        if first is not None and first not in self._seen:
            self._seen.add(first)
            self._arrivals.add(self, result, payload)

    finish = part

    def fail(self, error: StokerError) -> None:
        """There is no answer, or it is an error."""
        self._arrivals.add(self, error, ())


class Arrivals:
    """What has come and is not taken yet; settled when there is anything, for :meth:`Connection.wait`."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Batch | None, Any, Sequence[Frame]]] = deque()

    @property
    def settled(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._queue)

    def add(self, batch: Batch | None, told: Any, payload: Sequence[Frame]) -> None:
        """Something has come; a batch of None is the end of the input, or its failure."""
        self._queue.append((batch, told, payload))

    def take(self) -> tuple[Batch | None, Any, Sequence[Frame]]:
        """The oldest."""
        return self._queue.popleft()


class _End:
    """The completion of the request that follows the last batch: its answer wakes the main thread."""

    def __init__(self, arrivals: Arrivals, total: int, failure: StokerError | None) -> None:
        self._arrivals = arrivals
        self._news: StokerError | int = total if failure is None else failure

    def part(self, result: dict[str, Any], payload: Sequence[Frame]) -> None:
        """It has none."""

    def finish(self, result: dict[str, Any], payload: Sequence[Frame]) -> None:  # noqa: ARG002 - the protocol's face
        """The input has ended."""
        self._arrivals.add(None, self._news, ())

    def fail(self, error: StokerError) -> None:  # noqa: ARG002 - the batches fail with it too
        """The input has ended all the same."""
        self._arrivals.add(None, self._news, ())


class Mapper:
    """One function over one source.

    Args:
        connection: whose session cancels its jobs when it ends.
        function: ``package.module:name``.
        options: of each job, as on the wire.
    """

    def __init__(self, connection: Connection, function: str, options: dict[str, Any]) -> None:
        self._connection = connection
        self._function = function
        self._options = options
        self._arrivals = Arrivals()
        self._budget = Budget()
        self._batches: deque[Batch] = deque()
        self.done = self.failed = 0

    def start(self, source: Source) -> None:
        """Begin to read and to hand in, in a thread of its own."""
        threading.Thread(target=self._feed, args=(source,), name="stoker-map-input", daemon=True).start()

    def _feed(self, source: Source) -> None:
        count, failure = 0, None
        try:
            for lines in source.batches():
                size = sum(map(len, lines))
                if not self._budget.take(len(lines), size):
                    return
                arguments = [values.value(line.decode(errors="surrogateescape").removesuffix("\r")) for line in lines]
                self._submit(Batch(count, arguments, size, self._arrivals))
                count += len(lines)
        except StokerError as why:
            failure = why
        try:
            self._connection.send("ping", {}, (), _End(self._arrivals, count, failure))
        except StokerError:
            return  # the connection is closed or lost: whoever waits on it knows

    def _submit(self, batch: Batch) -> None:
        self._batches.append(batch)
        call = {"function": self._function, "many": [[argument] for argument in batch.arguments]}
        self._connection.send("submit", {"jobs": [{**self._options, "call": call}], "stream": True}, (), batch)

    def results(self) -> Iterator[list[Item]]:
        """Everything, in the order of the lines, as many at a time as there are.

        Raises:
            StokerError: a batch as a whole was refused, the input failed, or the daemon is gone.
        """
        waiting: dict[int, Item] = {}
        following, total = 0, None
        try:
            while total is None or following < total:
                if not self._connection.wait(self._arrivals):
                    raise DaemonLost("the daemon went away", hint="see its log; `stoker up` starts one")
                batch, told, payload = self._arrivals.take()
                if isinstance(told, StokerError):
                    raise told
                if batch is None:
                    total = told
                    continue
                waiting |= {item.index: item for item in checked(batch, told, payload)}
                ready = list(_run(waiting, following))
                following += len(ready)
                yield ready
                self._count(ready)
                self._make_room(following)
        finally:
            self._budget.close()

    def _count(self, items: list[Item]) -> None:
        failed = sum(item.error is not None for item in items)
        self.failed += failed
        self.done += len(items) - failed

    def _make_room(self, following: int) -> None:
        """Only what has been passed on in order makes room: what waits for an earlier line is held here."""
        while self._batches and following >= self._batches[0].first + len(self._batches[0].arguments):
            batch = self._batches.popleft()
            self._budget.give(len(batch.arguments), batch.size)


def _run(waiting: dict[int, Item], first: int) -> Iterator[Item]:
    """Takes out the items from number ``first`` on, as far as they go without a gap."""
    while (item := waiting.pop(first, None)) is not None:
        first += 1
        yield item


def checked(batch: Batch, part: dict[str, Any], payload: Sequence[Frame]) -> list[Item]:
    """As :func:`_items`.

    Raises:
        MalformedMessage: the part makes no sense.
    """
    try:
        return list(_items(batch, part, payload))
    except (KeyError, IndexError, TypeError, struct.error) as why:
        raise MalformedMessage(f"the daemon sent results that make no sense: {why!r}") from None


def _items(batch: Batch, part: dict[str, Any], payload: Sequence[Frame]) -> Iterator[Item]:
    """The items of one ``ResultPart``."""
    first, count = part["first"], part["count"]
    if part.get("error") is not None:
        for number in range(first, first + count):
            yield Item(batch.first + number, batch.arguments[number], None, part["error"])
        return
    lengths = struct.unpack(f"<{count}I", part["lengths"])
    blob = memoryview(payload[0])
    at = 0
    for number, length in enumerate(lengths, first):
        size = length & ~_ERROR_BIT
        value = unpack(blob[at : at + size])
        at += size
        failed = bool(length & _ERROR_BIT)
        yield Item(batch.first + number, batch.arguments[number], None if failed else value, value if failed else None)
