"""On which line each key of a TOML text stands, which tomllib does not tell.

The text has been parsed by tomllib already, so this scanner need only follow it: headers, keys, and values just well
enough to know where they end (strings of four kinds, brackets, comments). Keys inside inline tables have no line of
their own: they stand on that of their table.
"""

from __future__ import annotations

import re
import tomllib
from typing import TypeAlias

Path: TypeAlias = tuple[str, ...]

_SKIP = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_KEY = re.compile(rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*")
_PARTS = re.compile(_PART)
_TOKEN = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'  # text over several lines; it may end in up to two quotes of its own
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*|[\[\]{}\n]|[^\"'#\[\]{}\n]+",
    re.DOTALL,
)


def lines_of(text: str) -> dict[Path, int]:
    """The line, counted from 1, on which each key and table is first named.

    Args:
        text: valid TOML.
    """
    lines: dict[Path, int] = {}
    table: Path = ()
    at = _skip(text, 0)
    while at < len(text):
        line = text.count("\n", 0, at) + 1
        header = re.compile(r"\[\[?[ \t]*").match(text, at)
        key = _KEY.match(text, header.end() if header else at)
        if key is None:  # not TOML after all: what was found so far is what can be told
            return lines
        parts = tuple(_plain(part) for part in _PARTS.findall(key[0]))
        path = parts if header else table + parts
        for end in range(1, len(path) + 1):
            lines.setdefault(path[:end], line)
        if header:
            table = path
        at = _skip(text, _end_of_line(text, key.end()))
    return lines


def _skip(text: str, at: int) -> int:
    found = _SKIP.match(text, at)
    return found.end() if found else at


def _plain(part: str) -> str:
    """A key without its quotes."""
    return str(next(iter(tomllib.loads(f"{part} = 0"))))


def _end_of_line(text: str, at: int) -> int:
    """Where the statement that goes on at ``at`` ends: the first line end outside of brackets and strings."""
    depth = 0
    while (token := _TOKEN.match(text, at)) is not None:
        at = token.end()
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
        elif token[0] == "\n" and depth <= 0:
            break
    return at
