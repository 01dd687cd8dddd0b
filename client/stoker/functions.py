"""How a function travels: by name where the worker can import it, else by value.

*By name* when ``module:qualname`` leads back to this very object, the module is not ``__main__``, and an importer finds
it again (a file loaded by hand from outside ``sys.path`` would not be found by the worker).

*By value* as cloudpickle, uploaded once and named by its SHA-256. The same function object may pickle differently the
next time: a cell or a global that it refers to may have changed. So the pickle is used again only as long as all that
it depends on is the same: code, defaults, cells, referenced globals, and those of the by-value functions it calls,
compared by identity, where each is of a kind that cannot change in place (numbers, strings, modules, whatever travels
by name). Whoever refers to anything else, a list in a global say, is pickled at each submit; equal content gets the
same hash and is not uploaded again.
"""

from __future__ import annotations

import pickle
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from operator import is_
from typing import Any, NamedTuple, TypeVar

from stoker.errors import CannotPack

PROTOCOL = 5
"""The pickle protocol of arguments and functions: 5, which every supported Python has."""

DEPTH = 4
"""Levels of arguments that are searched for large bytes: (args, kwargs), an argument, a chunk, an item."""

T = TypeVar("T")

_STEADY = (int, float, complex, str, bytes, bool, type(None), type(...), types.CodeType, types.ModuleType)


class Packed(NamedTuple):
    """A function, ready to travel.

    Args:
        function: ``module:qualname``, or ``sha256:…`` of the blob.
        name: for people.
        blob: the cloudpickle; None for a function that travels by name.
    """

    function: str
    name: str
    blob: bytes | None


class _Known(NamedTuple):
    alive: Callable[[], object]
    packed: Packed
    home: object
    """For a function that travels by name: where it was found, under ``attribute``."""
    attribute: str
    basis: tuple[object, ...]

    def holds(self, function: Any) -> bool:
        """True if packing ``function`` again would give the same."""
        if self.alive() is not function:
            return False
        if self.packed.blob is None:
            return getattr(self.home, self.attribute, None) is function
        return _same(self.basis, _basis(function))


class Packer:
    """Packs functions, and remembers those that have not changed."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}

    def pack(self, function: Callable[..., Any]) -> Packed:
        """The form in which ``function`` travels.

        Raises:
            CannotPack: it is not callable, or cloudpickle refuses it.
        """
        known = self._known.get(id(function))
        if known is not None and known.holds(function):
            return known.packed
        if not callable(function):
            raise CannotPack(f"{function!r:.80} is not callable", hint="submit a function, then its arguments")
        name = _name(function)
        reference = by_name(function)
        packed = Packed(reference, name, None) if reference else _by_value(function, name)
        self._remember(function, packed)
        return packed

    def _remember(self, function: Callable[..., Any], packed: Packed) -> None:
        key = id(function)
        basis = () if packed.blob is None else _basis(function)
        if basis is None:
            self._known.pop(key, None)
            return
        known = self._known

        def forget(_: object) -> None:
            known.pop(key, None)

        try:
            alive = weakref.ref(function, forget)
        except TypeError:  # a builtin, or an object with slots; looking it up again is cheap enough
            return
        self._known[key] = _Known(alive, packed, *_home(packed), basis)


def pack_value(value: object) -> bytes:
    """Arguments as a pickle that a worker can read: what only this program can import goes by value.

    Raises:
        CannotPack: neither pickle nor cloudpickle takes it.
    """
    try:
        packed = pickle.dumps(value, PROTOCOL)
        # an instance of a class from here, pickled by name, would look for it in the worker's own __main__
        if b"_main__" not in packed:
            return packed
    except Exception:  # noqa: S110 - any __reduce__ may raise anything; cloudpickle has the last word
        pass
    return _cloudpickle(value, "the arguments")


def flatten_value(value: object) -> tuple[bytes, list[memoryview]]:
    """As :func:`pack_value`, with large buffers beside the pickle and not in it.

    Raises:
        CannotPack: as there.
    """
    from stoker.protocol import segments

    try:
        stream, buffers = segments.flatten(value, DEPTH)
        if b"_main__" not in stream:
            return stream, buffers
    except Exception:  # noqa: S110 - as there
        pass
    return _by_cloudpickle("the arguments", lambda dumps: segments.flatten(value, DEPTH, dumps))


def by_name(function: Any) -> str | None:
    """``module:qualname`` where a worker that imports it gets this object; else None."""
    module_name = getattr(function, "__module__", None)
    qualname = getattr(function, "__qualname__", None)
    if not isinstance(module_name, str) or not isinstance(qualname, str) or "<" in qualname:
        return None
    if module_name in ("__main__", "__mp_main__") or not _leads_to(function, module_name, qualname):
        return None
    return f"{module_name}:{qualname}" if _found_again(module_name) else None


def _home(packed: Packed) -> tuple[object, str]:
    """The module or class that a function which travels by name is found in, and under which name."""
    module_name, _, qualname = packed.function.partition(":")
    outer, _, attribute = qualname.rpartition(".")
    home: Any = sys.modules.get(module_name)
    for part in filter(None, outer.split(".")):
        home = getattr(home, part, None)
    return home, attribute


def _leads_to(function: Any, module_name: str, qualname: str) -> bool:
    found: Any = sys.modules.get(module_name)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found is function


_importable: dict[str, tuple[types.ModuleType, bool]] = {}


def _found_again(module_name: str) -> bool:
    """True if an import of this module, done afresh, finds the one that is loaded. Looked up once per module."""
    module = sys.modules[module_name]
    known = _importable.get(module_name)
    if known is None or known[0] is not module:
        known = _importable[module_name] = (module, _look_up(module_name, module))
    return known[1]


def _look_up(module_name: str, module: types.ModuleType) -> bool:
    parent, _, _ = module_name.rpartition(".")
    path = None
    if parent:
        if parent not in sys.modules or not _found_again(parent):
            return False
        path = getattr(sys.modules[parent], "__path__", None)
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(module_name, path)
        except Exception:  # noqa: S112 - somebody else's importer
            continue
        if spec is not None:
            return spec.origin == getattr(getattr(module, "__spec__", None), "origin", None)
    return False


def _name(function: Any) -> str:
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    if isinstance(name, str):
        return name[-256:]
    inner = getattr(function, "func", None)
    return _name(inner) if inner is not None else type(function).__qualname__[-256:]


def _by_value(function: Callable[..., Any], name: str) -> Packed:
    import hashlib

    blob = _cloudpickle(function, f"the function {name}")
    return Packed(f"sha256:{hashlib.sha256(blob).hexdigest()}", name, blob)


def _cloudpickle(value: object, what: str) -> bytes:
    return _by_cloudpickle(what, lambda dumps: dumps(value, PROTOCOL))


def _by_cloudpickle(what: str, pack: Callable[[Callable[..., bytes]], T]) -> T:
    import cloudpickle

    from stoker.byvalue import dumps

    for module, found_again in list(_importable.values()):
        if not found_again and module.__name__ in sys.modules:
            cloudpickle.register_pickle_by_value(module)
    try:
        return pack(dumps)
    except Exception as why:  # any __reduce__ may raise anything
        raise CannotPack(
            f"{what} cannot be pickled: {why}",
            hint="open files, sockets, locks and the like do not travel: create them inside the function",
        ) from why


def _same(before: tuple[object, ...], now: tuple[object, ...] | None) -> bool:
    return now is not None and len(before) == len(now) and all(map(is_, before, now))


def _basis(function: Any) -> tuple[object, ...] | None:
    """All that the pickle of ``function`` depends on; None if some of it can change in place."""
    seen: set[int] = set()
    found: list[object] = []
    pending: list[object] = [function]
    while pending:
        value = pending.pop()
        found.append(value)
        if id(value) in seen or isinstance(value, _STEADY):
            continue
        seen.add(id(value))
        if isinstance(value, tuple) and type(value) is tuple:
            pending.extend(value)
        elif by_name(value) is not None:
            continue
        elif isinstance(value, types.FunctionType):
            pending.extend(_dependencies(value))
        else:
            return None
    return tuple(found)


def _dependencies(function: types.FunctionType) -> Iterator[object]:
    yield function.__code__
    yield function.__defaults__
    yield from (function.__kwdefaults__ or {}).values()
    yield from vars(function).values()
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            yield cell
    names = function.__globals__
    for name in _global_names(function.__code__):
        if name in names:
            yield names[name]


_names_of: weakref.WeakKeyDictionary[types.CodeType, tuple[str, ...]] = weakref.WeakKeyDictionary()


def _global_names(code: types.CodeType) -> tuple[str, ...]:
    """The globals that this code and the functions in it refer to."""
    known = _names_of.get(code)
    if known is None:
        known = _names_of[code] = tuple(sorted(set(_read_global_names(code))))
    return known


def _read_global_names(code: types.CodeType) -> Iterator[str]:
    import dis

    for instruction in dis.get_instructions(code):
        if instruction.opname.endswith(("_GLOBAL", "_NAME")):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _read_global_names(constant)
