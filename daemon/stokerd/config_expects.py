"""What a key may hold, in words: derived from its type, so that the words cannot drift from what is checked."""

from __future__ import annotations

from typing import Any

from msgspec import inspect


def expectation(kind: inspect.Type) -> str:
    """For instance ``"auto" or an integer from 0 to 1024`` or ``a number of seconds, at least 0``."""
    match kind:
        case inspect.Metadata():
            return _described(kind)
        case inspect.UnionType():
            return " or ".join(expectation(each) for each in sorted(kind.types, key=_literals_first))
        case inspect.LiteralType():
            words = [f'"{value}"' for value in kind.values]
            return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
        case inspect.IntType():
            return f"an integer{_range(kind)}"
        case inspect.FloatType():
            return f"a number{_range(kind)}"
        case inspect.BoolType():
            return "true or false"
        case inspect.StrType():
            return "text in quotes"
        case inspect.VarTupleType() | inspect.ListType():
            return f"a list{' that is not empty' if kind.min_length else ''}, each item {expectation(kind.item_type)}"
        case inspect.DictType():
            return "a table of text in quotes"
        case _:
            return type(kind).__name__


def _described(kind: inspect.Metadata) -> str:
    if description := (kind.extra_json_schema or {}).get("description"):
        return str(description)
    words = expectation(kind.type)
    unit = (kind.extra or {}).get("unit")
    return (
        words.replace("an integer", f"an integer ({unit})").replace("a number", f"a number ({unit})") if unit else words
    )


def _literals_first(kind: inspect.Type) -> bool:
    return not isinstance(kind, inspect.LiteralType)


def _range(kind: Any) -> str:
    if kind.ge is not None and kind.le is not None:
        return f" from {kind.ge:g} to {kind.le:g}" if isinstance(kind.le, float) else f" from {kind.ge} to {kind.le}"
    if kind.ge is not None:
        return f", at least {kind.ge}"
    return f" above {kind.gt}" if kind.gt is not None else ""
