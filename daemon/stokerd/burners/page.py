"""The memory that the daemon shares with one burner process: orders one way, figures the other.

Both sides write *sealed* records: the packed values and their CRC, put in place by one copy. A reader takes a record
only if its seal is right, so it never sees half of one, whatever the machine's memory ordering, and a writer that is
killed in the middle leaves a record that nobody believes, not a lock that nobody releases.

========  ====================================================================================
at byte   what
========  ====================================================================================
0         the order: written by the daemon, looked at by the process on every tick
128       the number of the newest tick: a hint for where in the ring to look
192       a note of the process about itself, for people: at most 240 bytes of UTF-8
512       a ring of the last 120 ticks, one record of 72 bytes each: written by the process
========  ====================================================================================

Standard library only: it is imported by the daemon and, under another interpreter, by the process.
"""

from __future__ import annotations

import mmap
import struct
from binascii import crc32
from typing import NamedTuple

PAGE_BYTES = 12288
RING = 120
"""Ticks kept: a second and a fifth, so that the start of the last second is still there while a reader looks."""

NOTE_BYTES = 240

_ORDER_AT, _NEWEST_AT, _NOTE_AT, _RING_AT, _SLOT = 0, 128, 192, 512, 72
_ORDER = struct.Struct("=Idd?")
_RECORD = struct.Struct("=QQIIddddd")
_NOTE = struct.Struct(f"=H{NOTE_BYTES}s")
_SEAL = struct.Struct("=I")
_COUNTER = struct.Struct("@Q")


class Order(NamedTuple):
    """What a process is to do.

    Args:
        epoch: number of the target; figures of different epochs are never mixed.
        target: share of one core, 0 to 1.
        deadline: when to end by itself, seconds of CLOCK_MONOTONIC; ``inf``: never.
        stop: end at the next tick.
    """

    epoch: int
    target: float
    deadline: float
    stop: bool = False


class Record(NamedTuple):
    """What a process found at one tick. All figures are of the same moment.

    ``wanted = cpu + forgiven + debt`` at every tick.

    Args:
        tick: its number, from 1.
        since: number of the tick from which on the target of this epoch counts.
        epoch: the order that is in effect from this tick on.
        observed: the last epoch whose load has been observed.
        wall: seconds of CLOCK_MONOTONIC.
        cpu: CPU seconds burnt since the first tick.
        wanted: the integral of the target since the first tick, in CPU seconds.
        forgiven: CPU seconds that were wanted and will not be caught up; negative: burnt and not wanted.
        work: what got done since the first tick, in the kind's unit of work.
    """

    tick: int
    since: int
    epoch: int
    observed: int
    wall: float
    cpu: float
    wanted: float
    forgiven: float
    work: float = 0.0

    @property
    def debt(self) -> float:
        """CPU seconds that are still owed; negative: burnt in advance."""
        return self.wanted - self.cpu - self.forgiven


class Page:
    """One shared page, for either side.

    Args:
        memory: at least :data:`PAGE_BYTES`, zeroed at first.
    """

    __slots__ = ("_memory",)

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory

    def give(self, order: Order) -> None:
        """Put an order in place of the last one."""
        self._put(_ORDER_AT, _ORDER.pack(*order))

    def order(self) -> Order | None:
        """The order; None: there is none yet, or it is being written."""
        packed = self._get(_ORDER_AT, _ORDER.size)
        return None if packed is None else Order(*_ORDER.unpack(packed))

    def write(self, record: Record) -> None:
        """Add the newest tick, in place of the oldest."""
        self._put(_RING_AT + record.tick % RING * _SLOT, _RECORD.pack(*record))
        _COUNTER.pack_into(self._memory, _NEWEST_AT, record.tick)

    def record(self, tick: int) -> Record | None:
        """The record of this tick; None: not there any more, not there yet, or being written."""
        packed = self._get(_RING_AT + tick % RING * _SLOT, _RECORD.size)
        if packed is None:
            return None
        record = Record(*_RECORD.unpack(packed))
        return record if record.tick == tick else None

    def newest(self) -> Record | None:
        """The newest record that is complete; None: no tick yet."""
        tick: int = _COUNTER.unpack_from(self._memory, _NEWEST_AT)[0]
        return self.record(tick) or (self.record(tick - 1) if tick > 1 else None)

    def oldest(self) -> Record | None:
        """The oldest record that is there; None: no tick yet."""
        newest = self.newest()
        if newest is None:
            return None
        first = max(1, newest.tick - RING + 1)
        return next((record for tick in range(first, newest.tick + 1) if (record := self.record(tick))), None)

    def set_note(self, text: str) -> None:
        """Leave a note; what is too long is cut."""
        note = text.encode("utf-8", "replace")[:NOTE_BYTES]
        self._put(_NOTE_AT, _NOTE.pack(len(note), note))

    def note(self) -> str:
        """The note; empty: there is none, or it is being written."""
        packed = self._get(_NOTE_AT, _NOTE.size)
        if packed is None:
            return ""
        length, note = _NOTE.unpack(packed)
        return bytes(note[:length]).decode("utf-8", "ignore")

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()

    def _put(self, at: int, packed: bytes) -> None:
        sealed = packed + _SEAL.pack(crc32(packed))
        self._memory[at : at + len(sealed)] = sealed

    def _get(self, at: int, size: int) -> bytes | None:
        sealed = self._memory[at : at + size + _SEAL.size]
        packed = sealed[:size]
        return packed if _SEAL.unpack(sealed[size:])[0] == crc32(packed) else None
