"""``stoker status``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from stoker.cli import overview
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser

PATIENCE = 10.0


def arguments(parser: Parser) -> None:
    """NAME…."""
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help="only these pools, burners, processes and shared objects"
    )
    parser.add_argument("--history", action="store_true", help="what burners did in each of the last 120 seconds")


def run(args: Namespace, out: Output) -> int:
    """One snapshot, as tables or as the daemon sent it."""
    params: dict[str, Any] = {"names": args.names} if args.names else {}
    with connect(args.socket) as peer:
        if args.history:
            figures, _ = peer.call("figures", params, timeout=args.timeout or PATIENCE)
            out.show(figures, "" if out.json else overview.history(figures["burners"], colour=out.colour))
            return 0
        status, _ = peer.call("status", params, timeout=args.timeout or PATIENCE)
    out.show(status, "" if out.json else overview.text(status, detailed=bool(args.names), colour=out.colour))
    return 0
