"""``stoker cancel``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from stoker.cli import values
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser


def arguments(parser: Parser) -> None:
    """ID… and how gently."""
    parser.add_argument("ids", metavar="ID", nargs="+", type=values.job_id, help="which jobs")
    parser.add_argument(
        "--grace", metavar="TIME", type=values.finite_duration, help="from SIGINT to SIGTERM, and on to SIGKILL (2s)"
    )


def run(args: Namespace, out: Output) -> int:
    """End them; returns when they have ended. That some had ended before is success."""
    params: dict[str, Any] = {"ids": args.ids}
    if args.grace is not None:
        params["grace"] = args.grace
    with connect(args.socket, start=False) as peer:
        done, _ = peer.call("cancel", params, timeout=args.timeout)
    said = [
        f"{words}: {', '.join(map(str, ids))}"
        for words, ids in (("cancelled", done["cancelled"]), ("had ended before", done["already_ended"]))
        if ids
    ]
    out.show(done, "; ".join(said))
    return 0
