"""Shared memory for large data, as the daemon keeps it: which segments there are, whose they are, and who knows them.

Clients make segments for what jobs are called with, workers for what jobs return (:mod:`stoker.protocol.segments`).
They pass the descriptor of each once; here it is kept, and passed on. The daemon maps none of them and reads no data.
Two words at the beginning of each tell it what it needs to know; it reads and writes those through the descriptor.

A segment is freed by the store of whoever reads it last. What nobody can free any more, because it died, is *retired*:
never filled again, and gone with the last process that has it mapped. If the daemon dies, all are.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from pathlib import Path
from typing import Protocol

from stoker.errors import InvalidParams, NoSharedMemory, UnknownSegment
from stoker.protocol import segments
from stokerd.clock import Clock, Timer
from stokerd.headroom import is_scarce

MOST = 1024
"""Segments, all together: each takes a descriptor here and in each process that has it mapped."""
IDLE = 10.0
"""Seconds after which memory that nobody has used is given back."""
SETTLE = 0.001
"""Seconds between retiring a segment and believing that nobody fills it: see :mod:`stoker.protocol.segments`."""
PRESSED = 1.0
"""The same where others want some."""
PART = 4
"""Of the memory that is available at the start, one part in so many is shared, unless the configuration says."""

_WORD = struct.Struct("<Q")


class Party(Protocol):
    """A worker: who makes segments, is told of those of others, and can be spoken to."""

    def grant(self, room: int) -> None:
        """It may make so many bytes more."""

    def forget_segment(self, lot: Lot) -> None:
        """A segment that it makes or knows is not to be used any more; of its own, it says when it has given it up."""


class Lot:
    """One segment.

    Args:
        number: its name here.
        maker: who has made it.
        name: what its maker calls it.
        fd: its descriptor.
        size: bytes, all in all.
    """

    __slots__ = (
        "answered",
        "begun",
        "fd",
        "holder",
        "known",
        "maker",
        "name",
        "number",
        "orphan",
        "size",
        "turn",
        "used_at",
        "wanted",
    )

    def __init__(self, number: int, maker: str, name: int, fd: int, size: int) -> None:
        self.number, self.maker, self.name, self.fd, self.size = number, maker, name, fd, size
        self.known: set[str] = set()
        """Who has its descriptor, besides its maker."""
        self.wanted = False
        """A job that has not ended is called with what lies in it."""
        self.begun = self.answered = False
        """Of that job: a worker was handed it; and has answered, so that the worker frees the segment."""
        self.turn = 0
        """How many jobs it has been lent to."""
        self.holder = ""
        """The session that was last given what lies in it."""
        self.orphan = False
        """Its maker is gone."""
        self.used_at = 0.0
        """When it was last spoken of, monotonic."""

    def lend(self) -> int:
        """A job is going to be called with what lies in it; returns its turn.

        The one before need not have ended here: its worker frees the segment before it answers, and the maker sees
        that at once, fills it again and is heard first.
        """
        self.turn += 1
        self.wanted = True
        self.begun = self.answered = False
        return self.turn

    def answer(self, turn: int) -> None:
        """A worker has answered the job whose turn it was."""
        if turn == self.turn:
            self.answered = True

    def word(self, which: int) -> bool:
        """Read one of its words."""
        return os.pread(self.fd, _WORD.size, which * _WORD.size) != bytes(_WORD.size)

    def write(self, which: int, value: int) -> None:
        """Write one of its words."""
        os.pwrite(self.fd, _WORD.pack(value), which * _WORD.size)


def memory_to_share() -> int:
    """How many bytes are shared at most where the configuration does not say: a part of what is available now."""
    return min(segments.available(), _group_limit()) // PART


def _group_limit() -> int:
    """The least memory limit of this process's control group and those above it, bytes."""
    least = 1 << 62
    with contextlib.suppress(OSError):
        group = Path("/sys/fs/cgroup", Path("/proc/self/cgroup").read_text().rpartition("::/")[2].strip())
        for folder in (group, *group.parents):
            with contextlib.suppress(OSError, ValueError):  # the uppermost has none, and others say "max"
                least = min(least, int((folder / "memory.max").read_text()))
    return least


class Depot:
    """See the module.

    Args:
        clock: for what is idle.
        limit: bytes that all segments may have together; 0: none are used.
        most: how many there may be.
    """

    def __init__(self, clock: Clock, limit: int, most: int = MOST) -> None:
        self._clock, self._most = clock, most
        self.limit = limit if segments.can_share() else 0
        self.nbytes = 0
        """Bytes of all that there are."""
        self._lots: dict[int, Lot] = {}
        self._by_name: dict[tuple[str, int], Lot] = {}
        self._workers: dict[str, Party] = {}
        self._next = 1
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._lots)

    # --- who takes part

    def join(self, key: str, worker: Party) -> None:
        """A worker takes part."""
        self._workers[key] = worker
        self._grant()

    def leave(self, key: str) -> None:
        """A worker or a session is gone: what it made is filled no more, and what it has read it can't free."""
        self._workers.pop(key, None)
        for lot in list(self._lots.values()):
            if lot.maker == key:
                lot.orphan = True
                if not lot.wanted:
                    self._drop(lot)
            elif key in lot.known:
                lot.known.discard(key)
                left = lot.holder == key or (not lot.wanted and not lot.holder)
                if left and lot.word(segments.USED):
                    self.retire(lot)
        self._grant()

    def room(self) -> int:
        """Bytes that may still be made."""
        return max(self.limit - self.nbytes, 0) if len(self._lots) < self._most else 0

    def _grant(self) -> None:
        """Each may make its share of what is left, so that all together make no more."""
        if self._workers:
            share = self.room() // len(self._workers)
            for worker in self._workers.values():
                worker.grant(share)

    # --- segments

    def adopt(self, maker: str, name: int, fd: int) -> Lot:
        """Take in a segment.

        Args:
            maker: whose it is.
            name: how its maker calls it.
            fd: its descriptor, which is closed here, sooner or later.

        Raises:
            InvalidParams: it is none.
            NoSharedMemory: there would be more than there may be.
        """
        size = os.fstat(fd).st_size
        try:
            self._check(maker, size, fd)
        except BaseException:
            os.close(fd)
            raise
        known = self._by_name.get((maker, name))
        if known is not None:
            self._drop(known)
        lot = Lot(self._next, maker, name, fd, size)
        self._next += 1
        self._lots[lot.number] = self._by_name[maker, name] = lot
        self.nbytes += size
        self.touch(lot)
        self._grant()
        self._look_later()
        return lot

    def _check(self, maker: str, size: int, fd: int) -> None:
        if not segments.is_sealed(fd) or size <= segments.HEAD:
            raise InvalidParams(
                "a descriptor came that is no segment of shared memory", hint="memfd_create, sealed against shrinking"
            )
        if maker in self._workers:
            return  # it was granted
        if self._is_full(size):
            self._look(PRESSED)
        if self._is_full(size) or is_scarce():
            raise NoSharedMemory(
                f"{len(self)} segments with {self.nbytes} bytes of shared memory are in use, and {size} bytes more are"
                " too many",
                hint="the data goes by the socket instead; limits.shared_bytes is the limit",
                data={"limit": self.limit},
            )

    def _is_full(self, size: int) -> bool:
        return self.nbytes + size > self.limit or len(self._lots) >= self._most

    def find(self, maker: str, name: int) -> Lot:
        """A segment by its maker's name for it.

        Raises:
            UnknownSegment: there is none.
        """
        lot = self._by_name.get((maker, name))
        if lot is None:
            raise UnknownSegment(f"there is no segment {name}", hint="pass its descriptor once more")
        self.touch(lot)
        return lot

    def touch(self, lot: Lot) -> None:
        """It is used."""
        lot.used_at = self._clock.monotonic()

    def ended(self, lot: Lot, turn: int) -> None:
        """The job has ended that was called with what lay in it when it was its turn."""
        if turn != lot.turn:
            return  # it was freed then, and another job is to be called with it
        lot.wanted = False
        if lot.fd < 0:
            return
        if lot.orphan:
            self._drop(lot)
        elif not lot.answered:
            if lot.begun:  # whoever ran it, or a child of its, might still look at it
                self.retire(lot)
            else:
                lot.write(segments.USED, 0)

    def pass_on(self, lot: Lot, session: str) -> bool:
        """A session is given what lies in it; returns whether it has to be given the descriptor as well."""
        lot.holder = session
        new = session not in lot.known
        lot.known.add(session)
        return new

    def unheard(self, lot: Lot) -> None:
        """Nobody is there any more who was to be given what lies in it."""
        lot.holder = ""
        if lot.fd >= 0:
            lot.write(segments.USED, 0)

    def retire(self, lot: Lot) -> None:
        """Nobody can free it any more: it is never filled again."""
        lot.write(segments.RETIRED, 1)
        worker = self._workers.get(lot.maker)
        if worker is None:
            self._drop(lot)
        else:
            worker.forget_segment(lot)  # and says when: something that lies in it may be on its way

    def dropped(self, maker: str, name: int) -> None:
        """Its maker has given it up."""
        lot = self._by_name.get((maker, name))
        if lot is not None:
            self._drop(lot)
            self._grant()

    def _drop(self, lot: Lot) -> None:
        if self._lots.pop(lot.number, None) is None:
            return
        if self._by_name.get((lot.maker, lot.name)) is lot:
            del self._by_name[lot.maker, lot.name]
        self.nbytes -= lot.size
        lot.write(segments.RETIRED, 1)
        for key in lot.known & self._workers.keys():
            self._workers[key].forget_segment(lot)
        if not lot.word(segments.USED) and not lot.word(segments.SHARED):
            _give_back(lot.fd)
        os.close(lot.fd)
        lot.fd = -1

    # --- what is idle

    def _look_later(self) -> None:
        if self._timer is None and self._lots:
            self._timer = self._clock.later(IDLE, self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        self._look(IDLE)
        self._look_later()

    def _look(self, idle: float) -> None:
        """Give up what others have retired, and what nobody has used for ``idle`` seconds."""
        now = self._clock.monotonic()
        for lot in sorted(self._lots.values(), key=lambda lot: lot.used_at):
            if lot.wanted or lot.word(segments.USED):
                continue
            if lot.maker in self._workers:
                if lot.word(segments.RETIRED) or now - lot.used_at >= idle:
                    self._workers[lot.maker].forget_segment(lot)
            elif lot.word(segments.RETIRED):
                self._drop(lot)
            elif now - lot.used_at >= idle:
                lot.write(segments.RETIRED, 1)
                self._clock.later(SETTLE, self._settle, lot)
        self._grant()

    def _settle(self, lot: Lot) -> None:
        """Nobody can have begun to fill it unawares: it goes, unless somebody had before, who sends it after all."""
        if lot.number in self._lots and not lot.word(segments.USED):
            self._drop(lot)
            self._grant()

    def close(self) -> None:
        """The daemon ends."""
        if self._timer is not None:
            self._timer.cancel()
        for lot in list(self._lots.values()):
            self._drop(lot)


def _give_back(fd: int) -> None:
    """Have the system take the data of a segment back, whoever has it mapped."""
    with contextlib.suppress(OSError, ValueError), mmap.mmap(fd, os.fstat(fd).st_size) as whole:
        whole.madvise(getattr(mmap, "MADV_REMOVE", 9), segments.HEAD)
