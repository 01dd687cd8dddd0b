"""``stoker up``."""

from __future__ import annotations

import os
from argparse import Namespace

from stoker.cli import values
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.errors import EndpointInUse, NobodyListening


def arguments(parser: Parser) -> None:
    """How it is to run."""
    parser.add_argument("--foreground", action="store_true", help="stay in the terminal and log to it; Ctrl-C ends it")
    parser.add_argument("--config", metavar="FILE", help="its configuration")
    parser.add_argument(
        "--idle-exit", metavar="TIME", type=values.duration, help="leave after this long without work (never)"
    )


def run(args: Namespace, out: Output) -> int:
    """Start a daemon and return when it serves; one that serves already is success."""
    from stoker.cli import launch

    endpoint = launch.endpoint(args.socket, os.environ)
    if pid := _serving(endpoint.url, args.timeout):
        return _tell(out, pid, endpoint.url, started=False)
    options = launch.options(args.config, args.idle_exit)
    if args.foreground:
        launch.become(endpoint, options)
    try:
        pid = launch.start(endpoint, options, args.timeout)
    except EndpointInUse:  # somebody else's was quicker
        if (other := _serving(endpoint.url, args.timeout)) is None:
            raise
        return _tell(out, other, endpoint.url, started=False)
    return _tell(out, pid, endpoint.url, started=True)


def _serving(url: str, timeout: float | None) -> int | None:
    """The process id of the daemon that serves there."""
    from stoker.cli.commands.ping import PATIENCE
    from stoker.cli.connecting import connect

    try:
        with connect(url, start=False) as peer:
            pong, _ = peer.call("ping", {}, timeout=timeout or PATIENCE)
    except NobodyListening:
        return None
    return int(pong["pid"])


def _tell(out: Output, pid: int, url: str, *, started: bool) -> int:
    words = "stokerd is up" if started else "stokerd was up already"
    out.show({"pid": pid, "endpoint": url, "started": started}, f"{words}: pid {pid}, {url}")
    return 0
