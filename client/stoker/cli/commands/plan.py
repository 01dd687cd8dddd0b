"""``stoker plan``."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from stoker import traces
from stoker.cli import planned, plot, profiles, render, values
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.protocol.curve import curve
from stoker.protocol.profile_text import parse


def arguments(parser: Parser) -> None:
    """PROFILE and who is to follow it."""
    parser.add_argument(
        "profile", metavar="PROFILE", help="such as 'ramp 0->80 over 5m, hold 10m', k6's stages, or @FILE"
    )
    parser.add_argument("--workers", metavar="N", type=values.count, default=1, help="number of processes (1)")
    parser.add_argument(
        "--load", metavar="PCT", type=values.percent, default=0.0, help="what it begins at where it does not say (0)"
    )
    parser.add_argument(
        "--for", metavar="TIME", dest="seconds", type=values.positive_duration, help="the time limit it will have"
    )
    parser.add_argument("--png", metavar="FILE", type=Path, help="write a picture as well; needs stoker[plot]")


def run(args: Namespace, out: Output) -> int:
    """Show what the profile will do. No daemon is asked."""
    text = profiles.text(args.profile)
    profile = parse(text)
    laid = curve(profile, traces.read_all(profile.traces), start=args.load)
    found = planned.facts(profile, laid, args.workers, args.seconds)
    if args.png is not None:
        from stoker.cli import picture

        picture.save(laid, found["shown_seconds"], found["profile"], args.png)
        found["png"] = str(args.png)
    width = min(render.terminal_width(), 110)
    parts = [
        plot.text(laid, found["shown_seconds"], width, colour=out.colour),
        planned.summary(found, len(os.sched_getaffinity(0)), colour=out.colour),
        planned.table(found, width, colour=out.colour),
    ]
    if args.png is not None:
        parts.append(f"written: {args.png}")
    out.show(found, "\n\n".join(parts))
    return 0
