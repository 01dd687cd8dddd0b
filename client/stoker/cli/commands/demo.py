"""``stoker demo``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from stoker.cli import render
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.errors import EXIT_FAILED


def arguments(parser: Parser) -> None:
    """No options of its own; ``--socket`` is not looked at: the daemon is private, and ended afterwards."""


def run(args: Namespace, out: Output) -> int:
    """The tour; exit code 0 only if every step held."""
    from stoker.cli import tour

    outcome = tour.run(args.timeout, lambda name, title: _announce(name, title, out), lambda step: _tell(step, out))
    words = "all of it held" if outcome["held"] else "NOT all of it held"
    out.show(outcome, f"\n{words}, in {outcome['seconds']:.1f} s")
    return 0 if outcome["held"] else EXIT_FAILED


def _announce(name: str, title: str, out: Output) -> None:
    out.line(f"{render.paint(name, 'bold', colour=out.colour)}: {title}")


def _tell(step: dict[str, Any], out: Output) -> None:
    word = (
        render.paint("held", "green", colour=out.colour)
        if step["held"]
        else render.paint("FAILED", "red", colour=out.colour)
    )
    out.line(f"  {word}: {step['said']}")
