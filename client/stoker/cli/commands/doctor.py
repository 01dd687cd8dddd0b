"""``stoker doctor``."""

from __future__ import annotations

from argparse import Namespace

from stoker.cli import render
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.errors import EXIT_FAILED


def arguments(parser: Parser) -> None:
    """No options of its own."""


def run(args: Namespace, out: Output) -> int:
    """Look at what Stoker needs; works without a daemon and starts none. Exit code 1 if something must be mended."""
    from stoker.cli import checkup

    findings = checkup.examine(args.socket)
    bad = sum(finding.verdict == "fail" for finding in findings)
    for finding in findings:
        verdict = render.state(finding.verdict, colour=out.colour) + " " * (4 - len(finding.verdict))
        out.line(f"{verdict}  {finding.name:<13}  {finding.found}")
        if finding.advice:
            out.line(f"      {'':<13}  → {finding.advice}")
    if out.json:
        out.show({"ok": not bad, "checks": [finding._asdict() for finding in findings]})
    return EXIT_FAILED if bad else 0
