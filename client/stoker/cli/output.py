"""Where a verb writes: results on stdout, notes and failures on stderr; under ``--json`` stdout is JSON alone."""

from __future__ import annotations

import os
import sys
from typing import Any

from stoker.cli import render
from stoker.errors import ConfigError, StokerError


class Output:
    """The two streams of one run of the command.

    Args:
        json: ``--json`` was given.
    """

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        self.colour = not json and render.wants_colour(sys.stdout, os.environ)
        self._colour_err = render.wants_colour(sys.stderr, os.environ)

    def show(self, facts: dict[str, Any], text: str = "") -> None:
        """The outcome: ``facts`` under ``--json``, else ``text`` where there is any."""
        if self.json:
            print(render.as_json(facts), flush=True)
        elif text:
            print(text, flush=True)

    def line(self, text: str) -> None:
        """One more line for people; nothing under ``--json``."""
        if not self.json:
            print(text, flush=True)

    def note(self, text: str) -> None:
        """A remark that is not the outcome: stderr."""
        print(text, file=sys.stderr, flush=True)

    def failure(self, error: StokerError) -> None:
        """What went wrong, why, and what to do next: stderr; and as JSON on stdout under ``--json``."""
        if self.json:
            print(render.as_json({"error": error.to_wire()}), flush=True)
        self.complain(error)

    def complain(self, error: StokerError) -> None:
        """The words of :meth:`failure`, on stderr alone."""
        head = render.paint("stoker:", "red", colour=self._colour_err)
        self.note(f"{head} {error.message or error.wire_code}")
        if error.hint:
            self.note(f"  {render.paint('hint:', 'cyan', colour=self._colour_err)} {error.hint}")
        if isinstance(error, ConfigError):
            for further in error.further:
                self.note(f"{head} {further}")

    def warn(self, text: str) -> None:
        """A remark that should be seen: stderr, in yellow where there is colour."""
        self.note(f"{render.paint('stoker:', 'yellow', colour=self._colour_err)} {text}")
