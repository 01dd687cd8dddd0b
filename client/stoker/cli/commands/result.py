"""``stoker result``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from stoker.cli import outcome, values
from stoker.cli.connecting import connect
from stoker.cli.following import show_value
from stoker.cli.output import Output
from stoker.cli.parser import Parser


def arguments(parser: Parser) -> None:
    """ID and for how long."""
    parser.add_argument("id", metavar="ID", type=values.job_id, help="which job")
    parser.add_argument("--timeout", metavar="TIME", type=values.duration, help="wait for its end no longer than this")


def run(args: Namespace, out: Output) -> int:
    """Print its value, waiting for its end if need be; of a command, its output, and pass on its exit code."""
    params: dict[str, Any] = {"id": args.id}
    if args.timeout is not None:
        params["timeout"] = args.timeout
    with connect(args.socket, start=False) as peer:
        job = peer.call("jobs", {"ids": [args.id]})[0]["jobs"][0]
        if job["form"] == "command":
            return _command(peer, args, out)
        reply, frames = peer.call("result", params)
    show_value(reply["job"], frames, out)
    return outcome.exit_code(reply["job"])


def _command(peer: Any, args: Namespace, out: Output) -> int:
    from stoker.cli.following import finish_command

    params = {"ids": [args.id]} if args.timeout is None else {"ids": [args.id], "timeout": args.timeout}
    job = peer.call("wait", params)[0]["jobs"][0]
    if not outcome.has_ended(job):
        from stoker.errors import DeadlineExceeded

        raise DeadlineExceeded(
            f"job {args.id} has not ended after {args.timeout:g} s", hint="it goes on; `stoker logs -f` follows it"
        )
    return finish_command(peer, args.id, out)
