"""Dict and Namespace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from stoker.shared.face import Face
from stoker.shared.values import decode_all, decode_key, encode_all, encode_key

if TYPE_CHECKING:
    from stoker.client import Client


class _Map(Face):
    """The calls of both."""

    def _get(self, keys: Iterable[object] | None, *, pop: bool = False) -> dict[Any, Any]:
        params: dict[str, Any] = {"pop": pop}
        if keys is not None:
            params["keys"] = [encode_key(key) for key in keys]
        return _pairs(*self._send("dict.get", params))

    def _set(self, pairs: Mapping[Any, Any], **how: Any) -> dict[Any, Any]:
        params, payload = encode_all(list(pairs.values()))
        keys = [encode_key(key) for key in pairs]
        return _pairs(*self._send("dict.set", {"keys": keys, **params, **how}, payload))


class Dict(_Map):
    """A dict. A value that was got is a copy: change it, then set it again.

    Keys compare as in Python where they are numbers, strings, bytes or None; others by what they are pickled to.

    Args:
        name: its name; None: an anonymous one.
        initial: what it holds when it is made; not used where it is there already.
        client: whose daemon it lives in; None: the default one's.
    """

    _kind = "dict"

    def __init__(
        self,
        name: str | None = None,
        initial: Mapping[Any, Any] | Iterable[tuple[Any, Any]] = (),
        *,
        client: Client | None = None,
    ) -> None:
        created = self._open(name, client, {})["created"]
        if created and (pairs := dict(initial)):
            self._set(pairs)

    def __getitem__(self, key: Any) -> Any:
        for value in self._get([key]).values():
            return value
        raise KeyError(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._set({key: value})

    def __delitem__(self, key: Any) -> None:
        if not self._get([key], pop=True):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return bool(self._ask("dict.size", keys=[encode_key(key)])["count"])

    def __len__(self) -> int:
        return int(self._ask("dict.size")["count"])

    def __iter__(self) -> Iterator[Any]:
        return self._iterate(len(self))

    def _iterate(self, size: int) -> Iterator[Any]:
        keys = self.keys()
        if len(keys) != size:
            raise RuntimeError("dictionary changed size during iteration")
        yield from keys

    def get(self, key: Any, default: Any = None) -> Any:
        """The value of a key, or ``default``."""
        return next(iter(self._get([key]).values()), default)

    def keys(self) -> list[Any]:
        """The keys at this moment."""
        return [decode_key(key) for key in self._ask("dict.keys")["keys"]]

    def values(self) -> list[Any]:
        """The values at this moment."""
        return list(self._get(None).values())

    def items(self) -> list[tuple[Any, Any]]:
        """The items at this moment."""
        return list(self._get(None).items())

    def copy(self) -> dict[Any, Any]:
        """All of it, as a plain dict."""
        return self._get(None)

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove a key in one step; returns its value, or the default.

        Raises:
            KeyError: it is not there, and there is no default.
        """
        for value in self._get([key], pop=True).values():
            return value
        if default:
            return default[0]
        raise KeyError(key)

    def popitem(self) -> tuple[Any, Any]:
        """Remove and return the item that was inserted last, in one step.

        Raises:
            KeyError: it is empty.
        """
        for item in _pairs(*self._send("dict.pop_item", {})).items():
            return item
        raise KeyError("popitem(): dictionary is empty")

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """The value of a key, which is set to ``default`` if it is not there, in one step."""
        return next(iter(self._set({key: default}, replace=False).values()))

    def update(self, other: Mapping[Any, Any] | Iterable[tuple[Any, Any]] = (), /, **more: Any) -> None:
        """Set several keys in one step."""
        if pairs := {**dict(other), **more}:
            self._set(pairs)

    def clear(self) -> None:
        """Remove everything."""
        self._set({}, clear=True)

    def __ior__(self, other: Mapping[Any, Any]) -> Dict:  # noqa: PYI034 - Self is what it is, and mypy needs no more
        self.update(other)
        return self

    def __or__(self, other: Mapping[Any, Any]) -> dict[Any, Any]:
        return self.copy() | dict(other)

    def __str__(self) -> str:
        return str(self.copy())


class Namespace(_Map):
    """Attributes for all: those that begin with an underscore are this program's own.

    Args:
        name: its name; None: an anonymous one. Positional only, because any word may be an attribute.
        client: whose daemon it lives in; None: the default one's. Positional only too.
        attributes: what it holds when it is made.
    """

    _kind = "namespace"

    def __init__(self, name: str | None = None, client: Client | None = None, /, **attributes: Any) -> None:
        created = self._open(name, client, {})["created"]
        if created and attributes:
            self._set(attributes)

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return super().__getattribute__(name)
        for value in self._get([name]).values():
            return value
        if name in {"id", "name", "drop"}:
            return super().__getattribute__(name)
        raise AttributeError(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self._set({name: value})

    def __delattr__(self, name: str) -> None:
        if name.startswith("_"):
            super().__delattr__(name)
        elif not self._get([name], pop=True):
            raise AttributeError(name)

    def __str__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in sorted(self._get(None).items()))
        return f"Namespace({inside})"


def _pairs(reply: dict[str, Any], payload: Any) -> dict[Any, Any]:
    keys = [decode_key(key) for key in reply["keys"]]
    return dict(zip(keys, decode_all(reply, payload), strict=True))
