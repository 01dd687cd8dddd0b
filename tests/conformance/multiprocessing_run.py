"""Runs CPython's own multiprocessing tests against ``stoker.multiprocessing``, each in a process group of its own.

As a script::

    python tests/conformance/multiprocessing_run.py           run them all, print what failed
    python tests/conformance/multiprocessing_run.py --write   and put this Python's line in docs/compatibility.md
    python tests/conformance/multiprocessing_run.py --only TestPool.test_map
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs" / "compatibility.md"
STUB = "multiprocessing_stub"
LIMIT = 60.0
"""Seconds for one test; the longest sleeps for eight."""
AT_ONCE = 4
"""Tests that run at the same time: most of what they do is to sleep."""

CLASSES = (
    "_TestProcess",
    "_TestSubclassingProcess",
    "_TestQueue",
    "TestSimpleQueue",
    "_TestLock",
    "_TestSemaphore",
    "_TestCondition",
    "_TestEvent",
    "_TestBarrier",
    "_TestValue",
    "_TestArray",
    "_TestContainers",
    "_TestPool",
    "_TestPoolWorkerErrors",
    "_TestPoolWorkerLifetime",
    "_TestAtExit",
    "TestSyncManagerTypes",
    "TestInitializers",
    "TestStdinBadfiledescriptor",
    "TestManagerExceptions",
)
"""CPython's classes about what a service can offer. The others are about sockets, memory, heaps and start methods."""

_PLAIN = "imports the standard library's multiprocessing itself, in a script of its own or by its own name"
_START = "is about the standard library's forkserver and its signals"

EXCLUDED = {
    "_TestProcess.test_set_executable": "is about the standard library's start methods; here it is a clear error",
    "_TestProcess.test_forkserver_sigint": _START,
    "_TestProcess.test_forkserver_sigkill": _START,
    "_TestQueue.test_no_import_lock_contention": _PLAIN,
    "_TestQueue.test_queue_feeder_on_queue_feeder_error": "subclasses the standard library's queue, by its module",
    "TestSimpleQueue.test_closed": "reads `_reader` and `_writer`, pipes of the standard library's implementation",
    "_TestPool.test_make_pool": "reads `_pool`, the standard library's list of its own children",
    "_TestPoolWorkerLifetime.test_pool_worker_lifetime": "reads `_pool` and calls `_repopulate_pool`",
    "_TestPoolWorkerLifetime.test_worker_finalization_via_atexit_handler_of_multiprocessing": _PLAIN,
    "TestInitializers.test_manager_initializer": "starts the standard library's SyncManager, by its module",
    "TestStdinBadfiledescriptor.test_flushing": "is about a stream of the standard library's; it starts no process",
    "TestManagerExceptions.test_dispatch": "calls the standard library's `managers.dispatch`",
}
"""Tests that are not run, and why."""

AS_SERVICE = re.compile(r"_TestCondition\.test_notify")
"""Tests that look at semaphores of the standard library's implementation, unless told that what they test is not of
processes: they take the branch of a manager's objects."""


class Item(NamedTuple):
    """One test."""

    base: str
    test: str

    @property
    def label(self) -> str:
        """As it is named above."""
        return f"{self.base}.{self.test}"

    @property
    def class_name(self) -> str:
        """The class that CPython makes of it for processes."""
        return f"WithProcesses{self.base[1:]}" if self.base.startswith("_") else self.base


class Result(NamedTuple):
    """What became of it: ``passed``, ``skipped`` or ``failed``, and why."""

    item: Item
    outcome: str
    detail: str


@functools.cache
def collect() -> tuple[Item, ...]:
    """Every test of these classes that this Python has; asked of another process, to keep them out of this one."""
    argv = [sys.executable, "-W", "ignore", str(HERE / "multiprocessing_run.py"), "--list"]
    labels = subprocess.run(argv, env=_environ(), capture_output=True, text=True, check=True).stdout.split()
    return tuple(Item(*label.split(".")) for label in labels)


def _environ(**more: str) -> dict[str, str]:
    paths = [str(HERE), str(ROOT / "client"), str(ROOT / "daemon")]
    paths += filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more}


def collect_here() -> list[Item]:
    """See :func:`collect`."""
    stub = importlib.import_module(STUB)
    loader = unittest.defaultTestLoader
    bases = [base for base in CLASSES if hasattr(stub, Item(base, "").class_name)]
    names = {base: loader.getTestCaseNames(getattr(stub, Item(base, "").class_name)) for base in bases}
    return [Item(base, test) for base in bases for test in names[base]]


def run_here(label: str) -> int:
    """In a process of its own: run one test with its class's fixtures; say on the last line how it went."""
    base, _, test = label.partition(".")
    item = Item(base, test)
    kind = getattr(importlib.import_module(STUB), item.class_name)
    kind.TYPE = "service" if AS_SERVICE.match(label) else "processes"
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below nohup
    result = unittest.TestResult()
    unittest.TestSuite([kind(test)]).run(result)
    bad = result.errors + result.failures
    outcome = "failed" if bad or not result.testsRun else "skipped" if result.skipped else "passed"
    detail = bad[0][1] if bad else result.skipped[0][1] if result.skipped else ""
    os.write(1, ("\nREPORT" + json.dumps({"outcome": outcome, "detail": detail[-4000:]}) + "\n").encode())
    return 0


def run(item: Item, endpoint: str) -> Result:
    """Run one test in a process group of its own, and kill whatever is left of that."""
    work = tempfile.mkdtemp(prefix="conformance-")
    environ = _environ(STOKER_SOCKET=endpoint)
    with (Path(work) / "log").open("w+", errors="replace") as log:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(HERE / "multiprocessing_run.py"), "--one", item.label],
            cwd=work,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        ended = True
        try:
            process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            ended = False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.seek(0)
        text, _, report = log.read().partition("\nREPORT")
    shutil.rmtree(work, ignore_errors=True)
    if not ended:
        return Result(item, "failed", f"did not end within {LIMIT:g} s\n{text[-4000:]}{report[-2000:]}")
    if not report:
        return Result(item, "failed", f"ended with code {process.returncode}\n{text[-4000:]}")
    told = json.loads(report.splitlines()[0])
    return Result(item, told["outcome"], f"{told['detail']}\n{text[-2000:]}")


def run_all(items: Iterable[Item], endpoint: str) -> list[Result]:
    """Run tests, some at once; those that are excluded are left out."""
    wanted = [item for item in items if item.label not in EXCLUDED]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(lambda item: run(item, endpoint), wanted))


def line(items: Sequence[Item], results: Sequence[Result]) -> str:
    """This Python's line of the table."""
    count = {word: sum(result.outcome == word for result in results) for word in ("passed", "failed", "skipped")}
    excluded = sum(item.label in EXCLUDED for item in items)
    return f"| {platform.python_version()} | {count['passed']} | {count['failed']} | {count['skipped']} | {excluded} |"


def written_line() -> str | None:
    """The line that the page has for this Python; None: it has none."""
    for each in PAGE.read_text().splitlines():
        if each.startswith(f"| {platform.python_version()} |"):
            return each
    return None


def write(new: str) -> None:
    """Put the line in the page, in the place of the one of this version."""
    lines = PAGE.read_text().splitlines()
    old = written_line()
    if old is not None:
        lines[lines.index(old)] = new
    else:
        head = next(at for at, each in enumerate(lines) if each.startswith("| Python | passed |"))
        end = next(at for at in range(head, len(lines) + 1) if at == len(lines) or not lines[at].startswith("|"))
        lines.insert(end, new)
    PAGE.write_text("\n".join(lines) + "\n")


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--one", metavar="CLASS.TEST", help="run this one here, for the use of the others")
    parser.add_argument("--list", action="store_true", help="print the tests that there are")
    parser.add_argument("--only", metavar="PATTERN", default="", help="only tests whose CLASS.TEST matches")
    parser.add_argument("--write", action="store_true", help="put the outcome in docs/compatibility.md")
    args = parser.parse_args()
    if args.one:
        return run_here(args.one)
    if args.list:
        sys.stdout.writelines(f"{item.label}\n" for item in collect_here())
        return 0
    sys.path.insert(0, str(ROOT))
    from tests.daemons import RunningDaemon

    items = [item for item in collect() if re.search(args.only, item.label)]
    home = Path(tempfile.mkdtemp(prefix="stk-"))
    daemon = RunningDaemon(home, config="[pool.default]\nworkers = 2\n")
    try:
        results = run_all(items, daemon.endpoint)
    finally:
        daemon.stop()
        shutil.rmtree(home, ignore_errors=True)
    for result in results:
        if result.outcome == "failed":
            sys.stdout.write(f"--- {result.item.label}\n{result.detail}\n")
    sys.stdout.write(line(items, results) + "\n")
    if args.write and not args.only:
        write(line(items, results))
    return int(any(result.outcome == "failed" for result in results))


if __name__ == "__main__":
    sys.exit(main())
