"""``Value``, ``Array``, ``RawValue`` and ``RawArray`` with the signatures of :mod:`multiprocessing`.

The data lives in the daemon and is read and written by message. ``get_obj()`` is therefore no ctypes object: it has the
items, and no address.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stoker import shared

__all__ = ["Array", "RawArray", "RawValue", "Value"]


def RawValue(typecode_or_type: Any, *args: Any) -> shared.RawValue:  # noqa: N802 - as multiprocessing's
    """See :func:`multiprocessing.RawValue`."""
    return shared.RawValue(None, typecode_or_type, _initial(args))


def RawArray(typecode_or_type: Any, size_or_initializer: int | Iterable[Any]) -> shared.RawArray:  # noqa: N802 - likewise
    """See :func:`multiprocessing.RawArray`."""
    return shared.RawArray(None, typecode_or_type, size_or_initializer)


def Value(typecode_or_type: Any, *args: Any, lock: Any = True, ctx: object = None) -> Any:  # noqa: ARG001, N802 - likewise
    """See :func:`multiprocessing.Value`; ``lock`` is True, a lock, or False for a :func:`RawValue`."""
    if lock is False:
        return RawValue(typecode_or_type, *args)
    return shared.Value(None, typecode_or_type, _initial(args), lock=lock)


def Array(  # noqa: N802 - likewise
    typecode_or_type: Any,
    size_or_initializer: int | Iterable[Any],
    *,
    lock: Any = True,
    ctx: object = None,  # noqa: ARG001
) -> Any:
    """See :func:`multiprocessing.Array`; ``lock`` is True, a lock, or False for a :func:`RawArray`."""
    if lock is False:
        return RawArray(typecode_or_type, size_or_initializer)
    return shared.Array(None, typecode_or_type, size_or_initializer, lock=lock)


def _initial(args: tuple[Any, ...]) -> Any:
    return None if not args else args[0] if len(args) == 1 else args
