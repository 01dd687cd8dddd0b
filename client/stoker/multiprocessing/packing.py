"""Pickling with the standard library's own exceptions, which programs written for it expect."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from stoker.errors import CannotPack
from stoker.functions import pack_value

T = TypeVar("T")


def pack(value: object) -> bytes:
    """See :func:`stoker.functions.pack_value`.

    Raises:
        Exception: as :func:`pack_by`.
    """
    return pack_by(pack_value, value)


def pack_by(how: Callable[[object], T], value: object) -> T:
    """What ``how`` makes of a value.

    Raises:
        Exception: what :mod:`pickle` raised, or some ``__reduce__``, with Stoker's advice as a note.
    """
    try:
        return how(value)
    except CannotPack as why:
        cause = why.__cause__
        if cause is None:
            raise
        cause.add_note(str(why))
        raise cause from None
