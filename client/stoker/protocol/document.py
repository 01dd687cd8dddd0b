"""The whole protocol as one OpenRPC document, generated from the structs, so that it cannot drift.

OpenRPC 1.3 where it fits: ``methods`` with their parameters and results as JSON Schema, ``components.schemas``. What it
has no place for is under ``x-``: a method's parameters as one map, events, error codes (words here, numbers there) and
the framing.
"""

from __future__ import annotations

import inspect
import re
import types
from typing import Any, get_args

import msgspec

import stoker
from stoker.errors import StokerError, codes
from stoker.protocol.codec import MAX_HEAD, PROTOCOL
from stoker.protocol.events import all_events
from stoker.protocol.methods import METHODS, least_role
from stoker.protocol.models import ErrorInfo
from stoker.protocol.requests import ResultPart

Map = dict[str, Any]
_REF = "#/components/schemas/{name}"


def document() -> Map:
    """The document: JSON values only."""
    kinds = _all_structs()
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    refs = dict(zip(kinds, schemas, strict=True))
    return {
        "openrpc": "1.3.2",
        "info": {
            "title": "Stoker",
            "version": stoker.__version__,
            "description": "The control protocol of stokerd: MessagePack over ZeroMQ.",
        },
        "methods": [_method(name, kind, refs, components) for name, kind in METHODS.items()],
        "components": {"schemas": components},
        "x-events": [_event(topic, kind, refs) for topic, kind in all_events().items()],
        "x-errors": [_error(code, kind) for code, kind in codes().items()],
        "x-framing": _framing(),
    }


def members(kind: Any) -> tuple[Any, ...]:
    """The structs that a method takes: those of a union, or the one."""
    return get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


def _all_structs() -> list[Any]:
    """Every struct that the document names, each once."""
    found: dict[Any, None] = {ErrorInfo: None, ResultPart: None}
    for kind in METHODS.values():
        for member in members(kind):
            found |= {member: None, member.reply: None}
    return [*found, *all_events().values()]


def _method(name: str, kind: Any, refs: dict[Any, Map], components: Map) -> Map:
    structs = members(kind)
    first = structs[0]
    method: Map = {
        "name": name,
        "summary": _summary(first)
        if len(structs) == 1
        else f"One struct per kind: {', '.join(_tag(s) for s in structs)}.",
        "paramStructure": "by-name",
        "params": _params(structs, components),
        "result": {"name": first.reply.__name__, "schema": refs[first.reply]},
        "x-role": min(least_role(struct) for struct in structs).word,
        "x-params": refs[first] if len(structs) == 1 else {"oneOf": [refs[struct] for struct in structs]},
    }
    if more := _body(first) if len(structs) == 1 else "":
        method["description"] = more
    return method


def _params(structs: tuple[Any, ...], components: Map) -> list[Map]:
    """One entry per parameter; of a union, all of them, required where every kind requires it."""
    found: dict[str, Map] = {}
    for struct in structs:
        for name, field in components[struct.__name__]["properties"].items():
            entry = found.setdefault(name, {"name": name, "schema": field})
            entry["schema"] = field if entry["schema"] == field else _either(entry["schema"], field)
    for name, entry in found.items():
        entry["required"] = all(name in components[struct.__name__].get("required", ()) for struct in structs)
        if words := _words(name, structs):
            entry["description"] = words
    return list(found.values())


def _words(name: str, structs: tuple[Any, ...]) -> str:
    """What the docstrings say of a parameter; said differently, each with its kind."""
    told = {_tag(struct): text for struct in structs if (text := _told(struct).get(name))}
    if len(set(told.values())) <= 1:
        return next(iter(told.values()), "")
    return " ".join(f"{kind}: {text}" for kind, text in told.items())


def _either(one: Map, other: Map) -> Map:
    """A schema for a parameter that kinds spell differently: both tags, or both schemas."""
    if "enum" in one and "enum" in other:
        return {**one, "enum": [*dict.fromkeys([*one["enum"], *other["enum"]])]}
    known = one.get("anyOf", [one]) if set(one) == {"anyOf"} else [one]
    return {"anyOf": [*known, other]} if other not in known else one


def _event(topic: str, kind: Any, refs: dict[Any, Map]) -> Map:
    return {"topic": topic, "summary": _summary(kind), "schema": refs[kind]}


def _error(code: str, kind: type[StokerError]) -> Map:
    return {
        "code": code,
        "class": kind.__name__,
        "summary": _summary(kind),
        "retryable": kind.retryable,
        "exit_code": kind.exit_code,
        "parents": [base.code for base in kind.__mro__[1:] if issubclass(base, StokerError)],
    }


def _framing() -> Map:
    return {
        "protocol": PROTOCOL,
        "sockets": {
            "control": "ROUTER; connect a REQ or a DEALER socket. ipc://PATH/control.sock, or, with CURVE, tcp://HOST:PORT",
            "status": "the same with the role observe, where the daemon has one: ipc://PATH/control.status.sock",
            "events": "XPUB; connect a SUB socket and subscribe to topics. Endpoint: in status and in hello's reply",
        },
        "message": "an empty delimiter frame, one MessagePack map (the head), payload frames that are not decoded",
        "request": {"v": PROTOCOL, "id": "integer or string", "method": "a word of `methods`", "params": "a map"},
        "reply": {"id": "that of the request", "result": "a map"},
        "reply to be continued": {
            "id": "that of the request",
            "result": {"$ref": _REF.format(name="ResultPart")},
            "more": True,
        },
        "error": {"id": "that of the request, or null", "error": {"$ref": _REF.format(name="ErrorInfo")}},
        "event": "two frames: the topic, and MessagePack [seq, time, topic, map]",
        "types": "strings are MessagePack str; what a schema calls base64 is MessagePack bin; times are float seconds",
        "limits": {"head_bytes": MAX_HEAD, "more": "in the reply to hello"},
    }


def _tag(struct: Any) -> str:
    return str(struct.__struct_config__.tag)


def _doc(kind: Any) -> str:
    """A docstring with its roles and double backticks as Markdown."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", inspect.cleandoc(kind.__doc__ or ""))
    return text.replace("``", "`")


def _summary(kind: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(_doc(kind).split("\n\n", 1)[0].split())


def _body(kind: Any) -> str:
    """What stands between the first paragraph and the arguments."""
    rest = _doc(kind).partition("\n\n")[2]
    return "" if rest.startswith("Args:") else " ".join(rest.partition("\n\nArgs:")[0].split())


def _told(kind: Any) -> dict[str, str]:
    """What the docstring's ``Args`` says of each field."""
    section = _doc(kind).partition("Args:\n")[2].split("\n\n", 1)[0]
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}
