"""``stoker logs``."""

from __future__ import annotations

from argparse import Namespace

from stoker.cli import following, values
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser


def arguments(parser: Parser) -> None:
    """ID and whether to follow."""
    parser.add_argument("id", metavar="ID", help="a job's id, or the name of a supervised process")
    parser.add_argument(
        "-n", "--lines", metavar="N", type=values.whole, help="begin with the last N lines of each stream"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on until it ends")


def run(args: Namespace, out: Output) -> int:
    """Its stdout on stdout, its stderr on stderr; as text in one JSON map under ``--json``."""
    word = args.id.removeprefix("#")
    target: int | str = int(word) if word.isdecimal() else args.id
    with connect(args.socket, start=False) as peer:
        tail = following.Tail(peer, target)
        if out.json:
            following.show_json(tail, out, follow=args.follow, lines=args.lines)
        else:
            tail.copy(follow=args.follow, lines=args.lines)
    if tail.dropped:
        out.warn(f"{tail.dropped} bytes of its output were not kept")
    return 0
