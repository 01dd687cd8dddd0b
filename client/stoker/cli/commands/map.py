"""``stoker map``."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from stoker.cli import kinds, mapper, render, values
from stoker.cli.commands.submit import job_options, job_params
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.cli.values import UsageError
from stoker.errors import EXIT_FAILED


def arguments(parser: Parser) -> None:
    """FUNCTION and where its arguments come from."""
    parser.add_argument("function", metavar="FUNCTION", help="package.module:name")
    parser.add_argument(
        "--input", metavar="FILE", default="-", help="one argument per line, JSON if it parses, else text (stdin)"
    )
    job_options(parser)
    under_options(parser)


def under_options(parser: Parser) -> None:
    """What is burnt meanwhile, where something is."""
    parser.add_argument(
        "--under",
        metavar="PROFILE",
        help="call it again and again while this profile burns, and report latency and throughput at each level",
    )
    parser.add_argument("--at-once", metavar="N", type=values.count, help="under a profile: calls under way (1)")
    parser.add_argument("--burners", metavar="N", type=values.count, help="processes that burn the profile")
    parser.add_argument("--of", choices=("core", "machine", "quota"), help="what its percent are of (machine)")
    parser.add_argument("--no-reserve", action="store_true", help="let it burn the last core or 10 %% as well")
    parser.add_argument("--nice", metavar="N", type=values.integer, help="niceness of what burns; the jobs' is 0 (10)")
    parser.add_argument(
        "--for", metavar="TIME", dest="seconds", type=values.positive_duration, help="end the profile after this long"
    )
    kinds.options(parser)


def run(args: Namespace, out: Output) -> int:
    """Call it once per line; values come out in the order of the lines. Exit code 1 if any call failed."""
    module, colon, name = args.function.partition(":")
    if not (module and colon and name):
        raise UsageError(f"{args.function!r} names no function", hint="write package.module:name, such as math:sqrt")
    if args.under is not None:
        return _under(args, out)
    alone = [name for name in _UNDER if getattr(args, name) not in (None, False)]
    if alone:
        raise UsageError(f"--{alone[0].replace('_', '-')} is for --under", hint="say which PROFILE is to burn")
    source = mapper.Source.open(args.input)
    with connect(args.socket, on_disconnect="cancel") as peer:
        calls = mapper.Mapper(peer.connection, args.function, job_params(args))
        with _progress(source) as bar:
            calls.start(source)
            for items in calls.results():
                for item in items:
                    _tell(item, bar, out)
                sys.stdout.flush()
    told = f"{calls.done} done, {calls.failed} failed"
    if calls.failed:
        out.warn(told)
    elif bar.shown:
        out.note(told)
    return EXIT_FAILED if calls.failed else 0


_UNDER = ("at_once", "burners", "of", "no_reserve", "nice", "seconds", "kind", *kinds.NAMES)


def _under(args: Namespace, out: Output) -> int:
    """The same calls, round and round, while a profile burns."""
    from stoker.cli import profiles, under

    profile = profiles.params(args.under)
    under.course(profile, args.seconds)  # what is wrong with it is said before anything starts
    inputs = under.arguments_of(args.input)
    load = kinds.params(args)
    burner = {**profile, **load, "of": args.of or ("core" if load.get("generator") == "disk" else "machine")}
    given = {"workers": args.burners, "seconds": args.seconds, "no_reserve": args.no_reserve or None, "nice": args.nice}
    burner |= {key: value for key, value in given.items() if value is not None}
    with connect(args.socket, on_disconnect="cancel") as peer:
        experiment = under.Experiment(peer, args.function, job_params(args), inputs, args.at_once or 1)
        return under.conduct(experiment, profile, burner, args.seconds, out)


def _progress(source: mapper.Source) -> Any:
    """A bar where somebody watches; nothing, and no rich, where nobody does."""
    if not sys.stderr.isatty():
        from stoker.cli.progress import Hidden

        return Hidden()
    from stoker.cli.bar import Bar

    return Bar(source.total())


def _tell(item: mapper.Item, bar: Any, out: Output) -> None:
    failed = item.error is not None
    bar.advance(failed=failed)
    if out.json:
        told = {"error": item.error} if failed else {"value": item.value}
        line = render.as_json({"index": item.index, "input": item.argument, **told})
    else:
        line = "" if failed else render.result(item.value)
    if line or not failed:
        bar.print(line)
    if failed:
        bar.complain(f"stoker: line {item.index + 1}, {render.shorten(repr(item.argument), 60)}: {_reason(item.error)}")


def _reason(error: Any) -> str:
    kind = str(error.get("type") or "").rsplit(".", 1)[-1]
    message = str(error.get("message") or error.get("code"))
    return render.clean(f"{kind}: {message}" if kind and not message.startswith(kind) else message)
