"""Results on their way from a worker to the daemon, kept in the shared page until they are sent.

Coalesced: small results leave together, when a millisecond has passed since the last ones left or the worker runs out
of work. Those that wait behind a job that turns out to be a long one are taken from the page by the daemon.

Standard library only.
"""

from __future__ import annotations

import mmap
import resource
import socket
import struct
import threading
from typing import TYPE_CHECKING

from stokerd.pool import messages, page

if TYPE_CHECKING:
    from stokerd.pool.parcels import Laid

_LENGTH = struct.Struct("<I")


class Outbox:
    """Collects results of consecutive jobs and sends them as one message.

    Args:
        channel: to the daemon.
        memory: the shared page.
        sending: held while a message leaves; a job's own threads may send too.
    """

    __slots__ = (
        "_bytes",
        "_channel",
        "_count",
        "_cpu",
        "_first",
        "_page",
        "_ran",
        "_send",
        "_sending",
        "_view",
        "_words",
        "commands",
        "peak",
    )

    def __init__(self, channel: socket.socket, memory: mmap.mmap, sending: threading.Lock) -> None:
        self._sending = sending
        self._channel, self._send = channel, channel.sendall
        self._page = memory
        self._view = memoryview(memory)
        self._words = page.words(memory)
        self._first = self._count = self._bytes = self._ran = 0
        self._cpu = _cpu_of(resource.getrusage(resource.RUSAGE_SELF))
        self.peak = 0
        """The most resident memory of this process at the last flush, KiB."""
        self.commands: resource.struct_rusage | None = None
        """What a command used that has just ended."""

    def add(self, seq: int, data: bytes, ran: int, *, error: bool) -> None:
        """Take one result; ``ran`` is its run time in ns."""
        size, count, words = len(data), self._count, self._words
        if count and (
            seq != self._first + count or count == page.OUTBOX_JOBS or self._bytes + size > page.OUTBOX_BYTES
        ):
            self.flush()
            count = 0
        length = size | messages.ERROR if error else size
        if size > page.OUTBOX_BYTES:
            self._send_large(seq, data, length, ran)
            return
        if not count:
            self._first = words[page.OUTBOX_FIRST] = seq
        before = self._bytes
        at = page.AT_BLOB + before
        self._view[at : at + size] = data
        _LENGTH.pack_into(self._page, page.AT_LENGTHS + 4 * count, length)
        self._count = count = count + 1
        self._bytes = after = before + size
        self._ran = words[page.OUTBOX_RAN] = self._ran + ran
        # Last, after the data, and at once: from here on this result survives the worker's death.
        words[page.OUTBOX] = after << 32 | count

    def add_laid(self, seq: int, laid: Laid, ran: int) -> None:
        """Send one result that lies in shared memory."""
        self.flush()
        cpu, resident = self._usage()
        size = len(laid.parcel)
        message = b"".join(
            (
                messages.pack(messages.LAID, seq=seq, extra=laid.segment, count=int(laid.fd >= 0)),
                messages.pack(
                    messages.RESULTS,
                    size=4 + size,
                    seq=seq,
                    extra=ran,
                    usage=cpu,
                    resident=resident,
                    count=1,
                    form=messages.PARCEL,
                ),
                _LENGTH.pack(size),
                laid.parcel,
            )
        )
        with self._sending:
            if laid.fd < 0:
                self._send(message)
                return
            beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("=i", laid.fd))]
            sent = self._channel.sendmsg((message,), beside)
            self._send(message[sent:])

    def flush(self) -> None:
        """Send what there is."""
        count, size = self._count, self._bytes
        if not count:
            return
        lengths = self._view[page.AT_LENGTHS : page.AT_LENGTHS + 4 * count]
        blob = self._view[page.AT_BLOB : page.AT_BLOB + size]
        cpu, resident = self._usage()
        head = messages.pack(
            messages.RESULTS,
            size=4 * count + size,
            seq=self._first,
            extra=self._ran,
            usage=cpu,
            resident=resident,
            count=count,
        )
        with self._sending:
            self._send(b"".join((head, lengths, blob)))
        self._count = self._bytes = self._ran = 0
        self._words[page.OUTBOX] = 0

    def _send_large(self, seq: int, data: bytes, length: int, ran: int) -> None:
        cpu, resident = self._usage()
        head = messages.pack(
            messages.RESULTS, size=4 + len(data), seq=seq, extra=ran, usage=cpu, resident=resident, count=1
        )
        with self._sending:
            self._send(head + _LENGTH.pack(length))
            self._send(data)

    def _usage(self) -> tuple[int, int]:
        """CPU time in ns since the last results, and the most resident memory in KiB."""
        own = resource.getrusage(resource.RUSAGE_SELF)
        now = _cpu_of(own)
        cpu, self._cpu = now - self._cpu, now
        resident = self.peak = own.ru_maxrss
        if self.commands is not None:
            cpu += _cpu_of(self.commands)
            resident = self.commands.ru_maxrss  # the worker itself does nothing but wait for it
            self.commands = None
        return max(0, cpu), min(resident, 0xFFFF_FFFF)


def _cpu_of(usage: resource.struct_rusage) -> int:
    """User and system time, ns."""
    return int((usage.ru_utime + usage.ru_stime) * 1e9)
