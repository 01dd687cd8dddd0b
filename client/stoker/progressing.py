"""``stoker.progress``: a job says how far it has come."""

from __future__ import annotations

import math
import os
import sys

from stoker.errors import InvalidParams


def progress(done: float, total: float | None = None, note: str = "") -> None:
    """Say how far the job has come that calls this: in ``stoker job`` and ``stoker jobs --json``, in events, and as a
    bar for whoever waits. Cheap enough for an inner loop: a function's worker passes it on at most every 50 ms.

    Outside of a job it does nothing, so a function that calls it can be called directly as well.

    Args:
        done: how much is done, in whatever unit, from 0.
        total: of how much; None: nobody knows.
        note: a word on what is being done.

    Raises:
        InvalidParams: a number is negative or no number.
    """
    for what, number in (("done", done), ("total", total)):
        if number is not None and not (number >= 0 and math.isfinite(number)):
            raise InvalidParams(f"progress: {what} is {number!r}", hint="count up from 0")
    worker = sys.modules.get("stokerd.pool.progress")
    if worker is not None and worker.tell is not None:
        worker.tell(float(done), None if total is None else float(total), str(note))
        return
    job = os.environ.get("STOKER_JOB", "")
    if job.isdecimal() and int(job):
        from stoker.default import default_client

        default_client().connection.call(
            "progress", {"id": int(job), "done": done, "total": total, "note": str(note)[:256]}
        )
