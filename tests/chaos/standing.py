"""A daemon that goes as far as one step in the life of a durable job, and stands there: to be killed exactly there.

``python standing.py STEP MARK ARGUMENT…`` is ``stokerd ARGUMENT…``, but for that one step, at which the file MARK
appears and the thread that is at it does not go on. Nothing in the product knows of this.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stoker.protocol import codec
from stokerd.__main__ import main
from stokerd.pool import ledger as jobs
from stokerd.store import ledger as disk
from stokerd.store.orders import Accepts


def stand() -> None:
    """Say so, and never go on."""
    Path(sys.argv[2]).touch()
    threading.Event().wait()


def before(owner: Any, name: str, meant: Callable[..., bool]) -> None:
    """Stand where the method is called with what is meant, and nothing of it has been done."""
    original = getattr(owner, name)

    def replacement(*args: Any, **kwargs: Any) -> Any:
        if meant(*args):
            stand()
        return original(*args, **kwargs)

    setattr(owner, name, replacement)


def after(owner: Any, name: str, meant: Callable[..., bool]) -> None:
    """Stand where all of it has been done."""
    original = getattr(owner, name)

    def replacement(*args: Any, **kwargs: Any) -> Any:
        done = original(*args, **kwargs)
        if meant(*args):
            stand()
        return done

    setattr(owner, name, replacement)


def durable(_self: object, batches: Any) -> bool:
    """Whether a durable job is among those that are being accepted."""
    return any(batch.options.durable for batch in batches)


def one_durable(_self: object, batch: Any, *_: object) -> bool:
    """Whether it is one."""
    return bool(batch.options.durable)


def accepts(_self: object, work: Any) -> bool:
    """Whether the group that is written has a new batch."""
    return any(isinstance(order, Accepts) for order in work)


def tells(what: str) -> Callable[..., bool]:
    """Whether the group that is written tells that something happened to a job."""

    def meant(_self: object, work: Any) -> bool:
        moves = [move for order in work if not isinstance(order, Accepts) for move in order.items]
        notes = [move.note for move in moves if move.note]  # an empty one tells of ids, and of no job
        return any(codec.unpack(note, limit=len(note))[0] == what for note in notes)

    return meant


STEPS: dict[str, Callable[[], None]] = {
    "accept": lambda: before(jobs.Ledger, "accept", durable),
    "accept-commit": lambda: before(disk.Ledger, "write", accepts),
    "accept-committed": lambda: after(disk.Ledger, "write", accepts),
    "dispatch": lambda: before(jobs.Ledger, "started", one_durable),
    "dispatch-commit": lambda: before(disk.Ledger, "write", tells(jobs.STARTED)),
    "dispatch-committed": lambda: after(disk.Ledger, "write", tells(jobs.STARTED)),
    "complete": lambda: before(jobs.Ledger, "ended", one_durable),
    "complete-commit": lambda: before(disk.Ledger, "write", tells(jobs.ENDED)),
    "complete-committed": lambda: after(disk.Ledger, "write", tells(jobs.ENDED)),
    "again-commit": lambda: before(disk.Ledger, "write", tells(jobs.AGAIN)),
    "again-committed": lambda: after(disk.Ledger, "write", tells(jobs.AGAIN)),
    "return-commit": lambda: before(disk.Ledger, "write", tells(jobs.RETURNED)),
}

if __name__ == "__main__":
    STEPS[sys.argv[1]]()
    sys.exit(main(sys.argv[3:]))
