"""What came of one step."""

from __future__ import annotations

from typing import Any, NamedTuple


class Verdict(NamedTuple):
    """One step's outcome.

    Args:
        held: whether all that it promises was seen.
        said: what was measured, in one line.
        facts: the same for programs.
    """

    held: bool
    said: str
    facts: dict[str, Any]
