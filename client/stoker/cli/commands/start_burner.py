"""``stoker start burner``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from stoker.cli import kinds, render, values
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.cli.values import UsageError


def arguments(parser: Parser) -> None:
    """NAME and what the load is to be."""
    parser.add_argument("name", metavar="NAME", help="its name")
    parser.add_argument(
        "--workers", metavar="N", type=values.count, help="number of processes (1; with --of machine one per core)"
    )
    load_options(parser)
    parser.add_argument("--replace", action="store_true", help="stop a burner of the same name first")


def load_options(parser: Parser) -> None:
    """The options that every load has; `stoker burn` has them too."""
    parser.add_argument(
        "--load",
        metavar="PCT",
        type=values.percent,
        help="target in percent: of one core for each process, unless --of says otherwise",
    )
    parser.add_argument(
        "--profile",
        metavar="P",
        help="what the load is over time, such as 'ramp 0->80 over 5m, hold 10m', or @FILE; see `stoker plan`",
    )
    parser.add_argument("--of", choices=("core", "machine", "quota"), help="what 100 %% is (core; machine with total)")
    parser.add_argument(
        "--mode", choices=("add", "total"), help="burn so much, or bring the machine to so much in total (add)"
    )
    parser.add_argument(
        "--for",
        metavar="TIME",
        dest="seconds",
        type=values.positive_duration,
        help="end after 30s, 10m, 1h, or forever (the length of the profile, or 1h)",
    )
    parser.add_argument("--cpus", metavar="LIST", type=values.cpus, help="cores to pin to, such as 0-3,5")
    parser.add_argument("--nice", metavar="N", type=values.integer, help="niceness of the processes (10)")
    parser.add_argument(
        "--no-reserve", action="store_true", help="do not leave one core or 10 %% of the machine free, as burners do"
    )
    parser.add_argument(
        "--guard",
        metavar="GUARD",
        dest="guards",
        action="append",
        help="warn, cap, pause or abort on a reading, such as load>8:pause; may be repeated",
    )
    parser.add_argument("--yield-to-jobs", action="store_true", help="burn less by the cores that running jobs use")
    kinds.options(parser)


def load_params(args: Namespace) -> dict[str, Any]:
    """The wire parameters of :func:`load_options`; what was not given is left to the daemon."""
    names = ("load", "of", "mode", "seconds", "cpus", "nice", "no_reserve", "guards", "yield_to_jobs")
    given = {name: getattr(args, name) for name in names} | kinds.params(args)
    if args.profile is not None:
        from stoker.cli import profiles

        given |= profiles.params(args.profile)
    elif args.load is None:
        raise UsageError("what load?", hint="give --load 50, or --profile 'ramp 0->80 over 5m'")
    return {key: value for key, value in given.items() if value is not None and value is not False}


def tell_notes(reply: dict[str, Any], out: Output) -> None:
    """Say on stderr why a burner does not burn what was asked for."""
    for note in reply.get("notes", ()):
        out.note(f"stoker: {render.clean(note)}")


def spell_load(params: dict[str, Any]) -> str:
    """The load in the parameters of a ``start``, for people."""
    mode = params.get("mode")
    unit = params.get("of") or ("machine" if mode == "total" else "core")
    words = {"core": "of a core each", "machine": "of the machine", "quota": "of the quota"}
    whole = f"{words[unit]}{' in total' if mode == 'total' else ''}"
    if params.get("generator") == "disk":
        whole = "of the rate each"
    if "profile" in params:
        return f"`{render.shorten(render.clean(' '.join(params['profile'].split())), 60)}` in percent {whole}"
    return f"{params['load']:g} % {whole}"


def run(args: Namespace, out: Output) -> int:
    """Start it; returns when the load has been observed."""
    params = {"kind": "burner", "name": args.name, **load_params(args)}
    if args.workers is not None:
        params["workers"] = args.workers
    if args.replace:
        params["replace"] = True
    with connect(args.socket) as peer:
        started, _ = peer.call("start", params, timeout=args.timeout)
    pids = ", ".join(map(str, started["pids"]))
    out.show(started, f"burner {started['name']} runs at {spell_load(params)}: pid {pids}")
    tell_notes(started, out)
    return 0
