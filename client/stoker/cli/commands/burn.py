"""``stoker burn``."""

from __future__ import annotations

from argparse import Namespace

from stoker.cli import values
from stoker.cli.commands.start_burner import load_options, load_params
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser


def arguments(parser: Parser) -> None:
    """N and the load."""
    parser.add_argument("workers", metavar="N", type=values.count, nargs="?", help="number of processes (1)")
    load_options(parser)


def run(args: Namespace, out: Output) -> int:
    """Burn in the foreground. The load ends with Ctrl-C, with SIGTERM, and with this process, however that ends."""
    from stoker.cli import furnace

    with connect(args.socket) as peer:
        return furnace.Furnace(peer, out, args.timeout).burn(args.workers, load_params(args))
