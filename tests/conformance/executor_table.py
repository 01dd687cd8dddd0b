"""``python -m tests.conformance.executor_table`` prints this Python's row of the table of executor tests.

``executor_table.md`` beside this is what it printed on each Python, one below the other.
"""

from __future__ import annotations

import collections
import os
import platform
import sys
import tempfile
from pathlib import Path

from tests.conformance import executor_run
from tests.daemons import RunningDaemon


def main() -> None:
    """Run all tests, print the row."""
    folder = executor_run.folder()
    assert folder is not None, "no installed Python has the folder test/test_concurrent_futures"
    with tempfile.TemporaryDirectory(prefix="stk-") as directory:
        home = Path(directory)
        executor_run.write_stubs(home, folder)
        sys.path[:0] = [str(home), str(executor_run.HERE)]
        daemon = RunningDaemon(home / "daemon", config="[pool.default]\nworkers = 2\n")
        os.environ["STOKER_SOCKET"] = daemon.endpoint
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        items = executor_run.collect()
        chosen = [item for item in items if str(item) not in executor_run.EXCLUDED]
        verdicts = dict(executor_run.run_all(chosen, home, environment))
        daemon.close()
    counts = collections.Counter(verdict.outcome for verdict in verdicts.values())
    version = ".".join(platform.python_version_tuple()[:2])
    words = [counts[word] for word in ("passed", "failed", "timeout", "skipped")]
    print(f"| {version} | {' | '.join(map(str, words))} | {len(executor_run.EXCLUDED)} |")  # noqa: T201 - what it is for
    for item, verdict in verdicts.items():
        if verdict.outcome != "passed":
            print(f"{verdict.outcome}: {item}: {verdict.detail[-500:]}", file=sys.stderr)  # noqa: T201 - likewise


if __name__ == "__main__":
    main()
