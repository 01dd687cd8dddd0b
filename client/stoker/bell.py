"""A wake-up call from one thread to another that Ctrl-C can't break.

:class:`threading.Event` can't serve: its ``set`` is Python code around a lock, and a signal handler that raises between
its lines leaves that lock taken for ever. Here each step is one call into C, which is done or not done.
"""

from __future__ import annotations

import contextlib
import threading


class Bell:
    """Rung once, however often it is rung before somebody hears it. One listener."""

    __slots__ = ("_silence",)

    def __init__(self) -> None:
        self._silence = threading.Lock()  # taken: nobody has rung
        self._silence.acquire()

    def ring(self) -> None:
        """Wake the listener, now or when it listens next."""
        with contextlib.suppress(RuntimeError):  # it has been rung already
            self._silence.release()

    @property
    def rung(self) -> bool:
        """True when it was rung and nobody has heard it yet."""
        return not self._silence.locked()

    def hush(self) -> None:
        """Forget that it was rung."""
        self._silence.acquire(blocking=False)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is rung, and hear it; False when ``timeout`` seconds are over first."""
        return self._silence.acquire(timeout=-1 if timeout is None else timeout)
