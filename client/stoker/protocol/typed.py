"""Maps <-> structs: what is in a head, checked against the struct that its method is tied to."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from stoker.errors import InvalidParams, MalformedMessage, UnknownMethod, UnsupportedVersion
from stoker.protocol.codec import PROTOCOL, Frame, encode_reply
from stoker.protocol.methods import METHODS
from stoker.protocol.requests import Request, Submit

T = TypeVar("T")

MAX_ID = 128
"""Characters of a request id that is a string."""
MAX_WHY = 300
"""Characters of a verdict that may quote what was sent."""


REMEMBERED = 256
"""Submits of pickled calls whose decoded form is kept."""
MAX_REMEMBERED = 2048
"""Bytes of the parameters of one."""
_SUBMIT = Submit.method
_remembered: dict[bytes, Submit] = {}

_KEYS = frozenset(("v", "id", "method", "params", "quiet"))


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    """A head that has nothing unusual in it."""

    id: int | Annotated[str, Meta(max_length=MAX_ID)]
    method: str
    v: int = PROTOCOL
    params: msgspec.Raw = msgspec.Raw(b"\x80")
    quiet: bool = False


def quick_request(data: Frame) -> tuple[int | str, Request[Any], bool] | None:
    """What :func:`decode_request` finds in a head, in a fifth of the time, where there is nothing unusual in it.

    Args:
        data: the head, MessagePack.

    Returns:
        Id, request and whether it is quiet. None where the long way has to be gone: for a method whose parameters may
        hold any value, and to say what is wrong.
    """
    try:
        head = _HEADS.decode(data)
        if head.v != PROTOCOL:
            return None
        request = _submit(head.params) if head.method == _SUBMIT else _PLAIN[head.method].decode(head.params)
    except (msgspec.MsgspecError, KeyError, ValueError, RecursionError):
        return None
    return None if request is None else (head.id, request, head.quiet)


def _submit(params: msgspec.Raw) -> Request[Any] | None:
    """A submit: the very same object for the same bytes, while they are remembered; None where it holds a call.

    Who hands in jobs of one function one after the other sends the same parameters again and again.
    """
    small = len(params) <= MAX_REMEMBERED
    if small and (known := _remembered.get(key := bytes(params))) is not None:
        return known
    request: Submit = _PLAIN[_SUBMIT].decode(params)
    for spec in request.jobs:
        if spec.call is not None:
            return None
        if spec.pickle is None or spec.environment is not None or spec.key is not None:
            small = False
    if small:
        if len(_remembered) >= REMEMBERED:
            _remembered.clear()
        _remembered[key] = request
    return request


def encode_result(request_id: int | str | None, reply: msgspec.Struct, payload: Sequence[Frame] = ()) -> list[Frame]:
    """The frames of a reply, delimiter first, as :func:`stoker.protocol.codec.encode_reply` makes them.

    Raises:
        CannotPack: it holds something that MessagePack has no form for.
    """
    try:
        head = _ENCODER.encode({"id": request_id, "result": reply})
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
        return encode_reply(request_id, to_map(reply), payload)
    return [b"", head, *payload]


def nearest(word: str, known: Iterable[str]) -> str:
    """``did you mean "…"?`` for the known word that is nearest to ``word``, or an empty string."""
    close = difflib.get_close_matches(word[:100], list(known), n=1, cutoff=0.5)
    return f'did you mean "{close[0]}"?' if close else ""


def request_id(head: dict[str, Any]) -> int | str | None:
    """The id that a reply to this head must carry; None where it has no usable one."""
    value = head.get("id")
    if isinstance(value, str) and len(value) <= MAX_ID:
        return value
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def decode_request(head: dict[str, Any]) -> Request[Any]:
    """The request that a head holds.

    Raises:
        UnsupportedVersion: ``v`` is not the version that this side speaks.
        MalformedMessage: no usable id, no method, or an unknown key.
        UnknownMethod: no such method.
        InvalidParams: the parameters are not those of the method.
    """
    version = head.get("v", PROTOCOL)
    if type(version) is not int or version != PROTOCOL:
        raise UnsupportedVersion(
            f"protocol version {_shown(version)} is not spoken here", hint=f"this daemon speaks version {PROTOCOL}"
        )
    if request_id(head) is None:
        raise MalformedMessage(
            "the request has no usable id", hint=f'give it "id": an integer, or a string of at most {MAX_ID} characters'
        )
    if not head.keys() <= _KEYS:
        unknown = sorted(head.keys() - _KEYS)
        raise MalformedMessage(f"unknown key {unknown[0]!r:.80} in the request", hint=nearest(unknown[0], _KEYS))
    if type(head.get("quiet", False)) is not bool:
        raise MalformedMessage('"quiet" is neither true nor false', hint="leave it out to be answered in any case")
    method = head.get("method")
    if not isinstance(method, str) or method not in METHODS:
        raise UnknownMethod(
            f"there is no method {_shown(method)}",
            hint=(nearest(method, METHODS) if isinstance(method, str) else "") or "see `stoker api` for all methods",
        )
    request: Request[Any] = decode(head.get("params", {}), METHODS[method], what=method)
    return request


def _shown(value: Any) -> str:
    """A value that somebody sent, short enough to be told; what holds others is told by its type only."""
    if isinstance(value, str):
        return repr(value[:80])
    return repr(value) if value is None or isinstance(value, int | float) else f"of type {type(value).__name__}"


def decode(value: Any, kind: Any, *, what: str) -> Any:
    """``value`` as an instance of ``kind``, a struct or a union of structs.

    Raises:
        InvalidParams: it is not one; the message says where and why, the hint names the nearest field.
    """
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as why:
        told = str(why)
        raise InvalidParams(
            f"{what}: {told if len(told) <= MAX_WHY else told[:MAX_WHY] + ' …'}",
            hint=_hint(told, kind) or f"`stoker api` shows what {what} takes",
            data={"method": what},
        ) from None
    except RecursionError:
        raise InvalidParams(f"{what}: nested too deeply") from None


def _hint(why: str, kind: Any) -> str:
    where = why.rpartition(" - at `$")[2] if " - at `$" in why else ""
    *holders, last = ["", *re.findall(r"\.(\w+)", where)]
    if unknown := re.search(r"unknown field `([^`]*)`", why):
        return nearest(unknown[1], [field.encode_name for field in _fields(kind, [*holders, last])])
    if re.search(r"missing required field `kind`", why) or "Invalid value" in why:
        kinds = [str(member.tag) for member in _structs(msgspec.inspect.type_info(kind)) if member.tag]
        return f"kind is one of {', '.join(kinds)}" if kinds else ""
    if why.startswith("Invalid enum value"):
        allowed = {word for field in _fields(kind, holders) if field.encode_name == last for word in _words(field.type)}
        return f"it is one of {', '.join(sorted(allowed))}" if allowed else ""
    return ""


def _structs(info: msgspec.inspect.Type) -> list[msgspec.inspect.StructType]:
    """The structs that something of this type may be, or may be made of."""
    if isinstance(info, msgspec.inspect.StructType):
        return [info]
    if isinstance(info, msgspec.inspect.UnionType):
        return [found for member in info.types for found in _structs(member)]
    if isinstance(info, msgspec.inspect.ListType | msgspec.inspect.VarTupleType):
        return _structs(info.item_type)
    return []


def _fields(kind: Any, path: Sequence[str]) -> list[msgspec.inspect.Field]:
    """The fields of what lies at a path, which begins with an empty name for ``kind`` itself."""
    infos = [msgspec.inspect.type_info(kind)]
    fields: list[msgspec.inspect.Field] = []
    for name in path:
        if name:
            infos = [field.type for field in fields if field.encode_name == name]
        fields = [field for info in infos for struct in _structs(info) for field in struct.fields]
    return fields


def _words(info: msgspec.inspect.Type) -> list[str]:
    """The words that a field of this type may hold, where it may hold only some."""
    if isinstance(info, msgspec.inspect.LiteralType):
        return [str(word) for word in info.values]
    if isinstance(info, msgspec.inspect.EnumType):
        return [str(member.value) for member in info.cls]
    if isinstance(info, msgspec.inspect.ListType | msgspec.inspect.VarTupleType):
        return _words(info.item_type)
    if isinstance(info, msgspec.inspect.UnionType):
        return [word for member in info.types for word in _words(member)]
    return []


def to_map(value: msgspec.Struct) -> dict[str, Any]:
    """A struct as a map of plain values; bytes stay bytes."""
    try:
        plain: dict[str, Any] = msgspec.to_builtins(value, builtin_types=(bytes, bytearray, memoryview))
    except RecursionError:  # it holds a value that is nested as deeply as MessagePack allows; that is plain already
        return _map_of(value)
    return plain


def _map_of(value: msgspec.Struct) -> dict[str, Any]:
    """As :func:`to_map`, without a look into what is no struct."""
    config = value.__struct_config__
    fields = zip(value.__struct_encode_fields__, msgspec.structs.astuple(value), strict=True)
    plain = {name: _plain(field) for name, field in fields if field is not msgspec.UNSET}
    return {config.tag_field: config.tag} | plain if config.tag_field else plain


def _plain(field: Any) -> Any:
    if isinstance(field, msgspec.Struct):
        return _map_of(field)
    if isinstance(field, list | tuple) and any(isinstance(item, msgspec.Struct) for item in field):
        return [_plain(item) for item in field]
    return str(field) if isinstance(field, StrEnum) else field


def encode_params(request: Request[Any]) -> dict[str, Any]:
    """The parameters of a request as a map."""
    return to_map(request)


def _is_plain(info: msgspec.inspect.Type) -> bool:
    """Whether a value of this type is read alike by everybody: it holds nothing of which any type would do."""
    if isinstance(info, msgspec.inspect.StructType):
        return all(_is_plain(field.type) for field in info.fields)
    if isinstance(info, msgspec.inspect.UnionType):
        return all(_is_plain(member) for member in info.types)
    if isinstance(info, msgspec.inspect.ListType | msgspec.inspect.VarTupleType):
        return _is_plain(info.item_type)
    if isinstance(info, msgspec.inspect.DictType):
        return _is_plain(info.key_type) and _is_plain(info.value_type)
    return isinstance(info, _PLAIN_TYPES)


_PLAIN_TYPES = (
    msgspec.inspect.IntType,
    msgspec.inspect.FloatType,
    msgspec.inspect.BoolType,
    msgspec.inspect.StrType,
    msgspec.inspect.BytesType,
    msgspec.inspect.NoneType,
    msgspec.inspect.LiteralType,
    msgspec.inspect.EnumType,
)
_HEADS = msgspec.msgpack.Decoder(_Head)
_ENCODER = msgspec.msgpack.Encoder()
_PLAIN = {
    word: msgspec.msgpack.Decoder(kind)
    for word, kind in METHODS.items()
    if kind is Submit or _is_plain(msgspec.inspect.type_info(kind))
}
"""How to read the parameters of the methods for which the short way is open. Of a submit it is calls alone that may
hold any value."""
