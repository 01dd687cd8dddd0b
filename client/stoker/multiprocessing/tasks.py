"""What runs in a pool's workers: the calls of :class:`stoker.multiprocessing.pool.Pool`, and its initializer.

Standard library only: a worker imports this, and nothing else of the library. Values and exceptions are as strict as
the standard library's: what it could not send back, a lambda for instance, is a ``MaybeEncodingError`` here too. The
one difference is that instances of classes of the program's ``__main__`` travel, by value.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable
from multiprocessing.pool import MaybeEncodingError  # type: ignore[attr-defined]
from types import FunctionType
from typing import Any, Self

PROTOCOL = 5
OUTPUT = "_stoker_output"
"""Under this name an exception carries what was written before it was raised."""
NOTHING = ("", "")
MAX_OUTPUT = 1 << 20
"""Characters of output that travel with one call, or one chunk."""


class Task:
    """A function as a pool calls it.

    Args:
        function: ``module:qualname``; or its cloudpickle.
        form: ``call``: with arguments as they come; ``map``: with each item of a list; ``star``: with the items' items.
    """

    def __init__(self, function: str | bytes, form: str) -> None:
        self._function, self._form = function, form
        self._found: Callable[..., Any] | None = None

    def __reduce__(self) -> Any:
        return Task, (self._function, self._form)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function; what it returns or raises is ready to travel."""
        with _Heard() as heard:
            try:
                if self._found is None:
                    self._found = _find(self._function)
                return _sealed(self._call(self._found, args, kwargs), heard)
            except Exception as why:
                failure = why if isinstance(why, MaybeEncodingError) else _portable(why)
                if heard.output != NOTHING:
                    vars(failure)[OUTPUT] = heard.output
                raise failure  # noqa: B904 - the traceback that travels is that of what it raised

    def _call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._form == "call":
            return function(*args, **kwargs)
        if self._form == "map":
            return [function(item) for item in args[0]]
        return [function(*items) for items in args[0]]


def initialize(packed: bytes) -> None:
    """Call a pool's initializer: ``packed`` is the pickle of it and its arguments."""
    initializer, initargs = pickle.loads(packed)  # noqa: S301 - the user's own
    initializer(*initargs)


def _find(function: str | bytes) -> Callable[..., Any]:
    if isinstance(function, bytes):
        found: Any = pickle.loads(function)  # noqa: S301 - the user's own
        return found  # type: ignore[no-any-return]
    import importlib

    module, _, qualname = function.partition(":")
    found = importlib.import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name)
    return found  # type: ignore[no-any-return]


class _Sealed:
    """A value that is pickled already; to be unpickled is to become it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __reduce__(self) -> Any:
        return pickle.loads, (self._data,)


class Spoken:
    """A value, pickled already, and what was written to stdout and stderr on the way to it."""

    def __init__(self, data: bytes, output: tuple[str, str]) -> None:
        self.data, self.output = data, output


def _sealed(value: Any, heard: _Heard) -> Any:
    try:
        data = _dumps(value)
    except Exception as why:
        raise MaybeEncodingError(why, value) from None
    return _Sealed(data) if heard.output == NOTHING else Spoken(data, heard.output)


class _Tee(io.TextIOBase):
    """Text on its way to a stream of the worker's, remembered.

    Args:
        stream: where it goes.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.kept: list[str] = []
        self._size = 0

    def write(self, text: str) -> int:
        """As the stream's own."""
        if self._size < MAX_OUTPUT:
            self.kept.append(text)
            self._size += len(text)
            if self._size >= MAX_OUTPUT:
                self.kept.append("\n[... more was written; `stoker logs` has the end of it ...]\n")
        return int(self.stream.write(text))

    def flush(self) -> None:
        """As the stream's own."""
        self.stream.flush()

    def fileno(self) -> int:
        """As the stream's own."""
        return int(self.stream.fileno())

    def writable(self) -> bool:
        """It is."""
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class _Heard:
    """What Python code writes to its stdout and stderr meanwhile."""

    def __enter__(self) -> Self:
        self._streams = sys.stdout, sys.stderr
        self._tees = tuple(_Tee(stream) if stream is not None else None for stream in self._streams)
        sys.stdout, sys.stderr = self._tees
        return self

    @property
    def output(self) -> tuple[str, str]:
        """What was written to each."""
        out, err = ("".join(tee.kept) if tee is not None and tee.kept else "" for tee in self._tees)
        return out, err

    def __exit__(self, *_: object) -> None:
        if (sys.stdout, sys.stderr) == self._tees:
            sys.stdout, sys.stderr = self._streams


def _portable(why: Exception) -> Exception:
    """The exception itself where it travels, else one that tells of it."""
    try:
        _dumps(why)
    except Exception as problem:
        told: Exception = MaybeEncodingError(problem, why)
        return told
    return why


def _dumps(value: Any) -> bytes:
    try:
        return pickle.dumps(value, PROTOCOL)
    except Exception:
        if "cloudpickle" not in sys.modules:
            raise
        return _by_value(value)


def _by_value(value: Any) -> bytes:
    """With classes of ``__main__`` by value; functions that have no name of their own are refused as pickle does."""
    from stoker import byvalue

    class Strict(byvalue.Pickler):
        def reducer_override(self, obj: Any) -> Any:
            """Refuse what pickle refuses."""
            if isinstance(obj, FunctionType) and "<" in obj.__qualname__:
                raise pickle.PicklingError(f"Can't pickle {obj!r}: it has no name that it could be found by")
            return super().reducer_override(obj)

    stream = io.BytesIO()
    Strict(stream, PROTOCOL).dump(value)
    return stream.getvalue()
