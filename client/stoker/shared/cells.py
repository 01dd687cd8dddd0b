"""Value and Array: C data in the daemon."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from stoker.shared.face import Face
from stoker.shared.locks import Acquirable, RLock
from stoker.shared.waits import attached

if TYPE_CHECKING:
    from stoker.client import Client

TYPES: dict[str, Any] = {
    "c": ctypes.c_char,
    "u": ctypes.c_wchar,
    "b": ctypes.c_byte,
    "B": ctypes.c_ubyte,
    "h": ctypes.c_short,
    "H": ctypes.c_ushort,
    "i": ctypes.c_int,
    "I": ctypes.c_uint,
    "l": ctypes.c_long,
    "L": ctypes.c_ulong,
    "q": ctypes.c_longlong,
    "Q": ctypes.c_ulonglong,
    "f": ctypes.c_float,
    "d": ctypes.c_double,
}
"""As multiprocessing's."""
_FORMATS = {**{code: code for code in "bBhHiIqQfd"}, "l": "q", "L": "Q"}
"""Numbers on the wire: little-endian, a long has 8 bytes."""


class _Layout:
    """A C type: how its items look on the wire and in Python.

    Args:
        type_or_code: a code of :data:`TYPES`, or a ctypes type.
    """

    def __init__(self, type_or_code: Any) -> None:
        self.given = type_or_code
        self.type = TYPES[type_or_code] if isinstance(type_or_code, str) else type_or_code
        code = getattr(self.type, "_type_", None)
        self.code: str = code if isinstance(code, str) and code in _FORMATS else "raw"
        self.number = self.code != "raw"
        self.size = struct.calcsize(f"<{_FORMATS[self.code]}") if self.number else ctypes.sizeof(self.type)

    @property
    def options(self) -> dict[str, Any]:
        """What the daemon is told of it."""
        return {"typecode": self.code} if self.number else {"typecode": "raw", "itemsize": self.size}

    def clean(self, value: Any) -> Any:
        """A number as the type holds it: cut to its size as in C; TypeError for what is none."""
        return self.type(value).value

    def pack(self, values: Iterable[Any]) -> bytes:
        """Items as bytes."""
        if self.number:
            cleaned = [self.clean(value) for value in values]
            return struct.pack(f"<{len(cleaned)}{_FORMATS[self.code]}", *cleaned)
        return b"".join(bytes(self.item(value)) for value in values)

    def item(self, value: Any) -> Any:
        """A ctypes object that holds ``value``; a tuple is the arguments of a structure."""
        if isinstance(value, self.type):
            return value
        return self.type(*value) if isinstance(value, tuple) else self.type(value)

    def unpack(self, data: bytes) -> list[Any]:
        """Bytes as items."""
        if self.number:
            return list(struct.unpack(f"<{len(data) // self.size}{_FORMATS[self.code]}", data))
        items = [self.type.from_buffer_copy(data, start) for start in range(0, len(data), self.size)]
        return [getattr(item, "value", item) for item in items]


class _Cells(Face):
    """The bytes, and what they mean."""

    _layout: _Layout

    def _read(self, start: int, count: int, step: int = 1) -> list[Any]:
        _, (data,) = self._send("array.get", {"start": start, "count": count, "step": step})
        return self._layout.unpack(bytes(data))

    def _write(self, values: Iterable[Any], start: int, step: int = 1) -> None:
        self._send("array.set", {"start": start, "step": step}, (self._layout.pack(values),))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "type": self._layout.given}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._layout = _Layout(state["type"])


class RawValue(_Cells):
    """One item of a C type, without a lock.

    Args:
        name: its name; None: an anonymous one.
        typecode_or_type: a type code as in :mod:`array`, or a ctypes type.
        value: what it holds at first; None: zero. A tuple is the arguments of a structure.
        client: whose daemon it lives in; None: the default one's.
    """

    _kind = "value"

    def __init__(
        self,
        name: str | None = None,
        typecode_or_type: Any = "q",
        value: Any = None,
        *,
        client: Client | None = None,
    ) -> None:
        self._make(name, typecode_or_type, value, client)

    def _make(self, name: str | None, typecode_or_type: Any, value: Any, client: Client | None) -> None:
        self._layout = _Layout(typecode_or_type)
        initial = () if value is None else (self._layout.pack([value]),)
        self._open(name, client, self._layout.options, initial)

    @property
    def value(self) -> Any:
        """What it holds: for a structure a copy, which can be set as a whole."""
        return self._ask("value.get")["value"] if self._layout.number else self._read(0, 1)[0]

    @value.setter
    def value(self, value: Any) -> None:
        if self._layout.number:
            self._ask("value.set", value=self._layout.clean(value))
        else:
            self._write([value], 0)

    def add(self, amount: float = 1) -> Any:
        """Add to a number in one step, without a lock; returns the sum. Integers wrap around."""
        return self._ask("value.add", amount=amount)["value"]

    def swap(self, expected: float, value: float) -> bool:
        """Set a number in one step if it is what is ``expected``; returns whether it was."""
        return bool(self._ask("value.swap", expected=expected, value=value)["swapped"])


class RawArray(_Cells):
    """Items of a C type in a row, without a lock.

    Args:
        name: its name; None: an anonymous one.
        typecode_or_type: a type code as in :mod:`array`, or a ctypes type.
        size_or_initializer: how many, zero at first; or what it holds at first.
        client: whose daemon it lives in; None: the default one's.
    """

    _kind = "array"

    def __init__(
        self,
        name: str | None = None,
        typecode_or_type: Any = "q",
        size_or_initializer: int | Iterable[Any] = 0,
        *,
        client: Client | None = None,
    ) -> None:
        self._make(name, typecode_or_type, size_or_initializer, client)

    def _make(
        self, name: str | None, typecode_or_type: Any, size_or_initializer: int | Iterable[Any], client: Client | None
    ) -> None:
        self._layout = _Layout(typecode_or_type)
        initial: tuple[bytes, ...] = ()
        if isinstance(size_or_initializer, int):
            self._length = size_or_initializer
        else:
            values = list(size_or_initializer)
            self._length, initial = len(values), (self._layout.pack(values),)
        self._open(name, client, {**self._layout.options, "length": self._length}, initial)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int | slice) -> Any:
        if not isinstance(index, slice):
            return self._read(self._place(index), 1)[0]
        places = range(self._length)[index]
        if not places:
            items: list[Any] = []
        else:
            items = self._read(min(places[0], places[-1]), len(places), abs(places.step))
        items = items if places.step > 0 else items[::-1]
        return b"".join(items) if self._layout.type is ctypes.c_char else items

    def __setitem__(self, index: int | slice, value: Any) -> None:
        if not isinstance(index, slice):
            self._write([value], self._place(index))
            return
        places, values = range(self._length)[index], list(value)
        if len(values) != len(places):
            raise ValueError("Can only assign sequence of same size")
        if places:
            values = values if places.step > 0 else values[::-1]
            self._write(values, min(places[0], places[-1]), abs(places.step))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._read(0, self._length))

    def _place(self, index: int) -> int:
        if not -self._length <= index < self._length:
            raise IndexError("invalid index")
        return index % self._length

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "length": self._length}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._length = state["length"]


class Synchronized(Face):
    """The lock of a value or array, and ``with``."""

    _lock: Acquirable
    _own_lock = False
    _raw: type[_Cells]

    def _guard(self, lock: Any) -> None:
        """Take the lock that was given: None or True is an RLock of its own."""
        if lock is None or lock is True:
            self._lock, self._own_lock = attached(RLock, f"{self._id}~lock", self), True
        elif hasattr(lock, "acquire"):
            self._lock = lock
        else:
            raise AttributeError(f"{lock!r} has no method 'acquire'")

    def get_lock(self) -> Any:
        """Its lock."""
        return self._lock

    def get_obj(self) -> Any:
        """The same without the lock."""
        raw = attached(self._raw, self._id, self)
        raw.__dict__.update({name: vars(self)[name] for name in ("_layout", "_length") if name in vars(self)})
        return raw

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002 - as multiprocessing's
        """Acquire its lock."""
        return self._lock.acquire(block, timeout)

    def release(self) -> None:
        """Release its lock."""
        self._lock.release()

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.__exit__(kind, error, traceback)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "lock": None if self._own_lock else self._lock}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._guard(state["lock"])


class Value(Synchronized, RawValue):
    """One item of a C type, with a lock: ``with value.get_lock(): value.value += 1``; or ``value.add(1)``.

    Args:
        name: its name; None: an anonymous one.
        typecode_or_type: a type code as in :mod:`array`, or a ctypes type.
        value: what it holds at first; None: zero.
        lock: None: an RLock of its own; or a lock.
        client: whose daemon it lives in; None: the default one's.
    """

    _raw = RawValue

    def __init__(
        self,
        name: str | None = None,
        typecode_or_type: Any = "q",
        value: Any = None,
        *,
        lock: Any = None,
        client: Client | None = None,
    ) -> None:
        _check_lock(lock)
        self._make(name, typecode_or_type, value, client)
        self._guard(lock)


class Array(Synchronized, RawArray):
    """Items of a C type in a row, with a lock; single operations on it hold no lock and need none.

    Args:
        name: its name; None: an anonymous one.
        typecode_or_type: a type code as in :mod:`array`, or a ctypes type.
        size_or_initializer: how many, zero at first; or what it holds at first.
        lock: None: an RLock of its own; or a lock.
        client: whose daemon it lives in; None: the default one's.
    """

    _raw = RawArray

    def __init__(
        self,
        name: str | None = None,
        typecode_or_type: Any = "q",
        size_or_initializer: int | Iterable[Any] = 0,
        *,
        lock: Any = None,
        client: Client | None = None,
    ) -> None:
        _check_lock(lock)
        self._make(name, typecode_or_type, size_or_initializer, client)
        self._guard(lock)


def _check_lock(lock: Any) -> None:
    if lock is not None and lock is not True and not hasattr(lock, "acquire"):
        raise AttributeError(f"{lock!r} has no method 'acquire'")
