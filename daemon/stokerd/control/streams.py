"""A submit that is answered in parts, as results come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stoker.protocol import typed
from stoker.protocol.codec import Frame
from stoker.protocol.states import JobState
from stokerd.clock import Clock, Timer
from stokerd.control.caller import Part
from stokerd.pool.batch import Batch, Piece

TELL_IDS_AFTER = 0.02
"""Seconds after which a stream that has not ended tells the ids of its jobs, unless it was asked to at once."""


class ResultStream:
    """Sends each piece of each batch on as it comes; the last one is marked by having no ``more``.

    Args:
        batches: of one request, in order, not yet submitted.
        tell_ids: begin with the ids.
    """

    def __init__(self, clock: Clock, batches: Sequence[Batch], *, tell_ids: bool) -> None:
        self._clock, self._batches, self._tell_ids = clock, batches, tell_ids
        self._left = len(batches)
        self._send: Part | None = None
        self._early: list[tuple[dict[str, Any], Sequence[Frame], bool]] = []
        self._timer: Timer | None = None
        self._numbers = {id(batch): number for number, batch in enumerate(batches)}
        for batch in batches:
            batch.on_piece.append(self._piece)

    def start(self, send: Part) -> None:
        """From now on, parts go to ``send``."""
        self._send = send
        if self._tell_ids:
            self._ids()
        elif self._left:
            self._timer = self._clock.later(TELL_IDS_AFTER, self._ids)
        for part in self._early:
            send(*part)
        self._early.clear()

    def _tell(self, part: dict[str, Any], payload: Sequence[Frame], more: bool) -> None:  # noqa: FBT001 - as Part
        if self._send is None:  # it ended while it was submitted
            self._early.append((part, payload, more))
        else:
            self._send(part, payload, more)

    def _ids(self) -> None:
        self._timer = None
        jobs = [
            {
                "id": batch.first_id,
                "count": batch.count,
                "state": str(batch.state(0)),
                "name": batch.name,
                "pool": batch.pool,
            }
            for batch in self._batches
        ]
        self._tell({"jobs": jobs}, (), True)

    def _piece(self, batch: Batch, piece: Piece) -> None:
        if batch.over:
            self._left -= 1
            batch.on_piece.remove(self._piece)
        part: dict[str, Any] = {
            "spec": self._numbers[id(batch)],
            "id": batch.first_id + piece.first,
            "first": piece.first,
            "count": piece.count,
        }
        if piece.state is not JobState.DONE:
            part["state"] = str(piece.state)
        if piece.error is not None:
            part["error"] = typed.to_map(piece.error)
        else:
            part["lengths"] = piece.lengths
        more = self._left > 0
        if not more and self._timer is not None:
            self._timer.cancel()
        self._tell(part, (piece.blob,) if piece.error is None else (), more)
