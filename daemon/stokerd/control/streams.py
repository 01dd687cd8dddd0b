"""A submit that is answered in parts, as results come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stoker.protocol import typed
from stoker.protocol.codec import Frame
from stoker.protocol.framing import Descriptor
from stoker.protocol.states import JobState
from stokerd.control.caller import Part, Session
from stokerd.depot import Depot, Lot
from stokerd.overdue import Overdue
from stokerd.pool.batch import Batch, Piece
from stokerd.pool.results import pieces_of

TELL_IDS_AFTER = 0.02
"""Seconds after which a stream that has not ended tells the ids of its jobs, unless it was asked to at once."""


class ResultStream:
    """Sends each piece of each batch on as it comes; the last one is marked by having no ``more``.

    First :meth:`listen` to every batch that is going to be submitted, then submit, then :meth:`begin` with what that
    came to, then :meth:`start`.

    Args:
        late: tells it when it has taken :data:`TELL_IDS_AFTER`.
        tell_ids: begin with the ids.
        session: who is told.
        depot: where values in shared memory are kept; without it, there are none.
    """

    def __init__(
        self, late: Overdue, *, tell_ids: bool, session: Session | None = None, depot: Depot | None = None
    ) -> None:
        self._late, self._tell_ids = late, tell_ids
        self._session, self._depot = session, depot
        self._batches: Sequence[Batch] = ()
        self._numbers: dict[Batch, list[int]] = {}
        self._left = 1
        self._send: Part | None = None
        self._early: list[tuple[dict[str, Any], Sequence[Frame], bool]] = []
        self._heard: list[tuple[Batch, Piece, bool]] | None = []
        """What was told before it was known which entries the batches are."""

    def listen(self, batch: Batch) -> None:
        """Hear what a batch tells from now on."""
        batch.on_piece.append(self._hear)

    def begin(self, asked: Sequence[Batch], batches: Sequence[Batch]) -> None:
        """What the request has come to.

        Args:
            asked: those that were listened to.
            batches: in order, those that there are: the same, and others where a key was known.
        """
        self._batches = batches
        for number, batch in enumerate(batches):
            self._numbers.setdefault(batch, []).append(number)
        self._left = len(self._numbers)
        heard, self._heard = self._heard or [], None
        for told in heard:
            self._tell_piece(*told)
        if asked == batches:  # there was no key that was known
            return
        for batch in self._numbers.keys() - set(asked):
            self._join(batch)
        for batch in set(asked) - self._numbers.keys():
            batch.on_piece.remove(self._hear)

    def _join(self, batch: Batch) -> None:
        """One that was submitted before: what it has told already comes first."""
        pieces = list(pieces_of(batch))
        for piece in pieces:
            self._tell_piece(batch, piece, batch.over and piece is pieces[-1])
        if not batch.over:
            self.listen(batch)

    def start(self, send: Part) -> None:
        """From now on, parts go to ``send``."""
        self._send = send
        if self._tell_ids:
            self._ids()
        elif self._left:
            self._late.add(self.be_late)
        for part in self._early:
            send(*part)
        self._early.clear()

    def _tell(self, part: dict[str, Any], payload: Sequence[Frame], more: bool) -> None:  # noqa: FBT001 - as Part
        if self._send is None:  # it ended while it was submitted
            self._early.append((part, payload, more))
        else:
            self._send(part, payload, more)

    def be_late(self) -> None:
        """Its time is over: where it has not ended, the ids of its jobs are told now."""
        if self._left:
            self._ids()

    def _ids(self) -> None:
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

    def _hear(self, batch: Batch, piece: Piece) -> None:
        if batch.over:
            batch.on_piece.remove(self._hear)
        if self._heard is not None:
            self._heard.append((batch, piece, batch.over))
        else:
            self._tell_piece(batch, piece, batch.over)

    def _tell_piece(self, batch: Batch, piece: Piece, final: bool) -> None:  # noqa: FBT001 - whether it is the last
        if final:
            self._left -= 1
        part: dict[str, Any] = {
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
        if batch.trace is not None and batch.count == 1:
            part["trace"] = [*batch.trace.marks, self._late.clock.monotonic()]
        *others, last = self._numbers[batch]
        payload: Sequence[Frame] = (piece.blob,) if piece.error is None else ()
        if piece.lot is not None:
            payload = self._hand_over(piece.lot, piece.blob, part)
        for number in others:
            self._tell({"spec": number, **part}, payload, True)
        more = self._left > 0
        self._tell({"spec": last, **part}, payload, more)

    def _hand_over(self, lot: Lot, parcel: Frame, part: dict[str, Any]) -> Sequence[Frame]:
        """Give what lies in shared memory to whoever asked; the payload of the part."""
        session, depot = self._session, self._depot
        if session is None or depot is None or session.gone:
            if depot is not None:
                depot.unheard(lot)
            return (parcel,)
        part["segment"] = lot.number
        return (parcel, Descriptor(lot.fd)) if depot.pass_on(lot, session.id) else (parcel,)
