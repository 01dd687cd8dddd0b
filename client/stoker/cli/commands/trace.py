"""``stoker trace``: where the time of one job goes, hop by hop."""

from __future__ import annotations

import itertools
import pickle
import statistics
import time
from argparse import Namespace
from typing import Any

from stoker.cli import render, values
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.cli.values import UsageError
from stoker.connection import Connection
from stoker.errors import DeadlineExceeded, StokerError, from_wire
from stoker.session import Exchange

TIMES = 200
WARM = 20
"""Jobs that are run first and not counted: the worker imports the function, and all caches fill."""
HOPS = (
    "client packs → daemon has decoded",
    "daemon: queue, choose, hand over",
    "→ worker has unpacked",
    "worker: the job, pickled",
    "→ daemon has heard",
    "daemon: verdict, answer",
    "→ client has unpacked",
)


def arguments(parser: Parser) -> None:
    """FUNCTION ARG… and how often."""
    parser.usage = "stoker trace [options] [FUNCTION [ARG …]]"
    parser.add_argument("function", metavar="FUNCTION", nargs="?", default="builtins:abs", help="package.module:name")
    parser.add_argument("args", metavar="ARG", nargs="*", help="positional arguments: JSON if it parses, else text")
    parser.add_argument("--pool", metavar="P", help="which pool (default)")
    parser.add_argument("--times", metavar="N", type=values.count, help=f"how many jobs, one after the other ({TIMES})")


def run(args: Namespace, out: Output) -> int:
    """Run the job so often, and show the median and the spread of each hop."""
    given = [values.value(text) for text in args.args]
    if args.function == "builtins:abs" and not given:
        given = [-1]
    if ":" not in args.function:
        raise UsageError(f"{args.function!r} names no function", hint="write package.module:name")
    pickled = pickle.dumps((tuple(given), {}), 5)  # as a Python client sends it
    work = {"function": args.function, "lengths": len(pickled).to_bytes(4, "little")}
    spec: dict[str, Any] = {"pickle": work, "trace": True}
    if args.pool is not None:
        spec["pool"] = args.pool
    times = args.times or TIMES
    with connect(args.socket) as peer:
        for _ in range(WARM):
            _one(peer.connection, spec, pickled, args.timeout)
        rows = [_one(peer.connection, spec, pickled, args.timeout) for _ in range(times)]
        channel = "direct" if peer.connection.direct else "zmq"
    hops = [_hop(name, [row[number] for row in rows]) for number, name in enumerate(HOPS)]
    total = _hop("all", [sum(row) for row in rows])
    shown = [(hop["hop"], *(f"{hop[key]:.1f}" for key in ("median", "p90", "least"))) for hop in (*hops, total)]
    text = render.table(("HOP", ">MEDIAN µs", ">P90 µs", ">LEAST µs"), shown, colour=out.colour)
    out.show(
        {"channel": channel, "jobs": times, "hops": hops, "all": total},
        f"{times} jobs, one after the other, by the {channel} channel\n\n{text}",
    )
    return 0


def _one(connection: Connection, spec: dict[str, Any], pickled: bytes, timeout: float | None) -> list[float]:
    """What each hop of one job took, seconds.

    Raises:
        StokerError: the job failed.
    """
    answer = Exchange()
    begun = time.monotonic()
    connection.send("submit", {"jobs": [spec], "stream": True}, (pickled,), answer)
    if not connection.wait(answer, None if timeout == float("inf") else timeout):
        raise DeadlineExceeded("the job has not ended in time", hint="allow more time with --timeout")
    ended = time.monotonic()
    last, frames = answer.outcome()
    _see_that_it_went_well(last, frames)
    marks: list[float] = last.get("trace") or []
    if len(marks) != len(HOPS) - 1:
        raise StokerError("the daemon has no trace of this job", hint="is it older than this client?")
    points = (begun, *marks, ended)
    return [max(0.0, after - before) for before, after in itertools.pairwise(points)]


def _see_that_it_went_well(last: dict[str, Any], frames: Any) -> None:
    if "error" in last:
        raise from_wire(last["error"])
    if last.get("state", "done") != "done":
        from stoker.protocol.codec import unpack

        raise from_wire(unpack(bytes(frames[0])))


def _hop(name: str, seconds: list[float]) -> dict[str, Any]:
    ordered = sorted(seconds)
    return {
        "hop": name,
        "median": round(statistics.median(ordered) * 1e6, 1),
        "p90": round(ordered[len(ordered) * 9 // 10] * 1e6, 1),
        "least": round(ordered[0] * 1e6, 1),
    }
