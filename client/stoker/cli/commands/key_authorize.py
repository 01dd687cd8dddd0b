"""``stoker key authorize``."""

from __future__ import annotations

from argparse import Namespace

from stoker.cli.keychain import Keychain, directory, tell
from stoker.cli.keychain import arguments as common
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.protocol.roles import Role


def arguments(parser: Parser) -> None:
    """NAME or PUBKEY, and the role."""
    common(parser)
    what = "a name in the directory of keys, the file of a public key, or a public key, after -- where it begins with -"
    parser.add_argument("who", metavar="NAME|PUBKEY", help=what)
    roles = [role.word for role in Role]
    parser.add_argument("--role", required=True, choices=roles, help="what its owner may do; each has those before")
    parser.add_argument("--name", metavar="NAME", help="what to call it (as its file is called)")


def run(args: Namespace, out: Output) -> int:
    """Let it in."""
    folder = directory(args.dir)
    entry = Keychain(folder).authorize(args.who, Role.of(args.role), args.name)
    told = tell(args.socket, args.timeout, folder)
    out.show(
        {"name": entry.name, "role": entry.role, "public": entry.public, "daemon": told and told["endpoint"]},
        f"{entry.name} may connect, with the role {entry.role}{'' if told else '; no daemon that uses it was told'}",
    )
    return 0
