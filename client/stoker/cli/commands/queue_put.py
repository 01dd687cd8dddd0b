"""``stoker queue put``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from stoker.cli import values
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.protocol.codec import pack


def arguments(parser: Parser) -> None:
    """NAME, ITEM…, and for how long."""
    parser.add_argument("name", metavar="NAME", help="the queue; it is made if there is none")
    parser.add_argument("items", metavar="ITEM", nargs="+", type=values.value, help="JSON if it parses, else text")
    parser.add_argument("--timeout", metavar="TIME", type=values.duration, help="wait for room no longer than this")


def run(args: Namespace, out: Output) -> int:
    """Put the items at its end, in order; returns when they are in."""
    items = [pack(item) for item in args.items]
    params: dict[str, Any] = {"id": args.name, "encoding": "msgpack", "lengths": [len(item) for item in items]}
    if args.timeout is not None and args.timeout != float("inf"):
        params["timeout"] = args.timeout
    with connect(args.socket) as peer:
        peer.call("object.open", {"kind": "queue", "name": args.name})
        reply, _ = peer.call("queue.put", params, (b"".join(items),))
    out.show({"name": args.name, "accepted": reply["accepted"]})
    return 0
