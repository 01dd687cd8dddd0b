"""What a map of a million costs a client with one job: ``python -m benchmarks.fairness [--times 100] [--json]``.

A client hands in one small job after the other and waits for each: alone first, then while another client maps a
million elements through the same pool of two workers. The promise is that a job takes less than 50 ms longer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.kills import Daemon

MAP = """
import sys
from stoker import Client
with Client(sys.argv[1]) as client:
    for number, value in enumerate(client.map(abs, range(1_000_000))):
        if number == 5000:
            print("on", flush=True)
"""


def trips(daemon: Daemon, times: int) -> list[float]:
    """Seconds of each job, from its submit to its value."""
    found = []
    for x in range(times):
        begun = time.perf_counter()
        [entry] = daemon.ask("submit", jobs=[{"call": {"function": "builtins:abs", "args": [-x]}}], wait=60)["jobs"]
        found.append(time.perf_counter() - begun)
        assert entry["value"] == x
    return found


def measure(times: int) -> dict[str, list[float]]:
    """Seconds of every job, alone and beside the map."""
    with tempfile.TemporaryDirectory(prefix="stk-") as name:
        daemon = Daemon(Path(name))
        try:
            trips(daemon, times)
            alone = trips(daemon, times)
            with subprocess.Popen([sys.executable, "-c", MAP, daemon.endpoint], stdout=subprocess.PIPE) as mapping:
                assert mapping.stdout is not None
                mapping.stdout.readline()
                beside = trips(daemon, times)
                assert mapping.poll() is None, "the map was over before the jobs were: ask for fewer"
                mapping.kill()
            return {"alone": alone, "beside": beside}
        finally:
            daemon.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.times)
    if options.json:
        print(json.dumps(found))
        return
    for where, seconds in found.items():
        middle, worst = statistics.median(seconds) * 1000, max(seconds) * 1000
        print(f"{where:8} {middle:6.1f} ms (median), {worst:6.1f} ms (worst of {len(seconds)})")


if __name__ == "__main__":
    main()
