"""A store with a clock of its own, batches and moves to put in it, and ways to wait for it."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.clocks import HandClock

from stoker.errors import StokerError
from stokerd.promise import Promise
from stokerd.store.records import Accepted, Kept, Move
from stokerd.store.store import Store

LARGE = 2000
"""Bytes above which these stores write files."""


class Stored:
    """An open store; each wait is for its descriptor."""

    def __init__(self, folder: Path, *, file_bytes: int = LARGE, **options: Any) -> None:
        self.folder = folder
        self.clock = HandClock()
        self.health: list[str] = []
        self.store = Store(folder, clock=self.clock, file_bytes=file_bytes, on_health=self.health.append, **options)
        self.store.open()

    def error(self, promise: Promise[None]) -> StokerError | None:
        """What the promise is rejected with; None when it is resolved."""
        deadline = time.monotonic() + 60
        while not promise.settled:
            assert self.clock.look(), "nothing was told"
            assert time.monotonic() < deadline, "the promise was not settled"
        return promise.error

    def wait(self, promise: Promise[None]) -> None:
        """Until the promise is resolved."""
        error = self.error(promise)
        if error is not None:
            raise error

    def until_health(self, count: int) -> None:
        """Until so many changes of health have been told."""
        while len(self.health) < count:
            assert self.clock.look(), f"told so far: {self.health}"

    def until_files(self, count: int) -> None:
        """Until there are so many payload files. Pruning is told to nobody: turns of the writer are waited for."""
        deadline = time.monotonic() + 60
        while len(self.files()) != count:
            assert time.monotonic() < deadline, f"{len(self.files())} files, and not {count}"
            self.wait(self.store.move([]))

    def close(self) -> None:
        """Everything on disk."""
        self.wait(self.store.close())

    def files(self) -> list[str]:
        """The names of the payload files."""
        return sorted(entry.name for entry in (self.folder / "payloads").iterdir())


def batch(first_id: int, count: int = 1, *, key: str | None = None, payload: bytes | memoryview = b"args") -> Accepted:
    """A batch whose lengths can be told from any other's."""
    lengths = struct.pack(f"<{count}I", *range(first_id, first_id + count))
    head = b"head of %d" % first_id
    return Accepted(first_id=first_id, count=count, key=key, head=head, lengths=lengths, payload=payload)


def move(
    of: int, note: bytes = b"done", *, first: int = 0, count: int = 1, data: bytes | memoryview = b"value"
) -> Move:
    """Something that happened to a batch."""
    return Move(batch=of, first=first, count=count, note=note, data=data)


@contextlib.contextmanager
def mounted(path: Path, options: str) -> Iterator[Path]:
    """A small file system of its own, there as long as the test needs it; skips the test where that is not allowed."""
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "stoker-test", str(path)], capture_output=True)
    if done.returncode:
        pytest.skip(f"mounts a small file system, which is not allowed here: {done.stderr.decode().strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def kept_in(folder: Path) -> list[Kept]:
    """What a new daemon finds."""
    stored = Stored(folder)
    kept = list(stored.store.load())
    stored.close()
    return kept
