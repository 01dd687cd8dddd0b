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
    limit = f"at most this many, the newest ({SHOWN}; 1000 under --json)"
    parser.add_argument("--limit", metavar="N", type=values.count, help=limit)


def run(args: Namespace, out: Output) -> int:
    """List them, the newest last."""
    given = {"ids": args.ids, "states": args.states, "pool": args.pool, "limit": args.limit}
    params: dict[str, Any] = {key: value for key, value in given.items() if value}
    if not (params.get("limit") or args.ids or out.json):
        params["limit"] = SHOWN + 1  # one more than is shown tells whether there are more
    with connect(args.socket) as peer:
        reply, _ = peer.call("jobs", params, timeout=args.timeout)
    jobs = reply["jobs"]
    if params.get("limit") == SHOWN + 1 and len(jobs) > SHOWN:
        jobs = jobs[-SHOWN:]
        out.note(f"only the newest {SHOWN}; --limit N shows more")
    out.show({"jobs": jobs}, outcome.table(jobs, colour=out.colour) or "no jobs")
    return 0
