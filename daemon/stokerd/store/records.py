"""What the store keeps: batches of like jobs as they were accepted, and what happened to them since.

Every ``bytes`` here is opaque to the store. It numbers nothing and decides nothing about jobs: it gives back what it
was handed, whole and in order.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """One batch of like jobs, as accepted.

    Args:
        first_id: the id of its first job; ``first_id`` to ``first_id + count - 1`` are its own.
        count: how many jobs.
        key: the idempotency key, unique among the batches that are kept; None for none.
        head: everything else that the pool wants back; some KiB at most, since it is always in the database.
        lengths: one unsigned 32-bit little-endian number per job.
        payload: all arguments. What is behind a large memoryview must not change until the promise is settled.
    """

    first_id: int
    count: int
    key: str | None
    head: bytes
    lengths: bytes
    payload: bytes | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Something happened to some jobs of a batch.

    Args:
        batch: its ``first_id``.
        first: index in the batch of the first job that it happened to.
        count: how many jobs, beginning with that one.
        note: what happened; small, always in the database.
        data: values or output; may be large. A large memoryview is held until it is written, as in :class:`Accepted`.
    """

    batch: int
    first: int
    count: int
    note: bytes
    data: bytes | memoryview = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is found of a batch at the start.

    Args:
        accepted: the batch.
        moves: what happened to it, in the order in which it was handed over.
        damaged: what is wrong with its files, for people; "" when all is there. What could not be read is empty
            (``lengths`` and ``payload`` of the batch, or ``data`` of a move).
    """

    accepted: Accepted
    moves: tuple[Move, ...]
    damaged: str = ""


def held(data: bytes | memoryview, large: int) -> bytes | memoryview:
    """What can safely be kept until it is written.

    Up to ``large`` bytes are copied, so that a slice does not keep the whole message that it was cut from. More is held
    by a view of its own, which keeps the memory alive even when the giver releases theirs.
    """
    if type(data) is bytes:
        return data
    return bytes(data) if memoryview(data).nbytes <= large else memoryview(data).cast("B")
