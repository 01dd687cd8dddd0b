"""Uploaded functions: named by their hash, kept while a session or a queued batch needs them."""

from __future__ import annotations

import weakref
from collections import OrderedDict

from stoker.errors import UnknownFunction
from stokerd.pool.batch import Function

PER_SESSION = 256
"""How many functions a session can have uploaded; the one used longest ago is forgotten first."""


class FunctionTable:
    """See the module.

    Args:
        most_bytes: of the functions of one session together; those used longest ago are forgotten.
    """

    def __init__(self, most_bytes: int = 256 << 20) -> None:
        self._most_bytes = most_bytes
        self._known: weakref.WeakValueDictionary[bytes, Function] = weakref.WeakValueDictionary()
        self._held: dict[str, OrderedDict[bytes, Function]] = {}

    def add(self, session: str, reference: str, code: bytes, name: str) -> None:
        """A session uploaded a function."""
        key = reference.encode()
        function = self._known.get(key)
        if function is None:
            function = self._known[key] = Function(key, code, name)
        held = self._held.setdefault(session, OrderedDict())
        held[key] = function
        held.move_to_end(key)
        while len(held) > PER_SESSION or sum(len(each.code) for each in held.values()) > self._most_bytes:
            if len(held) == 1:
                break  # as large as a message may be, and needed now
            held.popitem(last=False)

    def find(self, session: str, reference: str) -> Function:
        """The function of this hash, uploaded by whichever session.

        Raises:
            UnknownFunction: nobody has, or it is forgotten.
        """
        key = reference.encode()
        function = self._known.get(key)
        if function is None:
            raise UnknownFunction(
                f"the function {reference[:19]}… is not known here",
                hint="upload it (method `upload`) and submit again",
                data={"function": reference},
            )
        held = self._held.get(session)
        if held is not None and key in held:
            held.move_to_end(key)
        return function

    def session_closed(self, session: str) -> None:
        """What only this session needed is forgotten."""
        self._held.pop(session, None)
