"""``stoker key revoke``."""

from __future__ import annotations

from argparse import Namespace

from stoker.cli.keychain import Keychain, directory, tell
from stoker.cli.keychain import arguments as common
from stoker.cli.output import Output
from stoker.cli.parser import Parser


def arguments(parser: Parser) -> None:
    """NAME."""
    common(parser)
    parser.add_argument("name", metavar="NAME", help="the authorized key, as `stoker key list` shows it")


def run(args: Namespace, out: Output) -> int:
    """Keep it out; its sessions have ended when this says so."""
    folder = directory(args.dir)
    entry = Keychain(folder).revoke(args.name)
    told = tell(args.socket, args.timeout, folder)
    out.show(
        {"name": entry.name, "revoked": True, "daemon": told and told["endpoint"]},
        f"{entry.name} may not connect any more"
        + (", and its sessions have ended" if told else "; no daemon was asked: one that runs sees it by itself"),
    )
    return 0
