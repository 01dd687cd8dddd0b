"""What processes in the daemon write, written here: on this program's own stdout and stderr, or in its notebook cell.

It arrives in whichever thread receives for the connection, which must not be held up by a terminal or a pipe that is
slow. So it is put aside, and written by a thread of its own; or by whoever waits for the process, so that all of it is
there when ``join`` returns.
"""

from __future__ import annotations

import codecs
import contextlib
import contextvars
import os
import sys
import threading
from collections import deque

from stoker.bell import Bell


class Relay:
    """The output of one process, on its way to this program's streams as they are when it is written.

    It is written in the context in which this was made, by which a notebook knows the cell that it belongs to.
    """

    def __init__(self) -> None:
        self._context = contextvars.copy_context()
        self._arrived: deque[tuple[str, bytes]] = deque()
        self._writing = threading.Lock()
        self._decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")}

    def add(self, out: bytes, err: bytes) -> None:
        """Put it aside; it is written soon."""
        for name, data in (("stdout", out), ("stderr", err)):
            if data:
                self._arrived.append((name, data))
        _writer.wake(self)

    def flush(self) -> None:
        """Write what has arrived."""
        with self._writing:
            while self._arrived:
                name, data = self._arrived.popleft()
                with contextlib.suppress(Exception):  # a stream that is closed, or broken, or was never one
                    self._context.run(self._write, name, data)

    def _write(self, name: str, data: bytes) -> None:
        stream = getattr(sys, name)
        if stream is None:
            return
        raw = getattr(stream, "buffer", None)
        if raw is None:
            stream.write(self._decoders[name].decode(data))
        else:
            stream.flush()  # what this program has written comes first
            raw.write(data)
        stream.flush()


class _Writer:
    """The thread that writes. Started on first need."""

    def __init__(self) -> None:
        self._bell = Bell()
        self._relays: deque[Relay] = deque()
        self._thread: threading.Thread | None = None

    def wake(self, relay: Relay) -> None:
        """Something has arrived there."""
        self._relays.append(relay)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="stoker-output", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is ending: whoever waits for the process writes it
                self._thread = None
        self._bell.ring()

    def _run(self) -> None:
        while True:
            self._bell.wait()
            while self._relays:
                self._relays.popleft().flush()


_writer = _Writer()


def _after_fork() -> None:
    """The parent's thread is not here, and what it was to write is the parent's to write."""
    global _writer  # noqa: PLW0603 - there is one for the process
    _writer = _Writer()


os.register_at_fork(after_in_child=_after_fork)
