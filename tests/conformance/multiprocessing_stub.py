"""CPython's own ``test._test_multiprocessing``, with ``stoker.multiprocessing`` in the place of ``multiprocessing``.

Importing this module executes the installed file here, in this namespace, while ``multiprocessing`` means
:class:`Facade`. Processes and workers that unpickle a target of the tests import it too, and get the same.

The tests come in three types: for processes, for threads and for objects behind a manager. These are those for
processes; where they need a dict or a list that is shared, they get one of Stoker's manager.
"""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing as standard
import sys
import types
from typing import Any

import stoker.multiprocessing as ours

NAME = "test._test_multiprocessing"
ROOMS = frozenset({"managers", "pool", "queues", "sharedctypes", "synchronize"})
"""Modules of the package that are Stoker's; the rest, ``connection`` for instance, is what the tests of sockets use."""

for _room in ("connection", "dummy", "heap", "managers", "pool", "queues", "shared_memory", "sharedctypes"):
    importlib.import_module(f"multiprocessing.{_room}")
for _name in (*ours.__all__, *ROOMS):  # now, while they find the standard library's
    getattr(ours, _name)


class Facade(types.ModuleType):
    """Stands in for the package: Stoker's names, and of the standard library what Stoker does not have."""

    def __init__(self) -> None:
        super().__init__("multiprocessing")
        vars(self).update(__path__=standard.__path__, __spec__=standard.__spec__)

    def __getattr__(self, name: str) -> Any:
        theirs = getattr(standard, name, None)
        if isinstance(theirs, types.ModuleType):
            return getattr(ours, name) if name in ROOMS else theirs
        return getattr(ours if hasattr(ours, name) else standard, name)


class Managed:
    """For the tests' mixin: a manager of its own for each test that asks for one."""

    @property
    def manager(self: Any) -> Any:
        """Shut down at the end of the test."""
        if "manager_" not in vars(self):
            self.manager_ = ours.Manager()
            self.addCleanup(self.manager_.shutdown)
        return self.manager_

    @property
    def list(self) -> Any:
        """Its list."""
        return self.manager.list

    @property
    def dict(self) -> Any:
        """Its dict."""
        return self.manager.dict

    @property
    def Namespace(self) -> Any:  # noqa: N802 - the tests' name
        """Its namespace."""
        return self.manager.Namespace


def execute(namespace: dict[str, Any]) -> None:
    """Execute the file in ``namespace``, and have it make its test classes there."""
    spec = importlib.util.find_spec(NAME)
    assert spec is not None, f"{NAME} is not installed with this Python"
    real, sys.modules["multiprocessing"] = sys.modules["multiprocessing"], Facade()
    try:
        exec(spec.loader.get_code(spec.name), namespace)  # type: ignore[union-attr]
    finally:
        sys.modules["multiprocessing"] = real
    for name in ("manager", "list", "dict", "Namespace"):
        setattr(namespace["ProcessesMixin"], name, vars(Managed)[name])
    namespace["_TestBarrier"].DummyList = lambda self: self.manager.list()
    namespace["_TestContainers"].ALLOWED_TYPES = ("processes",)
    made = {"__name__": namespace["__name__"]}
    namespace["install_tests_in_module_dict"](made, "spawn")
    namespace.update(made, setUpModule=lambda: None, tearDownModule=lambda: None)


execute(globals())
