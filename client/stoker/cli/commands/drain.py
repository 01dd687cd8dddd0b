"""``stoker drain``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from stoker.cli import values
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.errors import DeadlineExceeded


def arguments(parser: Parser) -> None:
    """POOL and for how long."""
    parser.add_argument("name", metavar="POOL", nargs="?", default="default", help="which pool (default)")
    parser.add_argument("--timeout", metavar="TIME", type=values.duration, help="wait no longer than this")


def run(args: Namespace, out: Output) -> int:
    """Wait until it is empty; it takes new jobs again after ``stoker set POOL --resume``."""
    params: dict[str, Any] = {"name": args.name}
    if args.timeout is not None:
        params["timeout"] = args.timeout
    with connect(args.socket, start=False) as peer:
        reply, _ = peer.call("drain", params)
    if reply["left"]:
        jobs = "1 job" if reply["left"] == 1 else f"{reply['left']} jobs"
        late = DeadlineExceeded(
            f"pool {args.name} still has {jobs}", hint="it goes on draining; wait again, or cancel them"
        )
        out.complain(late)
        return late.exit_code
    out.show(reply, f"pool {args.name} is empty and takes no new jobs; `stoker set {args.name} --resume` opens it")
    return 0
