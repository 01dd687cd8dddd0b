"""``stoker submit``."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from stoker.cli import following, outcome, values
from stoker.cli.connecting import Peer, connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.cli.values import UsageError
from stoker.environment import of_command_line

AFTER_DASHES = True
CANCEL_PATIENCE = 30.0


def arguments(parser: Parser) -> None:
    """FUNCTION ARG… or ``-- argv…``."""
    parser.usage = "stoker submit [options] FUNCTION [ARG …]\n       stoker submit [options] -- PROGRAM [ARG …]"
    parser.add_argument("function", metavar="FUNCTION", nargs="?", help="package.module:name")
    parser.add_argument("args", metavar="ARG", nargs="*", help="positional arguments: JSON if it parses, else text")
    parser.add_argument(
        "--arg",
        metavar="NAME=VALUE",
        type=values.named,
        action="append",
        default=[],
        help="a keyword argument; may be repeated",
    )
    job_options(parser)
    parser.add_argument("--name", metavar="NAME", help="what to call the job")
    parser.add_argument("--detach", action="store_true", help="print the job's id and do not wait")
    parser.add_argument("--stdin", metavar="FILE", help="what a command reads: a file, or - for our own stdin")
    parser.add_argument(
        "--env",
        metavar="NAME=VALUE",
        type=values.named,
        action="append",
        default=[],
        help="a variable of a command; may be repeated",
    )


def job_options(parser: Parser) -> None:
    """The options that every job has; `stoker map` has them too."""
    parser.add_argument("--pool", metavar="P", help="which pool (default)")
    parser.add_argument("--priority", metavar="N", type=values.integer, help="-100 to 100, higher runs first (0)")
    parser.add_argument("--timeout", metavar="TIME", type=values.positive_duration, help="how long one attempt may run")


def job_params(args: Namespace) -> dict[str, Any]:
    """The wire parameters of :func:`job_options`; what was not given is left to the daemon."""
    given = {"pool": args.pool, "priority": args.priority, "timeout": args.timeout, "name": getattr(args, "name", None)}
    if args.timeout == float("inf"):
        given["timeout"] = None
    return {key: value for key, value in given.items() if value is not None}


def run(args: Namespace, out: Output) -> int:
    """Hand the job in; print its id, or wait and print its value or output. Ctrl-C cancels it."""
    is_command = args.after_dashes is not None and args.function is None
    spec = {**(_command(args) if is_command else _call(args)), **job_params(args)}
    with connect(args.socket, on_disconnect="keep" if args.detach else "cancel") as peer:
        job = peer.call("submit", {"jobs": [spec]})[0]["jobs"][0]
        if args.detach:
            out.show(job, str(job["id"]))
            return 0
        try:
            return following.finish_command(peer, job["id"], out) if is_command else _value(peer, job["id"], out)
        except KeyboardInterrupt:
            _cancel(peer, job["id"], out)
            raise


def _call(args: Namespace) -> dict[str, Any]:
    if args.function is None:
        raise UsageError("submit what?", hint="stoker submit math:factorial 20, or stoker submit -- PROGRAM [ARG …]")
    if args.env or args.stdin:
        raise UsageError("--env and --stdin are for commands", hint="stoker submit --env A=1 -- PROGRAM [ARG …]")
    module, colon, name = args.function.partition(":")
    if not (module and colon and name):
        raise UsageError(
            f"{args.function!r} names no function",
            hint="write package.module:name; for a program: stoker submit -- PROGRAM [ARG …]",
        )
    call: dict[str, Any] = {"function": args.function}
    if positional := [values.value(text) for text in [*args.args, *(args.after_dashes or ())]]:
        call["args"] = positional
    if args.arg:
        call["kwargs"] = {name: values.value(text) for name, text in args.arg}
    return {"call": call}


def _command(args: Namespace) -> dict[str, Any]:
    if not args.after_dashes:
        raise UsageError("which program?", hint="stoker submit -- PROGRAM [ARG …]")
    if args.arg:
        raise UsageError(
            "--arg is for functions", hint="a command's arguments follow it: stoker submit -- PROGRAM [ARG …]"
        )
    command: dict[str, Any] = {
        "argv": args.after_dashes,
        "cwd": of_command_line()["cwd"],
        "env": {"PATH": os.environ.get("PATH", os.defpath), **dict(args.env)},
    }
    if args.stdin is not None:
        command["stdin"] = _read(args.stdin)
    return {"command": command}


def _read(path: str) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as why:
        raise UsageError(
            f"{path} cannot be read: {why.strerror}", hint="--stdin takes a file, or - for our own stdin"
        ) from None


def _value(peer: Peer, job: int, out: Output) -> int:
    reply, frames = peer.call("result", {"id": job})
    following.show_value(reply["job"], frames, out)
    return outcome.exit_code(reply["job"])


def _cancel(peer: Peer, job: int, out: Output) -> None:
    out.note(f"stoker: cancelling job {job}")
    peer.call("cancel", {"ids": [job]}, timeout=CANCEL_PATIENCE)
