"""The process of one peer: ``python -m benchmarks.peers GROUP NAME SCRATCH FD``.

Reads lines ``{"measure": ..., "size": ...}`` from its standard input and answers each with a line of JSON to the
descriptor, for peers print what they like. The end of the input ends it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.peers.peer import Missing

_PR_SET_CHILD_SUBREAPER = 36


def answer(measures: Any, measure: str, size: int) -> dict[str, Any]:
    """One block; the reason where there is none."""
    begin = time.perf_counter()
    try:
        figures = getattr(measures, measure, lacking)(size)
    except Missing:
        return {"missing": True}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}".strip().splitlines()[0]}
    return {"figures": figures, "seconds": time.perf_counter() - begin}


def lacking(_: int) -> Any:
    """Stands for a measure that a peer has not got."""
    raise Missing


def main() -> None:
    group, name, scratch, descriptor = sys.argv[1:]
    # what a peer starts stays under this process, however it was started: who ends it ends all of it
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    entry: peers.Entry = getattr(peers, group)[name]
    file, _, kind = entry.adapter.partition(":")
    peer = getattr(import_module(f"benchmarks.peers.{file}"), kind)(Path(scratch), **entry.options)
    with os.fdopen(int(descriptor), "w", buffering=1) as out:

        def say(message: dict[str, Any]) -> None:
            out.write(json.dumps(message) + "\n")

        say(first(peer, entry))
        measures = peer.measures()
        for line in sys.stdin:
            asked = json.loads(line)
            say(answer(measures, asked["measure"], asked["size"]))
    with contextlib.suppress(Exception):
        peer.stop()
    os._exit(0)  # some peers' threads would go on


def first(peer: Any, entry: peers.Entry) -> dict[str, Any]:
    """Start it, and say so."""
    started: Callable[[], Any] = peer.start
    try:
        started()
    except Exception as error:
        return {"error": f"did not start: {type(error).__name__}: {error}".splitlines()[0]}
    return {"version": metadata.version(entry.package) if entry.package else ""}


if __name__ == "__main__":
    main()
