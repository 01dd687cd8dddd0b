"""``stoker queue status``."""

from __future__ import annotations

from argparse import Namespace

from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser


def arguments(parser: Parser) -> None:
    """NAME."""
    parser.add_argument("name", metavar="NAME", help="the queue")


def run(args: Namespace, out: Output) -> int:
    """How many items wait, are with somebody who has not acknowledged them, and are not done."""
    with connect(args.socket, start=False) as peer:
        told, _ = peer.call("queue.size", {"id": args.name}, timeout=args.timeout)
    bound = f" of {told['maxsize']}" if told["maxsize"] else ""
    text = f"{told['size']}{bound} waiting, {told['on_loan']} on loan, {told['unfinished']} not done"
    out.show({"name": args.name, **told}, f"queue {args.name}: {text}")
    return 0
