"""``stoker wait``."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from stoker.cli import following, outcome, values
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.errors import DeadlineExceeded


def arguments(parser: Parser) -> None:
    """ID… and for how long."""
    parser.add_argument("ids", metavar="ID", nargs="+", type=values.job_id, help="which jobs")
    parser.add_argument("--timeout", metavar="TIME", type=values.duration, help="wait no longer than this")


def run(args: Namespace, out: Output) -> int:
    """Wait for all of them; the exit code is that of the first that did not end well."""
    params: dict[str, Any] = {"ids": args.ids}
    if args.timeout is not None:
        params["timeout"] = args.timeout
    with connect(args.socket, start=False) as peer:
        if sys.stderr.isatty():
            following.watch_progress(peer, args.ids, args.timeout)
            params["timeout"] = 0 if args.timeout is not None else None
        reply, _ = peer.call("wait", {key: value for key, value in params.items() if value is not None})
    jobs = reply["jobs"]
    out.show({"jobs": jobs}, outcome.table(jobs, colour=out.colour))
    if still := [job["id"] for job in jobs if not outcome.has_ended(job)]:
        late = DeadlineExceeded(
            f"{len(still)} of the jobs have not ended after {args.timeout or 0:g} s: {', '.join(map(str, still[:10]))}",
            hint="they go on; wait for them again, or cancel them",
        )
        out.complain(late)
        return late.exit_code
    return next((code for code in map(outcome.exit_code, jobs) if code), 0)
