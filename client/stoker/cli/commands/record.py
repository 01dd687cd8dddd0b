"""``stoker record``."""

from __future__ import annotations

import math
from argparse import Namespace

from stoker.cli import recorder, values
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.cli.values import UsageError

LEAST_EVERY = 0.1
"""Seconds: the kernel counts in hundredths, so that less would be noise."""


def arguments(parser: Parser) -> None:
    """FILE and how often."""
    parser.add_argument("file", metavar="FILE", help="where to write the trace, CSV; - is stdout")
    parser.add_argument(
        "--every", metavar="TIME", type=values.finite_duration, default=1.0, help="from row to row (1s)"
    )
    parser.add_argument(
        "--for",
        metavar="TIME",
        dest="seconds",
        type=values.positive_duration,
        default=math.inf,
        help="end after this long (at Ctrl-C)",
    )
    parser.add_argument("--per-core", action="store_true", help="a column for each core as well: cpu0, cpu1 …")
    parser.add_argument("--replace", action="store_true", help="write over a file that is there")


def run(args: Namespace, out: Output) -> int:
    """Record until the time is over, or Ctrl-C. No daemon is asked."""
    if args.every < LEAST_EVERY:
        raise UsageError(
            f"every {args.every:g} s is too often", hint=f"at least {LEAST_EVERY:g}s: the kernel counts 10 ms"
        )
    if args.seconds < 2 * args.every:
        raise UsageError("a trace needs two rows", hint=f"record for {2 * args.every:g}s or longer")
    if out.json and args.file == "-":
        raise UsageError("--json and a trace on stdout would mix", hint="name a file")
    recording = recorder.Recorder(args.every, per_core=args.per_core)
    with recorder.opened(args.file, replace=args.replace) as file:
        what = f"all that runs on {recording.cores} cores, every {values.spell(args.every)}"
        out.note(f"stoker: recording {what}; Ctrl-C ends it")
        found = recording.record(file, args.seconds)
    if found.rows < 2:
        out.warn("a trace of less than two rows cannot be replayed")
    if args.file == "-":
        out.note(f"stoker: {recorder.told(found, 'stdout')}")
    else:
        out.show(
            {"file": args.file, "every": args.every, "cores": recording.cores, **found._asdict()},
            recorder.told(found, args.file),
        )
    return 0
