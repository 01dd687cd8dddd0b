"""``stoker reload``."""

from __future__ import annotations

from argparse import Namespace

from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.errors import EXIT_FAILED

_VERBS = ("started", "stopped", "restarted", "adjusted")


def arguments(parser: Parser) -> None:
    """No options of its own."""


def run(args: Namespace, out: Output) -> int:
    """Have the configuration read again; returns when the difference is applied."""
    with connect(args.socket, start=False) as peer:
        done, _ = peer.call("reload", {}, timeout=args.timeout)
    lines = [f"changed: {', '.join(done['changed'])}" if done["changed"] else "nothing has changed"]
    lines += [f"{verb}: {', '.join(done[verb])}" for verb in _VERBS if done.get(verb)]
    out.show(done, "\n".join(lines))
    if done["needs_restart"]:
        out.warn(f"takes effect when the daemon is started again: {', '.join(done['needs_restart'])}")
    failed = done.get("failed", {})
    for what, why in failed.items():
        out.warn(f"{what}: {why}")
    return EXIT_FAILED if failed else 0
