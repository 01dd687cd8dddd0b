"""``stoker stop``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from stoker.cli import values
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.cli.values import UsageError
from stoker.errors import EXIT_FAILED, NobodyListening


def arguments(parser: Parser) -> None:
    """NAME… or --all."""
    parser.add_argument("names", metavar="NAME", nargs="*", help="burners, processes and pools")
    parser.add_argument("--all", action="store_true", help="every burner, every process and every pool but default")
    parser.add_argument("--grace", metavar="TIME", type=values.finite_duration, help="before SIGKILL (each one's own)")


def run(args: Namespace, out: Output) -> int:
    """Stop them; returns when the last of their processes has been reaped."""
    if bool(args.names) == args.all:
        raise UsageError(
            "stop what?" if not args.all else "names or --all, not both", hint="stoker stop NAME…, or stoker stop --all"
        )
    params: dict[str, Any] = {"all": True} if args.all else {"names": args.names}
    if args.grace is not None:
        params["grace"] = args.grace
    try:
        with connect(args.socket, start=False) as peer:
            done, _ = peer.call("stop", params, timeout=args.timeout)
    except NobodyListening:
        if not args.all:
            raise
        done = {"stopped": [], "survivors": 0}
    names = ", ".join(done["stopped"]) or "nothing ran"
    out.show(done, f"stopped: {names}" + (f"; {done['survivors']} processes survive" if done["survivors"] else ""))
    return EXIT_FAILED if done["survivors"] else 0
