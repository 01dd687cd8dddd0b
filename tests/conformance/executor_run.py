"""Runs CPython's own executor tests against ``stoker.Executor``: each in a process group of its own, under a limit.

As a script it runs one of them (``executor_run.py MODULE CLASS TEST``); the rest is for the test beside it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import unittest
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
LIMIT = 60.0
"""Seconds for one test; the longest sleeps for five."""
AT_ONCE = 4
"""Tests that run at the same time: most of what they do is to sleep."""

CLASSES = {
    "test_as_completed": ("AsCompletedTests",),
    "test_wait": ("WaitTests",),
    "test_shutdown": ("ProcessPoolShutdownTest",),
    "test_init": ("InitializerMixin", "FailingInitializerMixin"),
    "test_process_pool": ("ProcessPoolExecutorTest",),
    "test_deadlock": ("ExecutorDeadlockTest",),
}
"""The mixins of CPython's that are about an executor of processes, by file."""

_PROCESSES = "reads `_processes`, the standard library's table of its own children"
_MANAGER = "reads `_executor_manager_thread`, a thread of the standard library's implementation"

EXCLUDED = {
    "ProcessPoolShutdownTest.test_processes_terminate": _PROCESSES,
    "ProcessPoolShutdownTest.test_context_manager_shutdown": _PROCESSES,
    "ProcessPoolShutdownTest.test_del_shutdown": _MANAGER,
    "ProcessPoolShutdownTest.test_shutdown_no_wait": _MANAGER,
    "ProcessPoolExecutorTest.test_killed_child": _PROCESSES,
    "ProcessPoolExecutorTest.test_saturation": _PROCESSES,
    "ProcessPoolExecutorTest.test_idle_process_reuse_one": _PROCESSES,
    "ProcessPoolExecutorTest.test_idle_process_reuse_multiple": _PROCESSES,
    "ProcessPoolExecutorTest.test_max_tasks_per_child": _PROCESSES,
    "ProcessPoolExecutorTest.test_max_tasks_per_child_defaults_to_spawn_context": "reads `_mp_context`",
    "ProcessPoolExecutorTest.test_python_finalization_error": "mocks the thread start of the standard library's own",
    "ExecutorDeadlockTest.test_shutdown_deadlock_pickle": _MANAGER,
    "ExecutorDeadlockTest.test_gh105829_should_not_deadlock_if_wakeup_pipe_full": "mocks the standard library's own",
}
"""Tests that are not run, and why: what they look at is not an executor's, but the standard library's."""


class Item(NamedTuple):
    """One test."""

    module: str
    name: str
    """The mixin's."""
    test: str

    def __str__(self) -> str:
        return f"{self.name}.{self.test}"


class Verdict(NamedTuple):
    """What became of it: ``passed``, ``failed``, ``skipped`` (by itself) or ``timeout``."""

    outcome: str
    detail: str


def folder() -> str | None:
    """The installed ``test/test_concurrent_futures``: this Python's, or that of one beside it; None: there is none."""
    roots = [Path(os.__file__).parent, *sorted(Path(sys.base_prefix).parent.glob("3.1*/lib/python3.1*"))]
    folders = [root / "test" / "test_concurrent_futures" for root in roots]
    return next((str(found) for found in folders if (found / "util.py").exists()), None)


def write_stubs(home: Path, folder: str) -> None:
    """The package ``executor_conformance``, in ``home``, of the files in ``folder``."""
    package = home / "executor_conformance"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for name in ("util", "executor", *CLASSES):
        (package / f"{name}.py").write_text(f"import executor_stubs\n\nexecutor_stubs.install(globals(), {folder!r})\n")


def collect() -> list[Item]:
    """Every test, excluded ones included. Wants the stubs to be importable."""
    found = []
    for file, names in CLASSES.items():
        module = importlib.import_module(f"executor_conformance.{file}")
        for name in names:
            tests = unittest.defaultTestLoader.getTestCaseNames(vars(module)[f"{name}_"])
            found += [Item(module.__name__, name, test) for test in tests]
    return found


def run_all(items: Sequence[Item], home: Path, environment: dict[str, str]) -> Iterator[tuple[Item, Verdict]]:
    """Run them, a few at a time."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield from zip(items, threads.map(lambda item: run(item, home, environment), items), strict=True)


def run(item: Item, home: Path, environment: dict[str, str]) -> Verdict:
    """Run one in a session of its own, and kill what is left of it."""
    log = home / f"{item}.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, __file__, *item],
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            child.wait(LIMIT)
        except subprocess.TimeoutExpired:
            return Verdict("timeout", f"no end within {LIMIT:g} s: {log.read_text(errors='replace')[-2000:]}")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    said, _, report = log.read_text(errors="replace").rpartition("\nREPORT ")
    if not report:
        return Verdict("failed", f"died with status {child.returncode}: {(said or report)[-2000:]}")
    return Verdict(*json.loads(report))


def main(module: str, name: str, test: str) -> None:
    """In the child: run one test with the fixtures of its class and module, and report."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    case = vars(importlib.import_module(module))[f"{name}_"]
    result = unittest.TestResult()
    unittest.TestSuite([case(test)]).run(result)
    bad = result.errors + result.failures
    if bad:
        verdict = Verdict("failed", bad[0][1][-3000:])
    elif result.skipped:
        verdict = Verdict("skipped", result.skipped[0][1])
    else:
        verdict = Verdict("passed" if result.testsRun else "failed", "")
    os.write(1, f"\nREPORT {json.dumps(verdict)}".encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
