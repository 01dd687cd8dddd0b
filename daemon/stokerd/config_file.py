"""A TOML file and what is wrong with it: every problem with its line, the nearest known key and what is allowed.

Each key is converted on its own, so that all problems are told at once and each knows exactly where it is.
"""

from __future__ import annotations

import re
import tomllib
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import inspect

from stoker.errors import ConfigError
from stoker.protocol.models import Name
from stoker.protocol.typed import nearest
from stokerd.config_expects import expectation
from stokerd.toml_lines import Path as Keys
from stokerd.toml_lines import lines_of

S = TypeVar("S", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Args:
        key: dotted.
        line: counted from 1; None where the file has no line for it.
    """

    key: str
    line: int | None
    message: str
    hint: str = ""


@dataclass(frozen=True)
class ConfigFile:
    """The file as read.

    Args:
        path: where it is.
        text: what is in it.
        content: the same as maps.
    """

    path: Path
    text: str
    content: dict[str, Any]
    _lines: dict[Keys, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> ConfigFile:
        """Read the file.

        Raises:
            ConfigError: it cannot be read, or is not TOML.
        """
        where: dict[str, Any] = {"path": str(path), "line": None, "key": ""}
        try:
            text = path.read_text(encoding="utf-8")
            return cls(path, text, tomllib.loads(text), lines_of(text))
        except OSError as why:
            raise ConfigError(
                f"the configuration {path} cannot be read: {why.strerror or why}",
                hint="check the path given by --config or STOKER_CONFIG, and its permissions",
                data=where,
            ) from None
        except UnicodeDecodeError as why:
            raise ConfigError(
                f"the configuration {path} is not UTF-8: {why.reason} at byte {why.start}", data=where
            ) from None
        except tomllib.TOMLDecodeError as why:
            found = re.search(r"at line (\d+), column (\d+)", str(why))
            line = int(found[1]) if found else text.count("\n") + 1
            raise ConfigError(
                f"{path}:{line}: not TOML: {why}",
                hint="text needs quotes, tables are written [table] and every key once",
                data=where | {"line": line},
            ) from None

    def line(self, keys: Keys) -> int | None:
        """The line of a key, else of the nearest table above it."""
        return next((self._lines[keys[:end]] for end in range(len(keys), 0, -1) if keys[:end] in self._lines), None)

    def problem(self, keys: Keys, message: str, hint: str = "") -> Problem:
        """A problem with one key of this file."""
        return Problem(".".join(keys), self.line(keys), message, hint)

    def raise_for(self, problems: list[Problem]) -> None:
        """Tell of the problems, if there are any.

        Raises:
            ConfigError: the first problem by line, with all of them in ``data["problems"]``.
        """
        if not problems:
            return
        ordered = sorted(problems, key=lambda problem: problem.line or 0)
        first = ordered[0]
        place = f"{self.path}:{first.line}" if first.line else str(self.path)
        more = f" (and {len(ordered) - 1} more)" if len(ordered) > 1 else ""
        raise ConfigError(
            f"{place}: {first.key}: {first.message}{more}",
            hint=first.hint,
            data={
                "path": str(self.path),
                "line": first.line,
                "key": first.key,
                "problems": [
                    {"key": each.key, "line": each.line, "message": each.message, "hint": each.hint} for each in ordered
                ],
            },
        )


def convert(file: ConfigFile, kind: type[S]) -> S:
    """The file as a struct of tables.

    Raises:
        ConfigError: something is wrong; all of it is told.
    """
    problems: list[Problem] = []
    tables = _struct(file, (), file.content, kind, problems)
    file.raise_for(problems)
    assert tables is not None, "no struct without a problem"  # noqa: S101 - for the type checker
    return tables


def _struct(file: ConfigFile, at: Keys, content: Any, kind: type[S], problems: list[Problem]) -> S | None:
    if not isinstance(content, dict):
        problems.append(file.problem(at, f"{_show(content)} where a table is expected", f"write [{'.'.join(at)}]"))
        return None
    before, values = len(problems), {}
    fields = {each.name: each for each in msgspec.structs.fields(kind)}
    for key in content.keys() - fields.keys():
        known = ", ".join(fields)
        noun = "key" if at else "table"
        hint = nearest(key, fields) or f"known here: {known}"
        problems.append(file.problem((*at, key), f"there is no {noun} {key!r} here", hint))
    for name, each in fields.items():
        if name in content:
            values[name] = _value(file, (*at, name), content[name], each.type, problems)
        elif each.required:
            message = f"the key {name!r} is missing"
            problems.append(file.problem(at, message, f"it is {expectation(inspect.type_info(each.type))}"))
    return kind(**values) if len(problems) == before else None


def _value(file: ConfigFile, at: Keys, value: Any, kind: Any, problems: list[Problem]) -> Any:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct(file, at, value, kind, problems)
    if get_origin(kind) is dict and issubclass(entry := get_args(kind)[1], msgspec.Struct):
        return _named(file, at, value, entry, problems)
    try:
        if value != value:  # noqa: PLR0124 - nan is within every range, as no comparison with it fails
            raise msgspec.ValidationError
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as why:
        where = re.search(r"\$(.*)`$", str(why))
        problems.append(_wrong(file, at, value, kind, where[1] if where else ""))
        return None


def _wrong(file: ConfigFile, at: Keys, value: Any, kind: Any, inside: str) -> Problem:
    allowed = expectation(inspect.type_info(kind))
    index = re.fullmatch(r"\[(\d+)\]", inside)
    shown = f"item {index[1]} is {_show(value[int(index[1])])}" if index else _show(value)
    if inside == "[...]":
        shown = "a table with something else in it"
    words = [word for each in _literals(kind) for word in get_args(each)]
    return file.problem(
        at, f"{shown}, where {allowed} is expected", nearest(value, words) if isinstance(value, str) else ""
    )


def _literals(kind: Any) -> list[Any]:
    members = get_args(kind) if isinstance(kind, types.UnionType) or get_origin(kind) is not Literal else (kind,)
    return [member for member in members if get_origin(member) is Literal]


def _named(file: ConfigFile, at: Keys, content: Any, kind: type[S], problems: list[Problem]) -> dict[str, S | None]:
    if not isinstance(content, dict):
        problems.append(file.problem(at, f"{_show(content)} where tables are expected", f"write [{at[-1]}.NAME]"))
        return {}
    named: dict[str, S | None] = {}
    for name, entry in content.items():
        try:
            msgspec.convert(name, Name)
        except msgspec.ValidationError:
            hint = "use letters, digits and _ . : @ -, the first a letter or digit or _, at most 128"
            problems.append(file.problem((*at, name), f"{name!r:.140} is not a name", hint))
            continue
        if not isinstance(entry, dict):
            hint = f"write [{at[-1]}.NAME] above it"
            problems.append(file.problem((*at, name), f"{_show(entry)} where a table is expected", hint))
            continue
        named[name] = _struct(file, (*at, name), entry, kind, problems)
    return named


def _show(value: Any) -> str:
    """A wrong value as it stands in the file, near enough."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value:.60}"'
    return "a table" if isinstance(value, dict) else f"{value!s:.60}"
