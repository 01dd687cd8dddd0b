"""``stoker jobs``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from stoker.cli import outcome, values
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser

STATES = (
    "queued", "delayed", "waiting", "running",
    "done", "failed", "cancelled", "timed-out", "worker-died", "quarantined", "lost-with-daemon",
)  # fmt: skip


SHOWN = 30
"""Jobs that a person is shown unless asked for more."""


def arguments(parser: Parser) -> None:
    """ID… and filters."""
    parser.add_argument("ids", metavar="ID", nargs="*", type=values.job_id, help="only these")
    parser.add_argument(
        "--state",
        metavar="S",
        dest="states",
        action="append",
        choices=STATES,
        help=f"only jobs in this state; may be repeated: {', '.join(STATES)}",
    )
    parser.add_argument("--pool", metavar="P", help="only jobs of this pool")
    parser.add_argument("--tag", metavar="T", dest="tags", action="append", help="only jobs with this tag; repeatable")
    parser.add_argument("--key", metavar="K", dest="keys", action="append", help="the job with this idempotency key")
    parser.add_argument(
        "--newer", metavar="AGE", type=values.finite_duration, help="only jobs submitted within this time"
    )
    parser.add_argument("--older", metavar="AGE", type=values.finite_duration, help="only jobs submitted before that")
    limit = f"at most this many, the newest ({SHOWN}; 1000 under --json)"
    parser.add_argument("--limit", metavar="N", type=values.count, help=limit)


def run(args: Namespace, out: Output) -> int:
    """List them, the newest last."""
    given = {name: getattr(args, name) for name in ("ids", "states", "pool", "tags", "keys", "newer", "older", "limit")}
    params: dict[str, Any] = {key: value for key, value in given.items() if value not in (None, [], ())}
    if not (params.get("limit") or args.ids or args.keys or out.json):
        params["limit"] = SHOWN + 1  # one more than is shown tells whether there are more
    with connect(args.socket) as peer:
        reply, _ = peer.call("jobs", params, timeout=args.timeout)
    jobs = reply["jobs"]
    if params.get("limit") == SHOWN + 1 and len(jobs) > SHOWN:
        jobs = jobs[-SHOWN:]
        out.note(f"only the newest {SHOWN}; --limit N shows more")
    out.show({"jobs": jobs}, outcome.table(jobs, colour=out.colour) or "no jobs")
    return 0
