"""Progress where nobody watches: results on stdout, complaints on stderr, no bar."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self


class Hidden:
    """The face of :class:`stoker.cli.bar.Bar` without a bar."""

    shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """There is nothing to take away."""

    def advance(self, *, failed: bool) -> None:
        """One more has ended."""

    def print(self, line: str) -> None:
        """A line of stdout."""
        print(line)

    def complain(self, line: str) -> None:
        """A line of stderr."""
        print(line, file=sys.stderr, flush=True)
