"""A function that is called in workers which have been initialised: what an executor's ``initializer`` needs there.

Runs in workers, so it imports the standard library only.
"""

from __future__ import annotations

import logging
import multiprocessing
import pickle
import sys
from collections.abc import Callable
from typing import Any

_outcomes: dict[str, BaseException | None] = {}
"""Of this process: what became of each executor's initializer."""


class NotInitialized(Exception):
    """The initializer raised; its exception is the ``__cause__``. Told to the executor, which is broken by it."""


class Initialized:
    """Calls ``function`` where ``initializer`` has run; runs it first, once in each process.

    Args:
        key: the executor's, the same for all of its functions.
        prepared: the pickled initializer and its arguments: they are unpickled once, and after ``authkey`` is known.
        authkey: see :func:`meet_managers`.
        function: what to call.
    """

    def __init__(self, key: str, prepared: bytes, authkey: bytes | None, function: Callable[..., Any]) -> None:
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self._key = key
        self._prepared = prepared
        self._authkey = authkey
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's value.

        Raises:
            NotInitialized: the initializer has raised in this process.
        """
        if self._key not in _outcomes:
            _outcomes[self._key] = self._initialize()
        failure = _outcomes[self._key]
        if failure is not None:
            raise NotInitialized(f"the initializer raised {type(failure).__name__}: {failure}") from failure
        return self._function(*args, **kwargs)

    def _initialize(self) -> BaseException | None:
        try:
            meet_managers(self._authkey)
            initializer, initargs = pickle.loads(self._prepared)  # noqa: S301 - the user's own, in the user's worker
            initializer(*initargs)
        except Exception as why:
            # as the standard library's executors do, on the same logger
            logging.getLogger("concurrent.futures").critical("Exception in initializer:", exc_info=True)
            return why
        return None


def managers_key() -> bytes | None:
    """The key with which this process and its children speak to its managers; None where it uses none."""
    return bytes(multiprocessing.current_process().authkey) if "multiprocessing.managers" in sys.modules else None


def meet_managers(authkey: bytes | None) -> None:
    """In the worker: from here on, speak to the managers of the process that has this key, as its own child would."""
    if authkey is not None:
        multiprocessing.current_process().authkey = authkey
