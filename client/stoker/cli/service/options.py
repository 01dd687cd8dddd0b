"""The options that the verbs of the service share."""

from __future__ import annotations

from argparse import Namespace

from stoker.cli.parser import Parser
from stoker.cli.service.layout import Service


def which(parser: Parser) -> None:
    """Declare which service is meant."""
    parser.add_argument("--user", action="store_true", help="your own service, not one of the machine")
    parser.add_argument(
        "--instance", metavar="NAME", default="", help="one of several, with a socket and state of its own"
    )


def service(args: Namespace, *, activated: bool = False) -> Service:
    """The service that was meant.

    Raises:
        UsageError: its name cannot be one.
    """
    return Service(user=args.user, activated=activated, instance=args.instance)
