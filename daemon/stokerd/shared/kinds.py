"""Every kind of shared object: what it is made of, and which options it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from stoker.errors import InvalidParams, NameTaken, ObjectDropped, StokerError
from stoker.protocol.objects import Kind, ObjectOptions
from stokerd.shared.barriers import SharedBarrier
from stokerd.shared.base import Room, SharedObject
from stokerd.shared.cells import SharedArray, SharedValue
from stokerd.shared.conditions import SharedCondition
from stokerd.shared.happenings import SharedEvent
from stokerd.shared.locks import SharedLock, SharedRLock
from stokerd.shared.mappings import SharedDict, SharedNamespace
from stokerd.shared.pipes import SharedPipe
from stokerd.shared.queues import SharedQueue
from stokerd.shared.semaphores import SharedBoundedSemaphore, SharedSemaphore
from stokerd.shared.sequences import SharedList


class _Make(NamedTuple):
    """How a kind is made.

    Args:
        build: its class.
        options: the options that its class takes.
        needed: those without which it cannot be made.
        own_lock: it comes with an rlock.
    """

    build: Callable[..., SharedObject]
    options: frozenset[str] = frozenset()
    needed: frozenset[str] = frozenset()
    own_lock: bool = False


_MAKES: Mapping[Kind, _Make] = {
    "queue": _Make(SharedQueue, frozenset({"maxsize"})),
    "lock": _Make(SharedLock, frozenset({"robust"})),
    "rlock": _Make(SharedRLock, frozenset({"robust"})),
    "semaphore": _Make(SharedSemaphore, frozenset({"value"})),
    "bounded-semaphore": _Make(SharedBoundedSemaphore, frozenset({"value", "robust"})),
    "event": _Make(SharedEvent),
    "condition": _Make(SharedCondition, frozenset({"lock"}), own_lock=True),
    "barrier": _Make(SharedBarrier, frozenset({"parties", "action"}), frozenset({"parties"})),
    "value": _Make(SharedValue, frozenset({"typecode", "itemsize"}), own_lock=True),
    "array": _Make(SharedArray, frozenset({"typecode", "itemsize", "length"}), frozenset({"length"}), own_lock=True),
    "dict": _Make(SharedDict),
    "list": _Make(SharedList),
    "namespace": _Make(SharedNamespace),
    "pipe": _Make(SharedPipe),
}


def own_lock_id(kind: Kind, object_id: str, options: ObjectOptions) -> str | None:
    """The id of the rlock that has to be made along with it; None: it needs none."""
    return f"{object_id}~lock" if _MAKES[kind].own_lock and options.lock is None else None


def build(
    room: Room, kind: Kind, object_id: str, name: str | None, options: ObjectOptions, lock: SharedObject | None
) -> SharedObject:
    """Make an object.

    Args:
        room: what it gets from its registry.
        kind: what it is.
        object_id: its id.
        name: its name.
        options: what it is like.
        lock: the lock that goes with it.

    Raises:
        InvalidParams: an option that this kind does not have, one that is missing, or a lock that is none.
    """
    make = _MAKES[kind]
    given = _given(options)
    if missing := make.needed - set(given):
        raise InvalidParams(f"a {kind} needs the option {min(missing)!r}")
    if kind == "condition":
        if not isinstance(lock, SharedLock):
            raise InvalidParams(f"{options.lock!r} is not a lock", hint="a condition goes with a lock or an rlock")
        given["lock"] = lock
    made = make.build(room, object_id, name, **given)
    made.lock_id = lock.id if lock is not None else None
    return made


def fill(made: SharedObject, initial: bytes) -> None:
    """Give a new value or array its first content.

    Raises:
        InvalidParams: it is neither, or these are not as many bytes as it has.
        OutOfRange: these are more bytes than it has.
    """
    if not isinstance(made, SharedArray):
        raise InvalidParams(
            f"a {made.kind} is opened without a payload", hint="only a value or an array is made of bytes"
        )
    try:
        made.write(initial)
    except StokerError:
        made.dropped(ObjectDropped("it was never made"))
        raise


def check_options(kind: Kind, options: ObjectOptions) -> None:
    """Refuse an option that makes no sense for a kind.

    Raises:
        InvalidParams: naming the option and those that do.
    """
    allowed = _MAKES[kind].options
    for option in _given(options):
        if option not in allowed:
            known = ", ".join(sorted(allowed)) or "none"
            raise InvalidParams(f"a {kind} has no option {option!r}", hint=f"its options: {known}")


def must_match(found: SharedObject, kind: Kind, options: ObjectOptions) -> None:
    """Refuse to take what has the name for something else.

    Raises:
        NameTaken: it is of another kind, or has other options.
    """
    if found.kind != kind:
        raise NameTaken(
            f"the name {found.name!r} belongs to a {found.kind}, not to a {kind}",
            hint="choose another name, or drop the object first",
            data={"kind": found.kind},
        )
    for option, wanted in _given(options).items():
        if (has := getattr(found.options, option)) != wanted:
            raise NameTaken(
                f"{kind} {found.name!r} exists with {option} {has!r}, not {wanted!r}",
                hint=f"leave {option} out to use it as it is, or drop it first",
                data={"option": option, "value": has},
            )


def _given(options: ObjectOptions) -> dict[str, Any]:
    values = {name: getattr(options, name) for name in options.__struct_fields__}
    return {name: value for name, value in values.items() if value is not None}
