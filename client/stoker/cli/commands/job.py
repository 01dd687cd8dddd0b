"""``stoker job``."""

from __future__ import annotations

from argparse import Namespace

from stoker.cli import outcome, values
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser


def arguments(parser: Parser) -> None:
    """ID."""
    parser.add_argument("id", metavar="ID", type=values.job_id, help="which job")


def run(args: Namespace, out: Output) -> int:
    """Everything about it, the worker's traceback included."""
    with connect(args.socket, start=False) as peer:
        reply, _ = peer.call("jobs", {"ids": [args.id]}, timeout=args.timeout)
    job = reply["jobs"][0]
    out.show(job, outcome.details(job, colour=out.colour))
    return 0
