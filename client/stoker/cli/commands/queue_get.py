"""``stoker queue get``."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from stoker.cli import render, values
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser


def arguments(parser: Parser) -> None:
    """NAME, how many, and for how long."""
    parser.add_argument("name", metavar="NAME", help="the queue")
    parser.add_argument(
        "-n", "--max", metavar="N", type=values.count, default=1, help="take so many, as far as there are (1)"
    )
    parser.add_argument("--timeout", metavar="TIME", type=values.duration, help="wait for an item no longer than this")


def run(args: Namespace, out: Output) -> int:
    """Take items from its front, waiting for the first, and print each on a line of its own.

    They are gone from the queue once they are printed: should this be killed before, they return to its front.
    """
    params: dict[str, Any] = {"id": args.name, "max": args.max, "ack": "manual"}
    if args.timeout is not None and args.timeout != float("inf"):
        params["timeout"] = args.timeout
    with connect(args.socket, start=False) as peer:
        reply, (data,) = peer.call("queue.get", params)
        items = _items(reply, memoryview(data))
        out.show({"name": args.name, "items": items}, "\n".join(map(render.result, items)))
        sys.stdout.flush()
        peer.call("queue.ack", {"id": args.name, "deliveries": [reply["delivery"]]})
    return 0


def _items(reply: dict[str, Any], data: memoryview) -> list[Any]:
    from stoker.shared.values import decode

    items, start = [], 0
    for length in reply["lengths"]:
        items.append(decode(reply["encoding"], data[start : start + length]))
        start += length
    return items
