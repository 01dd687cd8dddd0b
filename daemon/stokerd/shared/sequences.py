"""List: opaque values in a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stoker.errors import OutOfRange, StokerError, VersionConflict
from stokerd.shared.base import Holdings, Item, Room, SharedObject, weight


class SharedList(SharedObject):
    """Opaque values in a row."""

    kind = "list"

    def __init__(self, room: Room, object_id: str, name: str | None) -> None:
        super().__init__(room, object_id, name)
        self.version = 0
        self._items: list[Item] = []
        self._held = Holdings(room, f"list {object_id!r}")

    def __len__(self) -> int:
        return len(self._items)

    def detail(self) -> dict[str, Any]:
        """See :class:`SharedObject`."""
        return {"size": len(self._items), "bytes": self._held.bytes}

    def get(self, start: int = 0, stop: int | None = None, *, pop: bool = False, exact: bool = False) -> list[Item]:
        """The items of a slice, as in Python.

        Args:
            start: where to begin; negative: from the end.
            stop: where to end; None: at the end.
            pop: remove them.
            exact: ``start`` must be there.

        Raises:
            OutOfRange: it must, and is not.
        """
        where = self._slice(start, stop, exact=exact)
        items = self._items[where]
        if pop and items:
            self._replace(where, [])
        return items

    def set(
        self,
        items: Sequence[Item],
        start: int | None = None,
        stop: int | None = None,
        *,
        version: int | None = None,
        exact: bool = False,
    ) -> None:
        """Put items in the place of a slice, in one step; ``start`` None: at the end.

        Raises:
            VersionConflict: the list has another version than ``version``.
            OutOfRange: ``start`` must be there (``exact``), and is not.
            ObjectTooLarge, Unavailable: no room; nothing was changed.
        """
        if version is not None and version != self.version:
            raise VersionConflict(f"list {self.id!r} has version {self.version}, not {version}")
        end = len(self._items)
        self._replace(slice(end, end) if start is None else self._slice(start, stop, exact=exact), items)

    def dropped(self, error: StokerError) -> None:  # noqa: ARG002 - nobody waits on it
        """See :class:`SharedObject`."""
        self._items = []
        self._held.clear()

    def _slice(self, start: int, stop: int | None, *, exact: bool) -> slice:
        if exact and not -len(self._items) <= start < len(self._items):
            raise OutOfRange(f"list {self.id!r} has {len(self._items)} items", data={"length": len(self._items)})
        return slice(*slice(start, stop).indices(len(self._items))[:2])

    def _replace(self, where: slice, items: Sequence[Item]) -> None:
        self._held.change(weight(self._items[where]), weight(items))
        self._items[where] = items
        self.version += 1
