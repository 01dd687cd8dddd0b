"""The memory that a worker shares with the daemon: what it is doing, and the results it has not sent yet.

It costs no message and survives the worker's death by SIGKILL. From it the daemon knows exactly which job a dead worker
was running (claimed and not done), which had ended though their results were still unsent (the outbox), and which had
not been started. Each field has one writer.

Fields are words of 64 bits, written and read whole by :func:`words`: a reader on another core, or a SIGKILL, finds the
old value or the new one. (``struct.pack_into`` clears its target first and then fills it byte by byte: a reader would
now and then find a 0, or half a number.)

A worker claims a job by writing :data:`CLAIMED` and only then reading :data:`TAKEN`; the daemon writes :data:`TAKEN`,
waits :data:`SETTLE`, and only then reads :data:`CLAIMED`. So a job is either claimed or taken back, never both: the
delay outlasts by orders of magnitude the time that a store needs to become visible to another core.

Standard library only: the worker's end runs in any interpreter.
"""

from __future__ import annotations

import mmap

SIZE = 64 * 1024
SETTLE = 0.001
"""Seconds between taking jobs back and believing :data:`CLAIMED`."""

CLAIMED = 0
"""The seq of the job that is being run, or was run last. Writer: worker."""
STARTED = 1
"""When it was claimed, ns of the monotonic clock; written before :data:`CLAIMED`. Writer: worker."""
DONE = 2
"""The seq of the last job that ended. Writer: worker."""
COMMAND = 3
"""Process id, and group, of the command that is running; 0 for none. Writer: worker."""
PROGRESS = 4
"""The seq of the job that the next two are about. Writer: worker, as of those."""
PROGRESS_DONE = 5
"""How much of it is done, the bits of a double."""
PROGRESS_TOTAL = 6
"""Of how much; negative: nobody knows."""
CANCEL = 8
"""The seq of the job that SIGINT and SIGTERM are meant for. Writer: daemon."""
TAKEN = 9
"""Jobs with a lower seq that are not claimed yet were taken back, and must not be run. Writer: daemon."""
ROOM = 10
"""Bytes of shared memory that it may make for large results. Writer: daemon."""
OUTBOX_FIRST = 16
"""The seq of the first result in the outbox. Writer: worker, as of the next two."""
OUTBOX_RAN = 17
"""Run time of all of them together, ns."""
OUTBOX = 18
"""How many there are, and above bit 32 how many bytes they have: one word, because this is what makes them count."""

COUNT = 0xFFFF_FFFF
"""The bits of :data:`OUTBOX` that hold the number of results."""

HEAD = 256
"""Bytes of the words, and some to spare."""
AT_LENGTHS = 4096
OUTBOX_JOBS = 1024
AT_BLOB = AT_LENGTHS + 4 * OUTBOX_JOBS
OUTBOX_BYTES = SIZE - AT_BLOB


def words(memory: mmap.mmap | bytearray) -> memoryview:
    """The head of the page as words. To be released before the memory can be closed."""
    return memoryview(memory)[:HEAD].cast("Q")
