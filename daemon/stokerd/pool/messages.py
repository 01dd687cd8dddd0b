"""What daemon and worker say to each other over the worker's private socketpair.

Every message is a fixed header and a body of ``size`` bytes. Jobs and results travel in bulk: one header for ``count``
consecutive jobs, an array of lengths (unsigned 32-bit, little-endian), then one blob. The daemon never looks into the
blob. Shared by both ends, and the worker's end runs in any interpreter: standard library only.

``seq`` numbers the jobs that were ever handed to one worker, from 1; it is what the shared page (see
:mod:`stokerd.pool.page`) speaks of, so that a late answer can't hit another job.
"""

from __future__ import annotations

import array
import socket
import struct
from collections import deque
from typing import NamedTuple

HEADER = struct.Struct("<QQQQIIHBB")
"""size, seq, extra, usage, resident, count, template length, op, form."""

RUN = 1
"""To the worker. Body: template | lengths | blob. ``extra`` is the id of the first job, ``usage`` the slots of each."""
FUNCTION = 2
"""To the worker. Body: template | code of the function."""
READY = 3
"""From the worker, once."""
RESULTS = 4
"""From the worker; ``extra`` is the run time in ns of all of them, ``usage`` the CPU time in ns since the last results,
``resident`` the most resident memory in KiB. Body: lengths | blob. ERROR in a length marks an error."""
OUTPUT = 5
"""From the worker, before the results: job ``seq`` wrote. ``extra`` is the end of stdout, the body that of stderr."""
RETURNED = 6
"""From the worker: it skipped these jobs, because they had been taken back."""

BEGIN = 7
"""To the worker, before any job. Body: template | payload of the function that it begins with."""
REFUSED = 8
"""From the worker, its last: what it was to begin with failed. Body: the packed error."""
PROGRESS = 9
"""From the worker: job ``seq`` says how far it has come. Body: JSON ``[done, total, note]``."""
STALE = 10
"""From the worker: a module that it has imported has changed since, or a cancel has interrupted an import of its.
It runs nothing that it has not begun."""

SHARE = 11
"""To the worker: from now on descriptors may come beside what it reads. It answers with the same word."""
SEGMENT = 12
"""To the worker: segment ``extra`` of shared memory, whose descriptor comes beside it."""
FORGET = 13
"""To the worker: segment ``extra`` is not used any more; with ``count`` 1, it is the worker's own of that number."""
LAID = 14
"""From the worker, right before the results: the value of job ``seq`` lies in its own segment ``extra``, whose
descriptor comes beside it where ``count`` is 1. The results have the parcel, see :mod:`stoker.protocol.segments`."""
DROPPED = 15
"""From the worker: its own segment ``extra`` is given up."""

FROM_WORKER = frozenset({READY, RESULTS, OUTPUT, RETURNED, REFUSED, PROGRESS, STALE, SHARE, LAID, DROPPED})
MAX_TOLD = 1 << 20
"""Bytes of the body of what a worker tells that is no result, at most."""

CALL, CHUNK, ITEM, NAMED, COMMAND = range(5)
"""Forms: pickled (args, kwargs); pickled list of items; pickled single argument; MessagePack [args, kwargs];
MessagePack map of a command."""

PARCEL = 0x40
"""With a form: the payload is a parcel of what lies in segment ``resident``. With results: so is the value."""
LAYS = 0x80
"""With a form: large values may be laid in shared memory."""
PLAIN_FORM = 0x3F

ERROR = 0x8000_0000
LENGTH = 0x7FFF_FFFF
"""A result's length is its low 31 bits: one value is under 2 GiB."""

OFFSET = struct.Struct("<Q")
PASSED = 64
"""Descriptors that are passed and received in one call, at most; the kernel takes 253."""
_BESIDE = socket.CMSG_SPACE(4 * PASSED)


class Header(NamedTuple):
    """A header, unpacked."""

    size: int
    seq: int
    extra: int
    usage: int
    resident: int
    count: int  # type: ignore[assignment] # a field, in place of the tuple's method
    template: int
    op: int
    form: int


def pack(  # noqa: PLR0913 - a header's fields, by name
    op: int,
    *,
    size: int = 0,
    seq: int = 0,
    extra: int = 0,
    usage: int = 0,
    resident: int = 0,
    count: int = 0,
    template: int = 0,
    form: int = 0,
) -> bytes:
    """A header as bytes."""
    return HEADER.pack(size, seq, extra, usage, resident, count, template, op, form)


def receive(channel: socket.socket, room: memoryview, passed: deque[int]) -> int:
    """Read into ``room``, as ``recv_into`` does; descriptors that come with it are added to ``passed``."""
    got, beside, _flags, _from = channel.recvmsg_into((room,), _BESIDE)
    for level, kind, data in beside:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds = array.array("i")
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
            passed.extend(fds)
    return got
