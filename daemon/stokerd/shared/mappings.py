"""Dict and Namespace: opaque values by key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from stoker.errors import InvalidParams, StokerError, VersionConflict
from stoker.protocol.codec import pack
from stokerd.shared.base import Holdings, Item, Room, SharedObject, weight


class Entry(NamedTuple):
    """A key as it was first given, and its value."""

    key: Any
    item: Item


def identity(key: Any) -> bytes:
    """What makes two keys the same: 1, 1.0 and True are, as in Python.

    Raises:
        InvalidParams: not a scalar, and not a map ``{"pickle": bytes}``.
    """
    if isinstance(key, dict):
        pickled = key.get("pickle")
        if len(key) != 1 or not isinstance(pickled, bytes):
            raise InvalidParams("a key is a scalar or {'pickle': bytes}", hint="lists and maps cannot be keys")
        return b"p" + pickled
    if isinstance(key, bool) or (isinstance(key, float) and key.is_integer()):
        key = int(key)
    if key is not None and not isinstance(key, str | bytes | int | float):
        raise InvalidParams(f"a key cannot be a {type(key).__name__}", hint="use a scalar or {'pickle': bytes}")
    return b"m" + pack(key)


class SharedDict(SharedObject):
    """Opaque values by key, in order of insertion."""

    kind = "dict"

    def __init__(self, room: Room, object_id: str, name: str | None) -> None:
        super().__init__(room, object_id, name)
        self.version = 0
        self._entries: dict[bytes, Entry] = {}
        self._held = Holdings(room, f"{self.kind} {object_id!r}")

    def detail(self) -> dict[str, Any]:
        """See :class:`SharedObject`."""
        return {"size": len(self._entries), "bytes": self._held.bytes}

    def keys(self) -> list[Any]:
        """The keys as they were first given."""
        return [entry.key for entry in self._entries.values()]

    def get(self, keys: Iterable[Any] | None = None, *, pop: bool = False) -> list[Entry | None]:
        """Entries, None for a key that is not there; ``keys`` None: all. ``pop`` removes them."""
        wanted = list(self._entries) if keys is None else [identity(key) for key in keys]
        found = [self._entries.get(key) for key in wanted]
        if pop:
            self._remove(wanted)
        return found

    def pop_item(self) -> Entry | None:
        """Remove and return the entry that was inserted last."""
        if not self._entries:
            return None
        last = next(reversed(self._entries))
        entry = self._entries[last]
        self._remove([last])
        return entry

    def set(
        self,
        keys: Sequence[Any],
        items: Sequence[Item],
        *,
        replace: bool = True,
        version: int | None = None,
        clear: bool = False,
    ) -> list[Entry | None]:
        """Set values by key in one step; returns the entries of these keys afterwards.

        Args:
            keys: which.
            items: as many values.
            replace: False leaves those alone that are there.
            version: do it only at this version.
            clear: empty the dict first.

        Raises:
            VersionConflict: the dict has another version.
            ObjectTooLarge, Unavailable: no room; nothing was changed.
        """
        if len(keys) != len(items):
            raise InvalidParams(f"{len(keys)} keys and {len(items)} values")
        if version is not None and version != self.version:
            raise VersionConflict(f"{self.kind} {self.id!r} has version {self.version}, not {version}")
        names = [identity(key) for key in keys]
        new = {
            name: (key, item)
            for name, key, item in zip(names, keys, items, strict=True)
            if replace or name not in self._entries
        }
        kept: dict[bytes, Entry] = {} if clear else self._entries
        old = self._entries.values() if clear else [self._entries[name] for name in new if name in self._entries]
        self._held.change(_bytes(old), sum(_cost(key, item) for key, item in new.values()))
        for name, (key, item) in new.items():
            kept[name] = Entry(kept[name].key if name in kept else key, item)
        self._entries = kept
        self.version += 1 if new or clear else 0
        return [self._entries.get(name) for name in names]

    def size(self, keys: Iterable[Any] | None = None) -> int:
        """How many entries there are, of these keys or at all."""
        return len(self._entries) if keys is None else sum(identity(key) in self._entries for key in keys)

    def dropped(self, error: StokerError) -> None:  # noqa: ARG002 - nobody waits on it
        """See :class:`SharedObject`."""
        self._entries = {}
        self._held.clear()

    def _remove(self, names: Iterable[bytes]) -> None:
        gone = [entry for name in names if (entry := self._entries.pop(name, None)) is not None]
        if gone:
            self.version += 1
            self._held.change(_bytes(gone), 0)


class SharedNamespace(SharedDict):
    """Attributes: a dict whose keys are names."""

    kind = "namespace"


def _cost(key: Any, item: Item) -> int:
    return weight((item,)) + len(identity(key))


def _bytes(entries: Iterable[Entry]) -> int:
    return sum(_cost(entry.key, entry.item) for entry in entries)
