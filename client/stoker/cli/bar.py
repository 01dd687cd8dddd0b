"""A progress bar on stderr: rate, time left, failures. The CLI imports rich here and nowhere else."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn


class Bar:
    """A bar while results come.

    Args:
        total: how many there will be; None: not known.
    """

    shown = True

    def __init__(self, total: int | None) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("[red]{task.fields[failures]}"),
            console=self._console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=total, rate="", failures="")
        self._failed = 0
        # Lines of stdout would run into the bar if both are the same terminal: then rich moves the bar for us.
        self._same_terminal = sys.stdout.isatty()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advance(self, *, failed: bool) -> None:
        """One more has ended."""
        self._failed += failed
        speed = self._progress.tasks[0].speed
        self._progress.update(
            self._task,
            advance=1,
            rate=f"{speed:,.0f}/s" if speed else "",
            failures=f"{self._failed} failed" if self._failed else "",
        )

    def print(self, line: str) -> None:
        """A line of stdout."""
        if self._same_terminal:
            self._console.out(line, highlight=False)
        else:
            print(line)

    def complain(self, line: str) -> None:
        """A line of stderr."""
        self._console.out(line, style="red", highlight=False)
