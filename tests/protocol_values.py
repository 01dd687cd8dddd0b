"""Random values of the protocol's types: a hypothesis strategy for any msgspec type, built by looking into it."""

from __future__ import annotations

import functools
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

INT64 = st.integers(-(2**63), 2**64 - 1)
FLOATS = st.floats(allow_nan=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | INT64 | FLOATS | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
"""Whatever MessagePack has a form for, and compares equal to itself."""
MOST = 3
"""Items of a list, where its type allows more."""


@functools.cache
def instances(kind: Any) -> st.SearchStrategy[Any]:
    """Valid instances of a type."""
    return _of(inspect.type_info(kind))


def _of(info: inspect.Type) -> st.SearchStrategy[Any]:
    found = _SIMPLE.get(type(info))
    if found is not None:
        return found
    return _MADE[type(info)](info)


_SIMPLE: dict[type, st.SearchStrategy[Any]] = {
    inspect.AnyType: PLAIN,
    inspect.BoolType: st.booleans(),
    inspect.NoneType: st.none(),
}


def _integers(info: inspect.IntType) -> st.SearchStrategy[int]:
    low = -(2**63) if info.ge is None else info.ge
    high = 2**64 - 1 if info.le is None else info.le
    return st.integers(low if info.gt is None else info.gt + 1, high if info.lt is None else info.lt - 1)


def _floats(info: inspect.FloatType) -> st.SearchStrategy[float]:
    low, high = info.ge if info.gt is None else info.gt, info.le if info.lt is None else info.lt
    return st.floats(low, high, exclude_min=info.gt is not None, exclude_max=info.lt is not None, allow_nan=False)


def _texts(info: inspect.StrType) -> st.SearchStrategy[str]:
    if info.pattern is not None:
        return st.from_regex(info.pattern, fullmatch=True).filter(lambda text: len(text) <= (info.max_length or 10**6))
    return st.text(min_size=info.min_length or 0, max_size=min(info.max_length or 12, 12))


def _items(info: inspect.ListType | inspect.VarTupleType) -> st.SearchStrategy[list[Any]]:
    least = info.min_length or 0
    return st.lists(_of(info.item_type), min_size=least, max_size=max(least, MOST))


def _structs(info: inspect.StructType) -> st.SearchStrategy[Any]:
    required = {field.name: _of(field.type) for field in info.fields if field.required}
    optional = {field.name: _of(field.type) for field in info.fields if not field.required}
    return st.fixed_dictionaries(required, optional=optional).map(lambda fields: info.cls(**fields))


_MADE: dict[type, Any] = {
    inspect.IntType: _integers,
    inspect.FloatType: _floats,
    inspect.StrType: _texts,
    inspect.BytesType: lambda info: st.binary(min_size=info.min_length or 0, max_size=max(info.min_length or 0, 16)),
    inspect.ListType: _items,
    inspect.VarTupleType: lambda info: _items(info).map(tuple),
    inspect.TupleType: lambda info: st.tuples(*map(_of, info.item_types)),
    inspect.DictType: lambda info: st.dictionaries(_of(info.key_type), _of(info.value_type), max_size=MOST),
    inspect.LiteralType: lambda info: st.sampled_from(list(info.values)),
    inspect.EnumType: lambda info: st.sampled_from(list(info.cls)),
    inspect.UnionType: lambda info: st.one_of([_of(member) for member in info.types]),
    inspect.Metadata: lambda info: _of(info.type),
    inspect.StructType: lambda info: st.deferred(lambda: _structs(info)),
}


def same(left: msgspec.Struct, right: msgspec.Struct) -> bool:
    """Equal, and of the same type."""
    return type(left) is type(right) and left == right
