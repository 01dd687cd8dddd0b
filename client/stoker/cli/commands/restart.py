"""``stoker restart``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from stoker.cli import values
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser


def arguments(parser: Parser) -> None:
    """Names, and how long they have."""
    parser.add_argument("names", metavar="NAME", nargs="+", help="processes, or instances of them")
    parser.add_argument("--grace", metavar="TIME", type=values.finite_duration, help="before SIGKILL (each one's own)")


def run(args: Namespace, out: Output) -> int:
    """Stop them and start them again; returns when all are up."""
    params: dict[str, Any] = {"names": args.names}
    if args.grace is not None:
        params["grace"] = args.grace
    with connect(args.socket, start=False) as peer:
        done, _ = peer.call("restart", params, timeout=args.timeout)
    pids = ", ".join(f"{name} (pid {pid})" for name, pid in zip(done["restarted"], done["pids"], strict=False))
    out.show(done, f"started again: {pids}")
    return 0
