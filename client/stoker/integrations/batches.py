"""What joblib's batches need on both sides: pickling with its reducers, and the call in the worker."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from typing import Any

from stoker import byvalue
from stoker.initialized import meet_managers

Reducer = Callable[[Any], Any]


class _Pickler(byvalue.Pickler):
    def __init__(self, file: io.BytesIO, reducers: Mapping[type, Reducer]) -> None:
        # it is looked at while the base class is initialised, and not later
        self.dispatch_table = byvalue.Pickler.dispatch_table.new_child(dict(reducers))
        super().__init__(file, pickle.HIGHEST_PROTOCOL)


def packed(value: object, reducers: Mapping[type, Reducer]) -> bytes:
    """A pickle; what only this program can import goes by value, and these types as their reducers say.

    Raises:
        Exception: whatever pickling raises.
    """
    file = io.BytesIO()
    _Pickler(file, reducers).dump(value)
    return file.getvalue()


def run(batch: bytes, authkey: bytes | None) -> bytes:
    """In the worker: call a pickled batch; the pickled list of its values.

    An array that is mapped from a file of the caller's goes back as an array, not as a name of that file: the file may
    be gone by then.

    Args:
        batch: of joblib's ``BatchedCalls``.
        authkey: see :func:`stoker.initialized.meet_managers`.
    """
    import joblib
    from joblib._memmapping_reducer import get_memmapping_reducers

    meet_managers(authkey)
    joblib.register_parallel_backend("stoker", _backend)  # for a task that asks for it by name
    values = pickle.loads(batch)()  # noqa: S301 - runs as the user's own code, in the user's worker
    _, reducers = get_memmapping_reducers()
    return packed(values, reducers)


def _backend(**options: Any) -> Any:
    """The backend, imported where a task needs it."""
    from stoker.integrations.joblib import StokerBackend

    return StokerBackend(**options)
