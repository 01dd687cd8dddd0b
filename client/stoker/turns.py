"""Who receives: of the threads that wait on one connection, one leads and the others follow.

The leader sleeps on the socket's descriptor, and on a pipe by which others wake it. A follower sleeps on its gate, a
lock that is opened when what it waits for is there or when the lead falls to it.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import Protocol


class Slot(Protocol):
    """Something that a thread can wait for."""

    @property
    def settled(self) -> object:
        """True, in the sense of ``bool``, once it is there. Never goes back."""


class Turns:
    """The lead of one connection. All methods but :meth:`sleep` are called with the connection's lock held."""

    def __init__(self) -> None:
        self.leader = 0
        """The thread that leads; 0: none."""
        self.asleep = False
        """True from the leader's last look until it has looked again."""
        self._followers: dict[threading.Lock, Slot] = {}
        self._read, self._write = os.pipe()
        self._poll = select.poll()
        self._watched: tuple[tuple[int, ...], int | None] | None = None
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def take(self) -> bool:
        """Take the lead; False when another thread has it."""
        me = threading.get_ident()
        if self.leader not in (0, me):
            return False
        self.leader = me
        self.asleep = False
        return True

    def follow(self, gate: threading.Lock, slot: Slot) -> bool:
        """Have ``gate``, which is shut, opened in time; False where there is no need to wait."""
        if slot.settled or not self.leader:
            return False
        self._followers[gate] = slot
        return True

    def leave(self, gate: threading.Lock | None) -> bool:
        """Stop waiting. False where nobody leads any more."""
        if gate is not None:
            self._followers.pop(gate, None)
        if self.leader == threading.get_ident():
            self.leader = 0
            self.asleep = False
        if self.leader:
            return True
        for heir in self._followers:
            self._open(heir)
            return True
        return False

    def open_gates(self) -> None:
        """Let the followers go whose slot is settled."""
        if self._followers:
            for gate in [gate for gate, slot in self._followers.items() if slot.settled]:
                self._open(gate)

    def _open(self, gate: threading.Lock) -> None:
        del self._followers[gate]
        gate.release()

    def wake(self) -> None:
        """Make the leader look again."""
        if self.asleep:
            with contextlib.suppress(BlockingIOError):  # the pipe is full of wake-ups
                os.write(self._write, b"\0")

    def sleep(self, descriptors: tuple[int, ...], timeout: float | None, writing: int | None = None) -> set[int]:
        """As the leader: until one of the descriptors can be read, somebody wakes it, or the time is over.

        Args:
            descriptors: to watch for input.
            timeout: seconds; None: for ever.
            writing: one of them that is to be watched for room as well.

        Returns:
            The descriptors that something can be done with.
        """
        if self._watched != (descriptors, writing):
            self._watch(descriptors, writing)
        ready = {descriptor for descriptor, _ in self._poll.poll(None if timeout is None else max(timeout, 0) * 1000)}
        if self._read in ready:
            os.read(self._read, 4096)
        return ready

    def _watch(self, descriptors: tuple[int, ...], writing: int | None) -> None:
        self._watched = None
        self._poll = select.poll()
        for descriptor in (*descriptors, self._read):
            self._poll.register(descriptor, select.POLLIN | (select.POLLOUT if descriptor == writing else 0))
        self._watched = descriptors, writing

    def __del__(self) -> None:
        os.close(self._read)
        os.close(self._write)
