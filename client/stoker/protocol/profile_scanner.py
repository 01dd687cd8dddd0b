"""Reading the text of a profile from left to right: its signs, words, levels and durations, and where one is wrong."""

from __future__ import annotations

import json
import math
import re
from typing import NoReturn

from stoker.errors import BadProfile
from stoker.protocol.profile import LONGEST, UNITS, duration, number

SHORTEST = 0.001
"""Seconds of the shortest duration."""
SHORTEST_PERIOD = 0.1
"""Seconds of the shortest period: ten ticks of a burner, which can't follow anything shorter."""
MOST_SPEED = 1_000_000.0

_NUMERAL = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?"
_NUMBER = re.compile(rf"(-?{_NUMERAL})(?![\w.])", re.IGNORECASE)
_PART = re.compile(rf"({_NUMERAL})(ms|s|m|h|d)", re.IGNORECASE)
_DURATION = re.compile(rf"(?:{_NUMERAL}(?:ms|s|m|h|d))+(?![\w.])", re.IGNORECASE)
_WHOLE = re.compile(r"[0-9]{1,18}(?![\w.])")
_WORD = re.compile(r"[A-Za-z_]+")
_BLANK = re.compile(r"(?:\s+|#[^\n]*)*")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"' + r"|'[^']*'", re.DOTALL)
_BARE = re.compile(r"""[^\s,;"'][^\s,;"']*""")
_FOUND = re.compile(r"[,;]|[^\s,;]+")
_FOREVER = re.compile(r"forever\b|inf\b", re.IGNORECASE)
_TIMES = re.compile(rf"x({_NUMERAL})(?![\w.])", re.IGNORECASE)


def refuse(text: str, at: int, what: str, *, hint: str = "") -> NoReturn:
    """Refuse a text for what is at this place, and show where that is.

    Args:
        text: all of it.
        at: index of the first character that is wrong.
        what: what is wrong there.
        hint: what would be right.

    Raises:
        BadProfile: always.
    """
    line = text.count("\n", 0, at) + 1
    begin = text.rfind("\n", 0, at) + 1
    column = at - begin + 1
    shown, caret = _window(text[begin:].split("\n", 1)[0], at - begin)
    where = f"column {column}" if "\n" not in text.strip() else f"line {line}, column {column}"
    raise BadProfile(
        f"{where}: {what}\n    {shown}\n    {' ' * caret}^",
        hint=hint or "`stoker plan 'PROFILE'` shows what a profile does; docs/profiles.md describes them",
        data={"line": line, "column": column},
    )


def _window(line: str, at: int) -> tuple[str, int]:
    """At most 72 characters of a line around one of them, and where that is in them."""
    line = "".join(char if char.isprintable() else " " for char in line)
    first = max(0, min(at - 48, len(line) - 70)) if len(line) > 72 else 0
    shown = ("…" if first else "") + line[first : first + 70] + ("…" if first + 70 < len(line) else "")
    return shown, at - first + (first > 0)


class Scanner:
    """One text, and how far it has been read.

    Args:
        text: all of it.
    """

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.blank()

    def band(self) -> tuple[float, float]:
        """``40±20``; 50±50 where there is none."""
        if not self.is_number():
            return 50.0, 50.0
        at, middle = self.at, self.level()
        if not self.take("±") and not self.take("+-") and not self.take("+/-"):
            self.expected("± (or +-) and how far it swings, as in 40±20")
        swing = self.level("how far it swings, such as 20")
        if middle - swing < 0 or middle + swing > 100:
            self.fail(
                f"{number(middle)}±{number(swing)} reaches from {number(middle - swing)} to {number(middle + swing)},"
                " outside 0 to 100",
                at=at,
            )
        return middle, swing

    def forever(self) -> bool:
        """Whether ``forever`` came."""
        return self.match(_FOREVER) is not None

    def times(self) -> float | None:
        """The factor of ``x10``; None where none comes."""
        at = self.at
        found = self.match(_TIMES)
        return None if found is None else self.positive(float(found[1]), at, MOST_SPEED)

    def is_number(self) -> bool:
        """Whether a number comes next."""
        return _NUMBER.match(self.text, self.at) is not None

    def level(self, expected: str = "a level in percent such as 60") -> float:
        """A level, 0 to 100; a ``%`` after it is allowed."""
        at = self.at
        found = self.match(_NUMBER)
        if found is None:
            return self.expected(expected)
        self.take("%")
        level = float(found[1])
        if not 0 <= level <= 100:
            self.fail(
                f"a level of {found[1][:40]} is outside 0 to 100",
                at=at,
                hint="levels are percent; more workers load more cores",
            )
        return level + 0.0

    def duration(self, *, forever: bool = False) -> float:
        """Seconds; ``inf`` for ``forever`` where that may be."""
        at = self.at
        if forever and self.forever():
            return math.inf
        found = self.match(_DURATION)
        if found is None:
            bare = _NUMBER.match(self.text, at)
            hint = f"a duration has a unit (ms, s, m, h, d): {bare[1]}s?" if bare else ""
            return self.expected("a duration such as 10m", hint=hint)
        seconds = math.fsum(float(count) * UNITS[unit.lower()] for count, unit in _PART.findall(found[0]))
        if seconds < SHORTEST:
            self.fail(f"a duration of {found[0][:40]} is no time at all", at=at, hint="give at least 1ms")
        if seconds > LONGEST:
            self.fail(f"a duration of {found[0][:40]} is above {duration(LONGEST)}", at=at, hint="or say `forever`")
        return seconds

    def lasting(self) -> float:
        """A duration, or ``forever``."""
        return self.duration(forever=True)

    def period(self) -> float:
        """A duration that is long enough to be followed."""
        at, seconds = self.at, self.duration()
        if seconds < SHORTEST_PERIOD:
            self.fail(f"{number(seconds)} s is shorter than {SHORTEST_PERIOD:g} s: no burner can follow that", at=at)
        return seconds

    def factor(self, most: float) -> float:
        """A number between 1/most and most."""
        at, found = self.at, self.match(_NUMBER)
        if found is None:
            return self.expected("a factor such as 10")
        return self.positive(float(found[1]), at, most)

    def positive(self, factor: float, at: int, most: float) -> float:
        """The same number, if it is between 1/most and most."""
        if not 1 / most <= factor <= most:
            self.fail(f"a factor of {number(factor)} is outside {number(1 / most)} to {number(most)}", at=at)
        return factor

    def whole(self, expected: str) -> int:
        """A whole number from 0."""
        found = self.match(_WHOLE)
        return int(found[0]) if found else self.expected(expected)

    def name(self, expected: str) -> str:
        """A file or a column: as it is up to a blank or a comma, or in quotes."""
        at = self.at
        if quoted := self.match(_QUOTED):
            try:
                text = str(json.loads(quoted[0], strict=False)) if quoted[0][0] == '"' else quoted[0][1:-1]
            except ValueError:
                self.fail("there is a backslash that means nothing between these quotes", at=at)
            if text:
                return text
        elif bare := self.match(_BARE):
            return bare[0]
        return self.expected(expected, at=at)

    def arrow(self) -> bool:
        """Whether an arrow came, ``->`` or ``→``."""
        return self.take("->") or self.take("→")

    def keyword(self, word: str) -> bool:
        """Whether this word came; it is read only then."""
        before = self.at
        if self.word() == word:
            return True
        self.at = before
        return False

    def word(self) -> str:
        """A word in lower case; empty where none comes."""
        found = self.match(_WORD)
        return found[0].lower() if found else ""

    def take(self, sign: str) -> bool:
        """Whether this sign came; it is read only then."""
        if not self.text.startswith(sign, self.at):
            return False
        self.at += len(sign)
        self.blank()
        return True

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """What comes, if it is this."""
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
            self.blank()
        return found

    def blank(self) -> None:
        """Skip blanks and comments."""
        blank = _BLANK.match(self.text, self.at)
        self.at = blank.end() if blank else self.at

    def expected(self, expected: str, *, at: int | None = None, hint: str = "") -> NoReturn:
        """Refuse what comes, which is not what should."""
        place = self.at if at is None else at
        found = _FOUND.match(self.text, place)
        said = f'"{found[0][:40]}"' if found else "the end"
        self.fail(f"expected {expected}, found {said}", at=place, hint=hint)

    def fail(self, what: str, *, at: int, hint: str = "") -> NoReturn:
        """Refuse what is at this place; see :func:`refuse`."""
        refuse(self.text, at, what, hint=hint)
