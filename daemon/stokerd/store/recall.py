"""Rows and files back into what was handed over."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from stokerd.store.database import BatchRow, Found, MoveRow
from stokerd.store.payloads import Payloads
from stokerd.store.records import Accepted, Kept, Move


def recall(found: Found, payloads: Payloads) -> Iterator[Kept]:
    """Each batch with its moves. What is missing of its files is said in ``damaged``, and left empty."""
    moves = itertools.groupby(found.moves, key=lambda row: row[0])
    moved, rows = next(moves, (None, None))
    for batch in found.batches:
        while moved is not None and moved < batch[0]:  # of a batch that is gone
            moved, rows = next(moves, (None, None))
        if moved == batch[0] and rows is not None:
            yield _kept(batch, list(rows), payloads)
        else:
            yield _kept(batch, [], payloads)


def _kept(row: BatchRow, moves: list[MoveRow], payloads: Payloads) -> Kept:
    damages: list[str] = []
    accepted = _accepted(row, payloads, damages)
    return Kept(
        accepted=accepted,
        moves=tuple([_move(move, payloads, damages) for move in moves]),
        damaged="; ".join(damages),
    )


def _accepted(row: BatchRow, payloads: Payloads, damages: list[str]) -> Accepted:
    first_id, count, key, head, lengths, payload, file, lengths_size, payload_size = row
    if file is not None:
        whole = memoryview(_read(file, lengths_size + payload_size, payloads, damages))
        lengths, payload = bytes(whole[:lengths_size]), whole[lengths_size:]
    return Accepted(first_id=first_id, count=count, key=key, head=head, lengths=lengths, payload=payload)


def _move(row: MoveRow, payloads: Payloads, damages: list[str]) -> Move:
    batch, first, count, note, data, file, data_size = row
    if file is not None:
        data = _read(file, data_size, payloads, damages)
    return Move(batch=batch, first=first, count=count, note=note, data=data)


def _read(file: int, size: int, payloads: Payloads, damages: list[str]) -> bytes:
    try:
        return payloads.read(file, size)
    except (OSError, ValueError) as error:
        damages.append(str(error))
        return b""
