"""Packages that children need and that their environment may lack: taken from it, else lent by the daemon.

The daemon lends the directory of its own copy. The directory is never put on ``sys.path``, so nothing else that lies
beside the package can be seen from the child. A lent package's C extension may have been built for another Python;
what is lent has to work without it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

_lent: dict[str, str] = {}


def lend(packages: Mapping[str, str]) -> None:
    """Say where packages can be borrowed: name -> its directory (the one that holds its ``__init__.py``)."""
    _lent.update(packages)


def borrow(name: str) -> ModuleType:
    """Import a package from the environment, else from where it was lent.

    Args:
        name: a top-level package.

    Raises:
        ImportError: the environment has none that can be imported, and none is lent.
    """
    if name in sys.modules:
        return sys.modules[name]
    try:
        return importlib.import_module(name)
    except ImportError:
        if name not in _lent:
            raise
        return _load(name, _lent[name])


def _load(name: str, directory: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        name, Path(directory) / "__init__.py", submodule_search_locations=[directory]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"no package {name} in {directory}", name=name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
