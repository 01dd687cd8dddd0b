"""Log files of processes: bounded in size and number, written by a thread so that no disk holds up the daemon.

``NAME.stdout.log`` is the present one, ``NAME.stdout.log.1`` the one before it. What the disk does not take is dropped
and counted; the process never learns of it. One thread serves all logs. It shares no state with the loop but a queue
and numbers that one side writes and the other reads.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from pathlib import Path
from typing import final

PENDING_BYTES = 8 * 1024 * 1024
"""That may wait for the disk, of all logs together; what comes on top is dropped."""


@final
class LogFile:
    """One stream of one process. Its methods are the thread's, but for what the numbers say.

    Args:
        path: of the present file.
        size: bytes after which the next one is begun.
        files: how many are kept, the present one included.
    """

    def __init__(self, path: Path, size: int, files: int) -> None:
        self.path = path
        self._size, self._files = size, files
        self._fd = -1
        self._written = 0
        self.refused = 0
        """Bytes that the queue did not take; the loop's number."""
        self.lost = 0
        """Bytes that the disk did not take; the thread's number."""

    @property
    def dropped(self) -> int:
        """Bytes that were not written."""
        return self.refused + self.lost

    def write(self, data: bytes) -> None:
        """Append, turning to the next file where it is full."""
        view = memoryview(data)
        try:
            while view:
                self._open()
                if self._written >= self._size:
                    self._rotate()
                    continue
                done = os.write(self._fd, view[: self._size - self._written])
                self._written += done
                view = view[done:]
        except OSError:
            self.lost += len(view)
            self.close()

    def close(self) -> None:
        """Give the descriptor back; the next write opens it again."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        if self._fd < 0:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self.path, flags, 0o600)
            self._written = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        """Number n becomes n + 1, and the last one goes."""
        self.close()
        with contextlib.suppress(FileNotFoundError):
            self._numbered(self._files - 1).unlink()
        for number in range(self._files - 2, -1, -1):
            with contextlib.suppress(FileNotFoundError):
                self._numbered(number).rename(self._numbered(number + 1))

    def _numbered(self, number: int) -> Path:
        return self.path if number == 0 else self.path.with_name(f"{self.path.name}.{number}")


@final
class LogFiles:
    """All of them, and their thread, which runs from the first write on.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._queue: queue.SimpleQueue[tuple[LogFile, bytes] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._taken = 0
        self._done = 0

    def open(self, name: str, size: int, files: int) -> tuple[LogFile, LogFile]:
        """The logs of one instance: of its stdout and of its stderr."""
        out, err = (LogFile(self._folder / f"{name}.{stream}.log", size, files) for stream in ("stdout", "stderr"))
        return out, err

    def write(self, log: LogFile, data: bytes) -> None:
        """Have it appended; never blocks."""
        if self._taken - self._done + len(data) > PENDING_BYTES:
            log.refused += len(data)
            return
        self._taken += len(data)
        self._queue.put((log, data))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="process logs", daemon=True)
            self._thread.start()

    def release(self, log: LogFile) -> None:
        """Nothing more comes for now."""
        if self._thread is not None:
            self._queue.put((log, b""))

    def close(self, patience: float) -> None:
        """End the thread when it has written what was taken; a disk that hangs is waited for so many seconds."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(patience)
            self._thread = None

    def _work(self) -> None:
        while (order := self._queue.get()) is not None:
            log, data = order
            if data:
                log.write(data)
                self._done += len(data)
            else:
                log.close()
