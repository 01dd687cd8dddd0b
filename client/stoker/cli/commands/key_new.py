"""``stoker key new``."""

from __future__ import annotations

from argparse import Namespace

from stoker.cli.keychain import Keychain, directory
from stoker.cli.keychain import arguments as common
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.protocol.keyfile import PUBLIC, SERVER


def arguments(parser: Parser) -> None:
    """NAME."""
    common(parser)
    parser.add_argument("name", metavar="NAME", help="what to call it; `server` is the daemon's own, `client` yours")


def run(args: Namespace, out: Output) -> int:
    """Make it, and say what to do with it."""
    folder = directory(args.dir)
    secret = Keychain(folder).new(args.name)
    public = folder / f"{args.name}{PUBLIC}"
    if args.name == SERVER:
        what = f"clients need {public} in their directory of keys, as HOST:PORT{PUBLIC} or {SERVER}{PUBLIC}"
    else:
        what = f"on the daemon's machine: stoker key authorize {public.name} --role submit"
    out.show(
        {"name": args.name, "secret": str(secret), "public": str(public)},
        f"{secret}: keep it to yourself\n{public}: give it away\n{what}",
    )
    return 0
