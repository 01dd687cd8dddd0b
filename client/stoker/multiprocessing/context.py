"""Start methods and contexts. All start methods mean the same here: the daemon forks, and nothing is inherited."""

from __future__ import annotations

import os
from typing import Any, NoReturn

METHODS = ("spawn", "fork", "forkserver")
"""The names that programs may give. "spawn" comes first: of the three it is what a child here is most like, since it
has nothing of its parent but what was pickled for it."""

_chosen: str | None = None


def get_all_start_methods() -> list[str]:
    """The names that :func:`set_start_method` takes."""
    return list(METHODS)


def get_start_method(allow_none: bool = False) -> str | None:  # noqa: FBT001, FBT002 - as multiprocessing's
    """The name that was set; else "spawn", or None with ``allow_none``."""
    return _chosen if allow_none or _chosen is not None else METHODS[0]


def set_start_method(method: str | None, force: bool = False) -> None:  # noqa: FBT001, FBT002 - as multiprocessing's
    """Accept a name.

    Raises:
        ValueError: there is no such start method.
        RuntimeError: one was set already, and this is not by ``force``.
    """
    global _chosen  # noqa: PLW0603 - there is one for the program
    if _chosen is not None and not force:
        raise RuntimeError("context has already been set")
    if method is not None:
        _check(method)
    _chosen = method


def set_executable(executable: str | bytes | os.PathLike[str]) -> NoReturn:
    """Not here.

    Raises:
        NotImplementedError: always, with what to do.
    """
    raise NotImplementedError(
        f"processes run under the interpreter of their parent, and not under {executable!r}; start the program with "
        "it, or start a process of the daemon by argv: stoker.Client().start_process"
    )


def set_forkserver_preload(module_names: list[str]) -> None:
    """Accepted, and of no effect: the daemon's forkservers import what all children need, and no more."""
    if not all(isinstance(name, str) for name in module_names):
        raise TypeError("expected a list of strings")


def freeze_support() -> None:
    """Nothing is needed here."""


def allow_connection_pickling() -> None:
    """Nothing is needed here: connections can be pickled."""


class Context:
    """The names of this package under one start method; see :func:`get_context`.

    Args:
        method: its name; None: that of the program.
    """

    def __init__(self, method: str | None = None) -> None:
        self._method = method

    def get_start_method(self, allow_none: bool = False) -> str | None:  # noqa: FBT001, FBT002 - as multiprocessing's
        """Its name."""
        return self._method or get_start_method(allow_none)

    def set_start_method(self, method: str | None, force: bool = False) -> None:  # noqa: FBT001, FBT002 - likewise
        """See :func:`set_start_method`.

        Raises:
            ValueError: this context has a start method of its own.
        """
        if self._method is not None:
            raise ValueError("cannot set start method of concrete context")
        set_start_method(method, force)

    def get_context(self, method: str | None = None) -> Context:
        """See :func:`get_context`."""
        return self if method is None else get_context(method)

    def __getattr__(self, name: str) -> Any:
        from stoker import multiprocessing

        return getattr(multiprocessing, name)

    def __reduce__(self) -> Any:
        return Context, (self._method,)


def get_context(method: str | None = None) -> Context:
    """The names of this package as attributes of one object.

    Raises:
        ValueError: there is no such start method.
    """
    if method is not None:
        _check(method)
    return Context(method)


def _check(method: str) -> None:
    if method not in METHODS:
        raise ValueError(f"cannot find context for {method!r}")


def cpu_count() -> int:
    """The cores of this machine, as :func:`multiprocessing.cpu_count`. A pool without a number has one worker for each
    core that may be used, which can be fewer.
    """
    count = os.cpu_count()
    if count is None:
        raise NotImplementedError("cannot determine number of cpus")
    return count
