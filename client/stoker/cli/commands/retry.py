"""``stoker retry``."""

from __future__ import annotations

from argparse import Namespace

from stoker.cli import outcome, values
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser


def arguments(parser: Parser) -> None:
    """ID…."""
    parser.add_argument("ids", metavar="ID", nargs="+", type=values.job_id, help="which jobs")


def run(args: Namespace, out: Output) -> int:
    """Queue them again."""
    with connect(args.socket, start=False) as peer:
        reply, _ = peer.call("retry", {"ids": args.ids}, timeout=args.timeout)
    out.show({"jobs": reply["jobs"]}, outcome.table(reply["jobs"], colour=out.colour))
    return 0
