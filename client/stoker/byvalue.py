"""Pickling by value: cloudpickle, and the places that code came from.

cloudpickle 3.1.3 writes ``<dynamic-code>`` in place of the file that a function was defined in, so that equal functions
give equal bytes wherever they stand. A traceback then has no lines of source any more, for people the most useful part
of it. Here the file's name travels along, as it did before.
"""

from __future__ import annotations

import io
import types
from collections.abc import Callable
from typing import Any

import cloudpickle

_NOWHERE = "<dynamic-code>"


def _reduce_code(code: types.CodeType) -> tuple[Any, ...]:
    make, args, *rest = cloudpickle.Pickler.dispatch_table[types.CodeType](code)
    return make, tuple(code.co_filename if arg == _NOWHERE else arg for arg in args), *rest


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's, but that functions keep the name of their file."""

    dispatch_table = cloudpickle.Pickler.dispatch_table.new_child({types.CodeType: _reduce_code})


def dumps(value: object, protocol: int, buffer_callback: Callable[[Any], object] | None = None) -> bytes:
    """The pickle of ``value``; what only this program can import goes by value.

    Args:
        value: anything.
        protocol: of the pickle.
        buffer_callback: as :func:`pickle.dumps` has it.

    Raises:
        Exception: whatever pickling raises.
    """
    file = io.BytesIO()
    Pickler(file, protocol, buffer_callback).dump(value)
    return file.getvalue()
