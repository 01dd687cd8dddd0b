"""``stoker limit``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from stoker.cli import render, values
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser


def arguments(parser: Parser) -> None:
    """TAG and how many."""
    parser.add_argument("tag", metavar="TAG", nargs="?", help="which tag; without one, every limit is shown")
    parser.add_argument("most", metavar="N", nargs="?", type=_most, help="how many at a time; `none`: as many as like")


def _most(text: str) -> int:
    return -1 if text in ("none", "off") else values.whole(text)


def run(args: Namespace, out: Output) -> int:
    """Set it, or show what is set."""
    params: dict[str, Any] = {}
    if args.tag is not None and args.most is not None:
        params = {"tag": args.tag, "most": None if args.most < 0 else args.most}
    with connect(args.socket) as peer:
        reply, _ = peer.call("limit", params, timeout=args.timeout)
    limits = reply["limits"]
    shown = {tag: most for tag, most in limits.items() if args.tag in (None, tag)}
    rows = list(shown.items())
    out.show(reply, render.table(("TAG", ">AT A TIME"), rows, colour=out.colour) if rows else "no limit is set")
    return 0
