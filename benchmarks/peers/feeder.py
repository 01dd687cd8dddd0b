"""A client that keeps a pool busy: ``python -m benchmarks.peers.feeder ENDPOINT COUNT SECONDS`` maps ``spin`` over so
many jobs of so many seconds each (0: ``abs`` over integers), and prints a line once results come.
"""

from __future__ import annotations

import itertools
import sys

from benchmarks.peers.tasks import spin


def main() -> None:
    from stoker import Client

    endpoint, count, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    with Client(endpoint) as client:
        values = client.map(spin, itertools.repeat(seconds, count)) if seconds else client.map(abs, range(count))
        for number, _ in enumerate(values):
            if number == 100:
                print("on", flush=True)


if __name__ == "__main__":
    main()
