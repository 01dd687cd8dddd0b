"""Maps <-> structs: what is in a head, checked against the struct that its method is tied to."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from stoker.errors import InvalidParams, MalformedMessage, UnknownMethod, UnsupportedVersion
from stoker.protocol.codec import PROTOCOL
from stoker.protocol.methods import METHODS
from stoker.protocol.requests import Request

T = TypeVar("T")

MAX_ID = 128
"""Characters of a request id that is a string."""
MAX_WHY = 300
"""Characters of a verdict that may quote what was sent."""


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
    if unknown := sorted(set(head) - {"v", "id", "method", "params"}):
        raise MalformedMessage(
            f"unknown key {unknown[0]!r:.80} in the request", hint=nearest(unknown[0], ("v", "id", "method", "params"))
        )
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
