"""Pickling with the standard library's own exceptions, which programs written for it expect."""

from __future__ import annotations

from stoker.errors import CannotPack
from stoker.functions import pack_value


def pack(value: object) -> bytes:
    """See :func:`stoker.functions.pack_value`.

    Raises:
        Exception: what :mod:`pickle` raised, or some ``__reduce__``, with Stoker's advice as a note.
    """
    try:
        return pack_value(value)
    except CannotPack as why:
        cause = why.__cause__
        if cause is None:
            raise
        cause.add_note(str(why))
        raise cause from None
