"""``stoker key list``."""

from __future__ import annotations

from argparse import Namespace

from stoker.cli import render
from stoker.cli.keychain import Keychain, directory, tell
from stoker.cli.keychain import arguments as common
from stoker.cli.output import Output
from stoker.cli.parser import Parser


def arguments(parser: Parser) -> None:
    """Nothing of its own."""
    common(parser)


def run(args: Namespace, out: Output) -> int:
    """The keys of the directory, and who is connected with them."""
    folder = directory(args.dir)
    entries = Keychain(folder).entries()
    told = tell(args.socket, args.timeout, folder)
    here = {key["public"]: key["sessions"] for key in told["keys"]} if told else {}
    rows = [
        (entry.name, entry.role or "-", "yes" if entry.secret else "", here.get(entry.public, ""), entry.public)
        for entry in entries
    ]
    head = ("NAME", "ROLE", "SECRET HERE", ">SESSIONS", "PUBLIC KEY")
    keys = [{**entry._asdict(), "sessions": here.get(entry.public)} for entry in entries]
    shown = render.table(head, rows, colour=out.colour) if rows else f"no keys in {folder}"
    out.show({"directory": str(folder), "keys": keys}, shown)
    return 0
