"""List."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stoker.errors import OutOfRange, VersionConflict
from stoker.shared.face import Face
from stoker.shared.values import decode_all, encode_all

if TYPE_CHECKING:
    from stoker.client import Client

AHEAD = 100
"""Items that an iteration fetches at a time."""


class List(Face):
    """A list. An item that was got is a copy: change it, then set it again.

    Every method is one step: those that look at all of it, ``sort`` for instance, begin again where somebody else
    changes it meanwhile.

    Args:
        name: its name; None: an anonymous one.
        initial: what it holds when it is made; not used where it is there already.
        client: whose daemon it lives in; None: the default one's.
    """

    _kind = "list"

    def __init__(self, name: str | None = None, initial: Iterable[Any] = (), *, client: Client | None = None) -> None:
        if self._open(name, client, {})["created"] and (values := list(initial)):
            self.extend(values)

    def __len__(self) -> int:
        return int(self._ask("list.size")["count"])

    def __getitem__(self, index: int | slice) -> Any:
        if not isinstance(index, slice):
            return self._one(index, pop=False)
        if index.step in {None, 1}:
            return self._get(index.start or 0, index.stop)
        return self.copy()[index]

    def __setitem__(self, index: int | slice, value: Any) -> None:
        if isinstance(index, slice):
            if index.step in {None, 1}:
                self._set(value, start=index.start or 0, stop=index.stop)
            else:
                self._change(lambda items: items.__setitem__(index, value))
        else:
            with _index_errors("list assignment index out of range"):
                self._set([value], start=index, stop=_after(index), exact=True)

    def __delitem__(self, index: int | slice) -> None:
        if isinstance(index, slice):
            self._change(lambda items: items.__delitem__(index))
        else:
            with _index_errors("list assignment index out of range"):
                self._set([], start=index, stop=_after(index), exact=True)

    def __iter__(self) -> Iterator[Any]:
        start = 0
        while items := self._get(start, start + AHEAD):
            yield from items
            start += len(items)

    def __contains__(self, value: object) -> bool:
        return value in self.copy()

    def append(self, value: Any) -> None:
        """Add one item at the end."""
        self._set([value])

    def extend(self, values: Iterable[Any]) -> None:
        """Add items at the end, in one step."""
        self._set(values)

    def insert(self, index: int, value: Any) -> None:
        """Put an item before ``index``."""
        self._set([value], start=index, stop=index)

    def pop(self, index: int = -1) -> Any:
        """Remove and return an item.

        Raises:
            IndexError: there is none.
        """
        return self._one(index, pop=True)

    def remove(self, value: Any) -> None:
        """Remove the first item that equals ``value``.

        Raises:
            ValueError: there is none.
        """
        self._change(lambda items: items.remove(value))

    def clear(self) -> None:
        """Remove everything."""
        self._set([], start=0)

    def copy(self) -> list[Any]:
        """All of it, as a plain list."""
        return self._get(0, None)

    def index(self, value: Any, *bounds: int) -> int:
        """Where the first item is that equals ``value``."""
        return self.copy().index(value, *bounds)

    def count(self, value: Any) -> int:
        """How many items equal ``value``."""
        return self.copy().count(value)

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        """Sort it."""
        self._change(lambda items: items.sort(key=key, reverse=reverse))

    def reverse(self) -> None:
        """Turn it round."""
        self._change(lambda items: items.reverse())

    def __add__(self, other: Iterable[Any]) -> list[Any]:
        return self.copy() + list(other)

    def __mul__(self, times: int) -> list[Any]:
        return self.copy() * times

    __rmul__ = __mul__

    def __iadd__(self, other: Iterable[Any]) -> List:  # noqa: PYI034 - Self is what it is, and mypy needs no more
        self.extend(other)
        return self

    def __imul__(self, times: int) -> List:  # noqa: PYI034 - likewise
        self._change(lambda items: items.__imul__(times))
        return self

    def __str__(self) -> str:
        return str(self.copy())

    def _get(self, start: int, stop: int | None, **how: Any) -> list[Any]:
        return list(decode_all(*self._send("list.get", {"start": start, "stop": stop, **how})))

    def _one(self, index: int, *, pop: bool) -> Any:
        with _index_errors("list index out of range"):
            return self._get(index, _after(index), pop=pop, exact=True)[0]

    def _set(self, values: Iterable[Any], **where: Any) -> None:
        params, payload = encode_all(list(values))
        self._send("list.set", {**params, **where}, payload)

    def _change(self, change: Callable[[list[Any]], object]) -> None:
        """Apply a change to all of it, again and again until nobody came between."""
        while True:
            reply, payload = self._send("list.get", {})
            items = list(decode_all(reply, payload))
            change(items)
            try:
                self._set(items, start=0, version=reply.get("version", 0))
            except VersionConflict:
                continue
            return


@contextmanager
def _index_errors(text: str) -> Iterator[None]:
    """Turns the daemon's error into the list's own."""
    try:
        yield
    except OutOfRange:
        raise IndexError(text) from None


def _after(index: int) -> int | None:
    """The end of the slice that holds item ``index`` only."""
    return index + 1 if index != -1 else None
