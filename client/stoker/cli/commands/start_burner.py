"""``stoker start burner``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from stoker.cli import values
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser


def arguments(parser: Parser) -> None:
    """NAME and what the load is to be."""
    parser.add_argument("name", metavar="NAME", help="its name")
    parser.add_argument("--workers", metavar="N", type=values.count, default=1, help="number of processes (1)")
    load_options(parser)
    parser.add_argument("--replace", action="store_true", help="stop a burner of the same name first")


def load_options(parser: Parser) -> None:
    """The options that every load has; `stoker burn` has them too."""
    parser.add_argument(
        "--load",
        metavar="PCT",
        type=values.percent,
        required=True,
        help="target of each process in percent of one core",
    )
    parser.add_argument(
        "--for",
        metavar="TIME",
        dest="seconds",
        type=values.positive_duration,
        help="end after 30s, 10m, 1h, or forever",
    )
    parser.add_argument("--cpus", metavar="LIST", type=values.cpus, help="cores to pin to, such as 0-3,5")
    parser.add_argument("--nice", metavar="N", type=values.integer, help="niceness of the processes (10)")
    parser.add_argument("--kind", choices=("spin",), help="what generates the load (spin)")


def load_params(args: Namespace) -> dict[str, Any]:
    """The wire parameters of :func:`load_options`; what was not given is left to the daemon."""
    given = {"load": args.load, "seconds": args.seconds, "cpus": args.cpus, "nice": args.nice, "generator": args.kind}
    return {key: value for key, value in given.items() if value is not None}


def run(args: Namespace, out: Output) -> int:
    """Start it; returns when the load has been observed."""
    params = {"kind": "burner", "name": args.name, "workers": args.workers, **load_params(args)}
    if args.replace:
        params["replace"] = True
    with connect(args.socket) as peer:
        started, _ = peer.call("start", params, timeout=args.timeout)
    pids = ", ".join(map(str, started["pids"]))
    out.show(started, f"burner {started['name']} runs at {args.load:g} % of a core each: pid {pids}")
    return 0
