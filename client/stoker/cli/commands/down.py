"""``stoker down``."""

from __future__ import annotations

import contextlib
import os
import select
from argparse import Namespace
from typing import Any

from stoker.cli import values
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.errors import DaemonLost, DeadlineExceeded, NobodyListening


def arguments(parser: Parser) -> None:
    """--grace."""
    parser.add_argument(
        "--grace",
        metavar="TIME",
        type=values.finite_duration,
        help="how long running jobs may go on; then they are ended",
    )


def run(args: Namespace, out: Output) -> int:
    """Ask the daemon to end and wait for the process itself to be gone; no daemon is success."""
    params: dict[str, Any] = {} if args.grace is None else {"grace": args.grace}
    try:
        with connect(args.socket, start=False) as peer:
            pid, watch = _watched(peer.call("ping", {}, timeout=args.timeout)[0]["pid"])
            with contextlib.suppress(DaemonLost):  # it may be quicker than its answer
                peer.call("shutdown", params, timeout=args.timeout)
    except NobodyListening:
        out.show({"pid": None, "was_running": False}, "no daemon runs")
        return 0
    _wait(watch, pid, args.timeout)
    out.show({"pid": pid, "was_running": True}, f"stokerd, pid {pid}, has ended")
    return 0


def _watched(pid: int) -> tuple[int, int | None]:
    """A pidfd taken while the daemon surely lives; None where it is not of this machine."""
    try:
        return pid, os.pidfd_open(pid)
    except OSError:
        return pid, None


def _wait(watch: int | None, pid: int, timeout: float | None) -> None:
    if watch is None:
        return
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    try:
        if not poll.poll(None if timeout is None else timeout * 1000):
            raise DeadlineExceeded(
                f"stokerd, pid {pid}, is still ending after {timeout:g} s",
                hint="its jobs are given their grace time: --grace 0 ends them",
            )
    finally:
        os.close(watch)
