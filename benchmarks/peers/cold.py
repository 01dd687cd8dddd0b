"""From nothing to the first result: ``python -m benchmarks.peers.cold NAME SCRATCH`` prints when it was there.

What is imported before the peer's adapter is the same few modules for all of them.
"""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module
from pathlib import Path

from benchmarks.peers import CATALOGUE


def main() -> None:
    entry = CATALOGUE[sys.argv[1]]
    file, _, kind = entry.adapter.partition(":")
    peer = getattr(import_module(f"benchmarks.peers.{file}"), kind)(Path(sys.argv[2]), **entry.options)
    peer.start()
    assert peer.call(3) == 27
    print(f"\nfirst {time.monotonic()}", flush=True)
    peer.stop()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
