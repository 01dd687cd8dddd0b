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
from stoker.comeback import keyed
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
    time_options(parser)
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
    parser.add_argument("--slots", metavar="N", type=values.count, help="take the place of N workers, with N threads")
    parser.add_argument(
        "--tag", metavar="T", dest="tags", action="append", help="a tag; may be repeated (stoker limit)"
    )
    parser.add_argument("--retries", metavar="N", type=values.whole, help="further attempts where one fails (0)")
    parser.add_argument(
        "--backoff",
        metavar="TIME",
        type=values.finite_duration,
        help="time before the second attempt, then doubled (0)",
    )
    parser.add_argument(
        "--backoff-most", metavar="TIME", type=values.finite_duration, help="doubled no further than this (10m)"
    )
    parser.add_argument(
        "--retry-on",
        metavar="KIND",
        action="append",
        help="only after: failed, timed-out, worker-died, lost-with-daemon, or an exception's name; may be repeated",
    )
    parser.add_argument(
        "--on-crash", choices=("fail", "requeue"), help="what becomes of it if the daemon dies while it runs (fail)"
    )
    keep = parser.add_mutually_exclusive_group()
    for name, durable, text in (
        ("--durable", True, "insist on it being kept on disk, or refuse it"),
        ("--no-durable", False, "do not keep it on disk: it ends with the daemon"),
    ):
        parser.declared.append(keep.add_argument(name, dest="durable", action="store_const", const=durable, help=text))


def time_options(parser: Parser) -> None:
    """The options of a single job: when, after what, and under which key."""
    parser.add_argument(
        "--delay", metavar="TIME", type=values.finite_duration, help="do not run it before this is over"
    )
    parser.add_argument(
        "--at", metavar="WHEN", type=values.moment, help="do not run it before: 18:30, 2030-01-31T08:00"
    )
    parser.add_argument(
        "--after",
        metavar="ID",
        type=_job_or_key,
        action="append",
        help="run it when this job has ended well; an id or a key, may be repeated",
    )
    parser.add_argument(
        "--after-any", dest="after_end", action="store_const", const="any", help="run it however those have ended"
    )
    parser.add_argument(
        "--key", metavar="K", help="idempotency key: while a job with this key is known, that job is what you get"
    )
    parser.add_argument(
        "--keep",
        metavar="TIME",
        dest="ttl",
        type=values.finite_duration,
        help="keep value and output for so long after its end (what the pool says: 1h)",
    )


def _job_or_key(text: str) -> int | str:
    return int(text.lstrip("#")) if text.lstrip("#").isdecimal() else text


_PARAMS = (
    *("pool", "priority", "timeout", "name", "slots", "tags", "retries", "backoff", "backoff_most"),
    *("retry_on", "on_crash", "durable", "delay", "at", "after", "after_end", "key", "ttl"),
)


def job_params(args: Namespace) -> dict[str, Any]:
    """The wire parameters of :func:`job_options`; what was not given is left to the daemon."""
    given = {name: getattr(args, name, None) for name in _PARAMS}
    if args.timeout == float("inf"):
        given["timeout"] = None
    return {key: value for key, value in given.items() if value is not None}


def run(args: Namespace, out: Output) -> int:
    """Hand the job in; print its id, or wait and print its value or output. Ctrl-C cancels it."""
    is_command = args.after_dashes is not None and args.function is None
    kept = {"durable": "if-possible"}  # what somebody typed is worth keeping, unless they say otherwise
    spec = keyed({**(_command(args) if is_command else _call(args)), **kept, **job_params(args)})
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
    reply, frames = following.result(peer, job)
    following.show_value(reply["job"], frames, out)
    return outcome.exit_code(reply["job"])


def _cancel(peer: Peer, job: int, out: Output) -> None:
    out.note(f"stoker: cancelling job {job}")
    peer.call("cancel", {"ids": [job]}, timeout=CANCEL_PATIENCE)
