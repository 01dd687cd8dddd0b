"""``stoker start NAME``."""

from __future__ import annotations

from argparse import Namespace

from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser


def arguments(parser: Parser) -> None:
    """Names."""
    parser.usage = "stoker start NAME [NAME …], or stoker start burner|process|pool NAME …"
    parser.add_argument(
        "names", metavar="NAME", nargs="+", help="processes or instances that are down, burners of the configuration"
    )


def run(args: Namespace, out: Output) -> int:
    """Start them as the daemon knows them, one after the other; returns when all are up."""
    started = []
    with connect(args.socket, start=False) as peer:
        for name in args.names:
            reply, _ = peer.call("start", {"kind": "known", "name": name}, timeout=args.timeout)
            started.append(reply)
    lines = [f"{each['kind']} {each['name']} is up: pid {', '.join(map(str, each['pids']))}" for each in started]
    out.show({"started": started}, "\n".join(lines))
    return 0
