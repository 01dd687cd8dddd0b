"""``stoker set``."""

from __future__ import annotations

from argparse import Namespace

from stoker.cli import values
from stoker.cli.commands.start_burner import tell_notes
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.cli.values import UsageError


def arguments(parser: Parser) -> None:
    """NAME and what to change."""
    parser.add_argument("name", metavar="NAME", help="a burner, a pool or a process")
    parser.add_argument("--load", metavar="PCT", type=values.percent, help="new target in percent (burners)")
    parser.add_argument("--profile", metavar="P", help="follow this profile from now on (burners)")
    parser.add_argument(
        "--ramp-to", metavar="PCT", type=values.percent, help="leave the profile for a ramp to this target (burners)"
    )
    parser.add_argument("--over", metavar="TIME", type=values.positive_duration, help="how long the ramp takes (30s)")
    parser.add_argument(
        "--skip", action="store_const", const=True, help="go to the next segment of the profile (burners)"
    )
    parser.add_argument(
        "--extend",
        metavar="TIME",
        type=values.positive_duration,
        help="have its present segment last longer (burners)",
    )
    parser.add_argument("--workers", metavar="N", type=values.whole, help="new number of processes, or of instances")
    parser.add_argument(
        "--for", metavar="TIME", dest="seconds", type=values.positive_duration, help="new time limit from now (burners)"
    )
    hold = parser.add_mutually_exclusive_group()
    parser.add_argument(
        "--reserve",
        dest="no_reserve",
        choices=("on", "off"),
        help="leave one core or 10 %% of the machine free, or do not (burners)",
    )
    for name, paused, text in (("--pause", True, "hold what is queued, or the load"), ("--resume", False, "go on")):
        parser.declared.append(hold.add_argument(name, dest="paused", action="store_const", const=paused, help=text))


def run(args: Namespace, out: Output) -> int:
    """Change it; returns when the change is in effect."""
    given = {"load": args.load, "workers": args.workers, "seconds": args.seconds, "paused": args.paused}
    given["no_reserve"] = None if args.no_reserve is None else args.no_reserve == "off"
    given |= {key: getattr(args, key) for key in ("profile", "ramp_to", "over", "skip", "extend")}
    changes = {key: value for key, value in given.items() if value is not None}
    if not changes:
        raise UsageError("nothing to change", hint=f"for instance: stoker set {args.name} --load 80 --workers 4")
    if args.profile is not None:
        from stoker.cli import profiles

        changes |= profiles.params(args.profile)
    with connect(args.socket, start=False) as peer:
        done, _ = peer.call("set", {"name": args.name, **changes}, timeout=args.timeout)
    out.show(done, f"{done['kind']} {done['name']} is changed")
    tell_notes(done, out)
    return 0
