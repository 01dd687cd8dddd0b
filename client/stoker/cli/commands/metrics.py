"""``stoker metrics``."""

from __future__ import annotations

from argparse import Namespace

from stoker.cli import exposition
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser

PATIENCE = 10.0


def arguments(_parser: Parser) -> None:
    """There are none of its own."""


def run(args: Namespace, out: Output) -> int:
    """One snapshot, for a scraper: a text-file collector, or whatever runs a command."""
    with connect(args.socket, start=False) as peer:
        status, _ = peer.call("status", {}, timeout=args.timeout or PATIENCE)
    out.show(status, exposition.text(status).removesuffix("\n"))
    return 0
