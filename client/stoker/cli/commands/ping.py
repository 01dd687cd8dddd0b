"""``stoker ping``."""

from __future__ import annotations

import time
from argparse import Namespace

from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser

PATIENCE = 5.0
"""Seconds after which a daemon that listens and says nothing counts as hung."""


def arguments(parser: Parser) -> None:
    """No options of its own."""


def run(args: Namespace, out: Output) -> int:
    """Ask, and tell how long the answer took; never starts a daemon."""
    with connect(args.socket, start=False) as peer:
        begin = time.perf_counter()
        pong, _ = peer.call("ping", {}, timeout=args.timeout or PATIENCE)
        took = time.perf_counter() - begin
    text = f"pong from stokerd {pong['version']}, pid {pong['pid']}, in {took * 1000:.1f} ms"
    out.show({**pong, "seconds": round(took, 6)}, text)
    return 0
