"""``stoker start process``."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import Any

from stoker.cli import keeping, values
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.cli.values import UsageError
from stoker.environment import of_command_line

AFTER_DASHES = True


def arguments(parser: Parser) -> None:
    """NAME, then ``-- argv…``, or ``--call FUNCTION`` and its arguments."""
    parser.usage = "stoker start process NAME [options] (-- PROGRAM [ARG …] | --call FUNCTION [ARG …])"
    parser.add_argument("name", metavar="NAME", help="its name")
    parser.add_argument(
        "args", metavar="ARG", nargs="*", type=values.value, help="for --call: JSON if it parses, else text"
    )
    parser.add_argument(
        "--call", metavar="FUNCTION", help="a Python function in the place of a program: package.module:name"
    )
    parser.add_argument("--cwd", metavar="DIR", help="working directory (this one)")
    parser.add_argument(
        "--env",
        metavar="NAME=VALUE",
        type=values.named,
        action="append",
        default=[],
        help="a variable; may be repeated",
    )
    keeping.arguments(parser)


def run(args: Namespace, out: Output) -> int:
    """Start it; returns when it is up."""
    params: dict[str, Any] = {
        "kind": "process",
        "name": args.name,
        **_work(args),
        "cwd": os.path.abspath(args.cwd) if args.cwd else of_command_line()["cwd"],
        "env": {"PATH": os.environ.get("PATH", os.defpath), **dict(args.env)},
    }
    params |= keeping.params(args)
    with connect(args.socket) as peer:
        started, _ = peer.call("start", params, timeout=args.timeout)
    out.show(started, f"process {started['name']} is up: pid {', '.join(map(str, started['pids']))}")
    return 0


def _work(args: Namespace) -> dict[str, Any]:
    """What it runs, as the wire has it."""
    if args.call is not None and args.after_dashes:
        raise UsageError("a program or a function, not both", hint="leave out --call, or what follows --")
    if args.call is not None:
        return {"call": {"function": args.call, "args": args.args}}
    if not args.after_dashes or args.args:
        raise UsageError(
            "which program?",
            hint=f"stoker start process {args.name} -- PROGRAM [ARG …]; for a function: --call package.module:name",
        )
    return {"argv": args.after_dashes}
