"""How a worker runs one job of each form, and how it packs what comes of it. Standard library only."""

from __future__ import annotations

import functools
import importlib
import os
import pickle
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stokerd.forkserver.borrowed import borrow
from stokerd.pool import messages
from stokerd.pool.commands import CommandFailed, run_command

if TYPE_CHECKING:
    from stokerd.pool.parcels import Laid, Parcels

MAX_TEXT = 64 * 1024
"""Characters of a traceback or message that are sent; the rest is cut from the middle."""
MAX_FUNCTIONS = 256
"""Functions that a worker remembers; the daemon keeps the same count and sends a forgotten one again."""


LARGE = 64 * 1024
"""Bytes from which a pickle is laid in shared memory."""
T = TypeVar("T")
MAX_BASES = 16
"""Classes that a failure is told to be of, its own first: for ``retry_on``."""


class JobTerminated(BaseException):
    """SIGTERM, on the way up the ladder: ends the job whatever ``except Exception`` it runs under."""


class Refused(Exception):
    """A verdict on the job that is not its own exception: code, message and hint of the wire."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


REPLY_DEPTH = 8
"""Levels of nesting around a value, and bytes that a list of one takes for each of them."""
_PLAIN = frozenset({type(None), bool, int, float, str, bytes})

_OWN = str(Path(__file__).parent) + os.sep


@functools.cache
def _msgpack() -> Any:
    return borrow("msgpack")


class Functions:
    """The functions that this worker knows, by reference: ``module:qualified.name`` or ``sha256:digest``."""

    def __init__(self) -> None:
        self._known: dict[bytes, Callable[..., Any]] = {}
        self._codes: dict[bytes, bytes] = {}

    def learn(self, reference: bytes, code: bytes) -> None:
        """Take an uploaded function; it is unpickled when first called, so that its errors are its job's."""
        if len(self._codes) >= MAX_FUNCTIONS:
            self._codes.clear()
            self._known.clear()
        self._codes[reference] = code

    def find(self, reference: bytes) -> Callable[..., Any]:
        """The function.

        Raises:
            Refused: it can't be imported or unpickled, is not there, or is not callable.
        """
        known = self._known.get(reference)
        if known is None:
            known = self._known[reference] = self._load(reference)
        return known

    def _load(self, reference: bytes) -> Callable[..., Any]:
        code = self._codes.get(reference)
        function = _unpickle(code) if code is not None else import_function(reference.decode())
        if not callable(function):
            raise Refused(
                "function-not-found", f"{reference.decode()} is {type(function).__name__}, which can't be called"
            )
        found: Callable[..., Any] = function
        return found


def _unpickle(code: bytes) -> Any:
    try:
        return pickle.loads(code)  # noqa: S301 - runs as the user's own code, in the user's worker
    except BaseException as why:
        raise Refused(
            "function-not-found",
            f"the function can't be unpickled in the worker: {type(why).__name__}: {_text(why)}",
            "what it needs must be importable by the worker's interpreter (see `stoker status` for its environment)",
        ) from why


def import_function(reference: str) -> Any:
    """What ``module:qualified.name`` stands for.

    Raises:
        Refused: with the reason.
    """
    module_name, _, qualified = reference.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as why:
        raise Refused(
            "function-not-found",
            f"there is no module {why.name!r} for {reference}",
            f"the worker looks in {', '.join(sys.path[:3])} … of {sys.executable}",
        ) from why
    except BaseException as why:
        raise Refused(
            "function-not-found", f"importing {module_name} failed: {type(why).__name__}: {_text(why)}"
        ) from why
    for name in qualified.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as why:
            raise Refused("function-not-found", f"{module_name} has no {qualified!r}", _similar(found, name)) from why
    return found


def _similar(holder: Any, name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, [word for word in dir(holder) if not word.startswith("__")], n=1)
    return f'did you mean "{close[0]}"?' if close else ""


unpickle = pickle.loads
"""How arguments are read that have come with their job."""


def run(
    form: int,
    function: Callable[..., Any] | None,
    payload: memoryview,
    read: Callable[[memoryview], Any] = unpickle,
) -> Any:
    """Call it; the value is not packed yet. ``read`` gives pickled arguments."""
    if form == messages.COMMAND or function is None:
        return run_command(_msgpack().unpackb(payload, raw=False))
    if form == messages.NAMED:
        args, kwargs = _msgpack().unpackb(payload, raw=False, strict_map_key=False)
        return function(*args, **kwargs)
    try:
        arguments = read(payload)
    except (JobTerminated, KeyboardInterrupt):
        raise  # somebody ends the job
    except BaseException as why:  # SystemExit included: no word of the function's has been run
        raise Refused(
            "arguments-not-readable",
            f"the arguments can't be unpickled in the worker: {type(why).__name__}: {_text(why)}",
            "what they consist of must be importable by the worker's interpreter",
        ) from why
    if form == messages.CALL:
        return function(*arguments[0], **arguments[1])
    if form == messages.ITEM:
        return function(arguments)
    return [function(item) for item in arguments]


def pack_value(form: int, value: Any, limit: int) -> bytes:
    """The value as it travels; ``limit`` is the most bytes that it may have.

    Raises:
        Refused: it can't be packed, or is too large.
    """
    try:
        packed = _messagepack(value) if form >= messages.NAMED else _pickle(value)
    except SystemExit:
        raise  # a value that leaves while it is pickled: the job's own doing, as in its function
    except BaseException as why:
        raise _not_packable(form, value, why) from why
    _check_size(len(packed), limit)
    return packed


def pack_large(form: int, value: Any, limit: int, mine: Parcels | None) -> bytes | Laid:
    """As :func:`pack_value`; what is large is laid in shared memory, where there is room for it.

    Raises:
        Refused: as there.
    """
    if mine is None or form >= messages.NAMED:
        return pack_value(form, value, limit)
    try:
        stream, buffers = _by_dumps(functools.partial(mine.flatten, value))
    except SystemExit:
        raise
    except BaseException as why:
        raise _not_packable(form, value, why) from why
    size = len(stream) + sum(buffer.nbytes for buffer in buffers)
    _check_size(size, limit)
    if not buffers and size < LARGE:
        return stream
    laid = mine.lay(stream, buffers)
    if laid is not None:
        return laid
    return pack_value(form, value, limit) if buffers else stream


def _not_packable(form: int, value: Any, why: BaseException) -> Refused:
    named = form == messages.NAMED
    return Refused(
        "result-not-packable",
        f"the value, {_short_repr(value)}, can't be {'MessagePacked' if named else 'pickled'}:"
        f" {type(why).__name__}: {_text(why)}",
        "return None, bool, int of 64 bits, float, str, bytes, lists or maps" if named else "",
    )


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise Refused(
            "result-too-large",
            f"the value has {size} bytes, at most {limit} are allowed",
            "return less, write it to a file, or raise limits.result_bytes",
        )


def _messagepack(value: Any) -> bytes:
    # In as many lists as a reply puts around it: nested more deeply than that, it could be packed here and not there.
    packed: bytes = _msgpack().packb([[[[[[[[value]]]]]]]], use_bin_type=True)[REPLY_DEPTH:]
    if type(value) not in _PLAIN:
        _msgpack().unpackb(packed, raw=False, strict_map_key=False, ext_hook=_no_extension)
    return packed


def _no_extension(number: int, _data: bytes) -> Any:
    raise TypeError(f"extension type {number} is not part of the protocol")


def _pickle(value: Any) -> bytes:
    if type(value) in _PLAIN:
        return pickle.dumps(value, 5)
    return _by_dumps(lambda dumps: dumps(value, 5))


def _by_dumps(pack: Callable[[Callable[..., bytes]], T]) -> T:
    """What ``pack`` makes with the standard library's ``dumps``, or cloudpickle's."""
    try:
        return pack(pickle.dumps)
    except (pickle.PicklingError, AttributeError, TypeError):
        # Lambdas and classes of __main__ or of a notebook: by value, as they came.
        cloudpickle = sys.modules.get("cloudpickle")
        if cloudpickle is None:
            raise
        return pack(cloudpickle.dumps)


def _short_repr(value: Any) -> str:
    try:
        text = repr(value)
    except BaseException:  # whatever a user's __repr__ raises
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 200 else text[:200] + "…"


def pack_error(form: int, why: BaseException) -> bytes:
    """A failure as the MessagePack map that ``ErrorInfo`` reads, with the pickled exception where there can be one."""
    told: dict[str, Any] = {"code": "job-failed", "message": _cut(_text(why))}
    if isinstance(why, Refused):
        told["code"] = why.code
        if why.hint:
            told["hint"] = _cut(why.hint)
        if why.__cause__ is not None and why.code in ("function-not-found", "arguments-not-readable"):
            told["traceback"] = _format(why.__cause__)
    elif isinstance(why, CommandFailed):
        told |= {"type": "CommandFailed", "data": {"exit_code": why.exit_code}}
    else:
        kind = type(why)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        told["type"] = _cut(name)
        told["bases"] = [f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__[:MAX_BASES]]
        told["traceback"] = _format(why)
        if form < messages.NAMED:
            told |= _pickled(why)
    packed: bytes = _msgpack().packb(told, use_bin_type=True)
    return packed


def _text(why: BaseException) -> str:
    if isinstance(why, JobTerminated):
        return "ended by SIGTERM"
    try:
        return str(why)
    except BaseException:  # whatever a user's __str__ raises, SystemExit included
        return f"<{type(why).__name__} whose text can't be had>"


def _format(why: BaseException) -> str:
    frames = why.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_OWN):
        frames = frames.tb_next  # the job's own story begins after ours
    try:
        lines = traceback.format_exception(type(why), why, frames)
    except BaseException:  # a broken __str__ or __cause__ must not cost the verdict
        return f"{type(why).__name__}\n"
    return _cut("".join(lines))


def _cut(text: str) -> str:
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT // 2] + "\n … \n" + text[-MAX_TEXT // 2 :]
    # Text from outside may hold lone surrogates, which have no form in UTF-8.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _pickled(why: BaseException) -> dict[str, bytes]:
    try:
        packed = _pickle(why)
        pickle.loads(packed)  # noqa: S301 - what can't be read back here would surprise the client there
    except BaseException:  # any failure means the same: it travels as text only
        return {}
    return {"pickle": packed} if len(packed) <= messages.LENGTH // 4 else {}
