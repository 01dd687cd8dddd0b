"""Value and Array: numbers of a C type in a row, or raw bytes."""

from __future__ import annotations

import struct
from typing import Any

from stoker.errors import InvalidParams, OutOfRange, StokerError
from stoker.protocol.objects import ObjectOptions, TypeCode
from stokerd.shared.base import Holdings, Room, SharedObject

FORMATS: dict[str, str] = {
    "b": "<b",
    "B": "<B",
    "h": "<h",
    "H": "<H",
    "i": "<i",
    "I": "<I",
    "l": "<q",
    "L": "<Q",
    "q": "<q",
    "Q": "<Q",
    "f": "<f",
    "d": "<d",
}
"""Little-endian, and a C long has 8 bytes, whatever the client's machine."""

Number = int | float


class SharedArray(SharedObject):
    """``length`` items of one type, zero at first.

    Args:
        typecode: their type, as in Python's ``array``; ``raw``: bytes that mean nothing to the daemon.
        itemsize: bytes of one item, for ``raw``.
        length: how many.
    """

    kind = "array"

    def __init__(
        self,
        room: Room,
        object_id: str,
        name: str | None,
        *,
        typecode: TypeCode = "q",
        itemsize: int | None = None,
        length: int = 1,
    ) -> None:
        super().__init__(room, object_id, name)
        self.typecode = typecode
        self._format = FORMATS.get(typecode)
        self.itemsize = struct.calcsize(self._format) if self._format else itemsize or 1
        if itemsize is not None and itemsize != self.itemsize:
            raise InvalidParams(f"an item of type {typecode!r} has {self.itemsize} bytes, not {itemsize}")
        self.length = length
        self._held = Holdings(room, f"{self.kind} {object_id!r}")
        self._held.change(0, self.itemsize * length)
        self._data = bytearray(self.itemsize * length)

    @property
    def options(self) -> ObjectOptions:
        """See :class:`SharedObject`."""
        return ObjectOptions(typecode=self.typecode, itemsize=self.itemsize, length=self.length)

    def detail(self) -> dict[str, Any]:
        """See :class:`SharedObject`."""
        detail: dict[str, Any] = {"typecode": self.typecode, "length": self.length}
        return detail | ({"value": self.number()} if self._format and self.length == 1 else {})

    def number(self, index: int = 0) -> Number:
        """Item number ``index``.

        Raises:
            OutOfRange: there is none.
            InvalidParams: the items are raw bytes.
        """
        number: Number = struct.unpack_from(self._numeric(), self._data, self._offset(index))[0]
        return number

    def set_number(self, value: Number, index: int = 0) -> Number:
        """Set an item; returns it as it is now.

        Raises:
            InvalidParams: the type cannot hold it.
        """
        try:
            struct.pack_into(self._numeric(), self._data, self._offset(index), value)
        except (struct.error, OverflowError) as why:
            raise InvalidParams(f"{value!r:.60} does not fit in type {self.typecode!r}: {why}") from None
        return self.number(index)

    def add(self, amount: Number, index: int = 0) -> Number:
        """Add to an item and return the sum; integers wrap around."""
        total = self.number(index) + amount
        if self.typecode not in "fd":
            total = self._wrapped(total)
        return self.set_number(total, index)

    def swap(self, expected: Number, value: Number, index: int = 0) -> tuple[bool, Number]:
        """Set an item if it is ``expected``; returns whether it was, and what the item is now."""
        found = self.number(index)
        return (True, self.set_number(value, index)) if found == expected else (False, found)

    def read(self, start: int = 0, count: int | None = None, step: int = 1) -> tuple[int, bytes]:
        """How many items there are in a slice, and their bytes.

        Raises:
            OutOfRange: the slice goes beyond the end.
        """
        if count is None:
            count = max(0, -((start - self.length) // step))
        self._check(start, count, step)
        if step == 1:
            return count, bytes(self._data[start * self.itemsize : (start + count) * self.itemsize])
        offsets = range(start * self.itemsize, (start + count * step) * self.itemsize, step * self.itemsize)
        return count, b"".join(bytes(self._data[at : at + self.itemsize]) for at in offsets)

    def write(self, data: bytes, start: int = 0, step: int = 1) -> int:
        """Set a slice from bytes; returns how many items that were.

        Raises:
            OutOfRange: the slice goes beyond the end.
            InvalidParams: not a whole number of items.
        """
        count, rest = divmod(len(data), self.itemsize)
        if rest:
            raise InvalidParams(f"{len(data)} bytes are not a whole number of items of {self.itemsize} bytes")
        self._check(start, count, step)
        if step == 1:
            self._data[start * self.itemsize : start * self.itemsize + len(data)] = data
            return count
        for number in range(count):
            at, source = (start + number * step) * self.itemsize, number * self.itemsize
            self._data[at : at + self.itemsize] = data[source : source + self.itemsize]
        return count

    def dropped(self, error: StokerError) -> None:  # noqa: ARG002 - nobody waits on it
        """See :class:`SharedObject`."""
        self._held.clear()

    def _numeric(self) -> str:
        if self._format is None:
            raise InvalidParams(
                f"{self.kind} {self.id!r} holds raw bytes, not numbers", hint="use array.get, array.set"
            )
        return self._format

    def _offset(self, index: int) -> int:
        self._check(index, 1, 1)
        return index * self.itemsize

    def _check(self, start: int, count: int, step: int) -> None:
        if count and start + (count - 1) * step >= self.length:
            raise OutOfRange(f"{self.kind} {self.id!r} has {self.length} items", data={"length": self.length})

    def _wrapped(self, total: Number) -> int:
        if not isinstance(total, int):
            raise InvalidParams(f"type {self.typecode!r} holds whole numbers, and the sum is {total!r}")
        bits = 8 * self.itemsize
        total &= (1 << bits) - 1
        return total - (1 << bits) if self.typecode.islower() and total >> (bits - 1) else total


class SharedValue(SharedArray):
    """One item."""

    kind = "value"

    @property
    def options(self) -> ObjectOptions:
        """See :class:`SharedObject`."""
        return ObjectOptions(typecode=self.typecode, itemsize=self.itemsize)
