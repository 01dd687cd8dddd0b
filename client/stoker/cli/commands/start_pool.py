"""``stoker start pool``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from stoker.cli import kinds, values
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser


def arguments(parser: Parser) -> None:
    """NAME and its size."""
    parser.add_argument("name", metavar="NAME", help="its name")
    parser.add_argument("--workers", metavar="N", type=values.whole, help="number of workers (the usable cores)")
    parser.add_argument(
        "--max-jobs", metavar="N", type=values.whole, help="jobs of one worker before a fresh one takes its place (any)"
    )
    parser.add_argument(
        "--memory",
        metavar="BYTES",
        type=kinds.size,
        help="memory of one worker, above which it is killed: 512M, 2G (any)",
    )
    parser.add_argument("--initializer", metavar="FUNCTION", help="package.module:name, called in each worker first")
    parser.add_argument("--engine", choices=("local",), help="where its jobs run (local)")


def run(args: Namespace, out: Output) -> int:
    """Create it."""
    params: dict[str, Any] = {"kind": "pool", "name": args.name}
    given = {
        "workers": args.workers,
        "engine": args.engine,
        "max_jobs": args.max_jobs,
        "memory_bytes": args.memory,
        "initializer": {"call": {"function": args.initializer}} if args.initializer else None,
    }
    params |= {key: value for key, value in given.items() if value is not None}
    with connect(args.socket) as peer:
        started, _ = peer.call("start", params, timeout=args.timeout)
    out.show(started, f"pool {started['name']} is there")
    return 0
