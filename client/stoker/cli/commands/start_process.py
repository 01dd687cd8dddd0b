"""``stoker start process``."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import Any

from stoker.cli import values
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.cli.values import UsageError
from stoker.environment import of_command_line

AFTER_DASHES = True


def arguments(parser: Parser) -> None:
    """NAME, then ``-- argv…``."""
    parser.usage = "stoker start process NAME [options] -- PROGRAM [ARG …]"
    parser.add_argument("name", metavar="NAME", help="its name")
    parser.add_argument("--cwd", metavar="DIR", help="working directory (this one)")
    parser.add_argument(
        "--env",
        metavar="NAME=VALUE",
        type=values.named,
        action="append",
        default=[],
        help="a variable; may be repeated",
    )
    parser.add_argument(
        "--restart", choices=("always", "on-failure", "never"), help="what to do when it ends (on-failure)"
    )
    parser.add_argument(
        "--stop-signal",
        choices=("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGKILL"),
        help="how it is asked to end (SIGTERM)",
    )
    parser.add_argument(
        "--grace", metavar="TIME", type=values.finite_duration, help="from the stop signal to SIGKILL (10s)"
    )


def run(args: Namespace, out: Output) -> int:
    """Start it; returns when it is up."""
    if not args.after_dashes:
        raise UsageError("which program?", hint=f"stoker start process {args.name} -- PROGRAM [ARG …]")
    params: dict[str, Any] = {
        "kind": "process",
        "name": args.name,
        "argv": args.after_dashes,
        "cwd": os.path.abspath(args.cwd) if args.cwd else of_command_line()["cwd"],
        "env": {"PATH": os.environ.get("PATH", os.defpath), **dict(args.env)},
    }
    given = {"restart": args.restart, "stop_signal": args.stop_signal, "grace": args.grace}
    params |= {key: value for key, value in given.items() if value is not None}
    with connect(args.socket) as peer:
        started, _ = peer.call("start", params, timeout=args.timeout)
    out.show(started, f"process {started['name']} is up: pid {', '.join(map(str, started['pids']))}")
    return 0
