"""``stoker reload``."""

from __future__ import annotations

from argparse import Namespace

from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser


def arguments(parser: Parser) -> None:
    """No options of its own."""


def run(args: Namespace, out: Output) -> int:
    """Have the configuration read again; returns when the difference is applied."""
    with connect(args.socket, start=False) as peer:
        done, _ = peer.call("reload", {}, timeout=args.timeout)
    text = f"changed: {', '.join(done['changed'])}" if done["changed"] else "nothing has changed"
    out.show(done, text)
    if done["needs_restart"]:
        out.warn(f"takes effect when the daemon is started again: {', '.join(done['needs_restart'])}")
    return 0
