"""Taking results apart: which of a bulk are errors, and what an error says."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterator
from typing import Any

from stoker.errors import JobError, MalformedMessage
from stoker.protocol import codec
from stoker.protocol.models import ErrorInfo
from stoker.protocol.states import JobState
from stokerd.pool import messages
from stokerd.pool.batch import Batch, Piece

KEPT_ERRORS = 1000
"""Batches with more jobs keep the errors of their jobs only where they keep values too."""


def runs(lengths: array[int], blob: bytes) -> Iterator[tuple[int, array[int], bytes, bool]]:
    """Cut a bulk of results into runs as (first, lengths, blob, failed); each failed job is a run of its own."""
    if max(lengths) < messages.ERROR:
        yield 0, lengths, blob, False
        return
    first = at = 0
    for failed, group in itertools.groupby(lengths, lambda length: length >= messages.ERROR):
        part = array("I", group)
        for piece in (array("I", (length,)) for length in part) if failed else (part,):
            size = sum(length & messages.LENGTH for length in piece)
            yield first, piece, blob[at : at + size], failed
            first += len(piece)
            at += size


def keep_error(batch: Batch, index: int, packed: bytes) -> None:
    """Remember why a job failed."""
    if batch.keep or batch.count <= KEPT_ERRORS:
        batch.values[index] = packed


def pieces_of(batch: Batch) -> Iterator[Piece]:
    """What has been told of a batch so far, again: for whoever comes later."""
    for index in range(batch.count):
        if not batch.is_ended(index):
            continue
        state, error, value = batch.state(index), batch.errors.get(index), batch.values.get(index)
        if value is not None and state in (JobState.DONE, JobState.FAILED):
            mark = messages.ERROR if state is JobState.FAILED else 0
            yield Piece(index, 1, array("I", (len(value) | mark,)).tobytes(), value, state)
            continue
        if error is None:
            error = ErrorInfo(
                code=JobError.code,
                message=f"job {batch.first_id + index} is {state}, and its value is no longer kept",
                hint="submit it under another key, or with a longer ttl",
            )
        yield Piece(index, 1, b"", b"", state, error)


def classes_of(packed: bytes) -> tuple[str, ...]:
    """The classes that a job's exception is of, its own first, as the worker packed them; empty where it was none."""
    try:
        told: Any = codec.unpack(packed)
    except MalformedMessage:
        return ()
    names = told.get("bases", ()) if isinstance(told, dict) else ()
    return tuple(str(name) for name in names) if isinstance(names, list | tuple) else ()


def read_error(packed: bytes) -> ErrorInfo:
    """The error that a worker packed, without the pickled exception. Whatever the bytes are, there is an answer."""
    try:
        told: Any = codec.unpack(packed)
    except MalformedMessage:
        told = None
    if not isinstance(told, dict):
        return ErrorInfo(code="job-failed", message="the worker reported a failure that can't be read")
    data = told.get("data")
    return ErrorInfo(
        code=str(told.get("code", "job-failed")),
        message=str(told.get("message", "")),
        hint=str(told.get("hint", "")),
        type=str(told.get("type", "")),
        traceback=str(told.get("traceback", "")),
        data=data if isinstance(data, dict) else {},
    )
