"""CPython's own tests of ``concurrent.futures``, with ``stoker.Executor`` in the place of ``ProcessPoolExecutor``.

A *stub* is a module of the package ``executor_conformance`` that :mod:`tests.conformance.executor_run` writes into a
directory on ``sys.path``: lines that call :func:`install`, which executes the installed file of CPython in the
stub's namespace. So no test is copied, and a worker that unpickles a test's function by name imports the same stub.
"""

from __future__ import annotations

import concurrent.futures
import os
import sys
import types
from collections.abc import Callable
from concurrent.futures import process
from pathlib import Path
from typing import Any

import stoker

PACKAGE = "executor_conformance"


class StokerExecutor(stoker.Executor):
    """Takes and drops the multiprocessing context that the tests hand to an executor: a daemon has no use for one. What
    calls print is printed here, as two of the tests expect.
    """

    def __init__(self, *args: Any, mp_context: object = None, **named: Any) -> None:
        super().__init__(*args, echo=True, **named)


class Twin(StokerExecutor):
    """What the tests find as ``futures.ProcessPoolExecutor``. They skip where that is the very class under test, for a
    hang of the standard library's that Stoker must not share.
    """


class Context:
    """What the tests find as a multiprocessing context: objects that travel to a daemon's workers."""

    @staticmethod
    def get_start_method(**_: Any) -> str:
        """None of the standard library's."""
        return "stoker"

    def __getattr__(self, name: str) -> Any:
        return getattr(stoker, name)

    def Manager(self) -> Any:  # noqa: N802 - the name that is asked for
        """What it manages is the daemon's, and so is its end."""
        return self

    def shutdown(self) -> None:
        """See :meth:`Manager`."""

    def join(self) -> None:
        """See :meth:`Manager`."""


def install(namespace: dict[str, Any], folder: str) -> None:
    """Execute the file of CPython that ``namespace``, a stub's, is named after.

    Args:
        folder: the installed ``test/test_concurrent_futures``.
        namespace: gets its names; a test's class is named as its mixin with ``_`` behind.
    """
    _catch_up()
    path = Path(folder, namespace["__name__"].rpartition(".")[2] + ".py")
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), namespace)
    if path.name == "util.py":
        namespace["create_executor_tests"] = _creator(namespace)
    if isinstance(namespace.get("futures"), types.ModuleType):
        facade: Any = types.ModuleType("futures")
        vars(facade).update(vars(concurrent.futures), ProcessPoolExecutor=Twin, process=process)
        namespace["futures"] = facade
    if "assert_python_ok" in namespace:
        namespace["assert_python_ok"] = _scripts(namespace["assert_python_ok"])


def _catch_up() -> None:
    """The folder is Python 3.13's: what its files want of ``test.support`` is not in that of 3.11 and 3.12."""
    from test import support

    def unchanged(*_: Any, **__: Any) -> Callable[[Any], Any]:
        return lambda function: function

    if not hasattr(support, "Py_GIL_DISABLED"):
        vars(support).update(Py_GIL_DISABLED=False, requires_gil_enabled=unchanged)
    vars(support).setdefault("setswitchinterval", sys.setswitchinterval)
    vars(support)["skip_if_sanitizer"] = unchanged


def _creator(util: dict[str, Any]) -> Callable[..., None]:
    """In place of ``create_executor_tests``: one class per mixin, for this executor only."""

    class Mixin(util["ExecutorMixin"]):  # type: ignore[misc]
        executor_type = StokerExecutor
        ctx = "stoker"

        def get_context(self) -> Any:
            return Context()

    def create(remote: dict[str, Any], mixin: type, bases: tuple[type, ...] = (), executor_mixins: Any = ()) -> None:
        name = f"{mixin.__name__}_"
        bases = bases or (util["BaseTestCase"],)
        remote[name] = type(name, (mixin, Mixin, *bases), {"__module__": remote["__name__"]})

    return create


def _scripts(run: Callable[..., Any]) -> Callable[..., Any]:
    """In place of ``assert_python_ok``, whose scripts import the executor and the test's own module by name."""

    def running(flag: str, code: str) -> Any:
        code = code.replace("from concurrent.futures import", "from executor_stubs import")
        code = code.replace("test.test_concurrent_futures", PACKAGE)
        code = code.replace("from multiprocessing import get_context", "get_context = str")
        code = code.replace("multiprocessing.set_start_method", "str")
        kept = {name: os.environ[name] for name in ("PYTHONPATH", "STOKER_SOCKET")}
        return run(flag, code, **kept)

    return running
