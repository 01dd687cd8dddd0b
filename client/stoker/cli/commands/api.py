"""``stoker api``."""

from __future__ import annotations

import json
from argparse import Namespace

from stoker.cli.output import Output
from stoker.cli.parser import Parser


def arguments(parser: Parser) -> None:
    """No options of its own; the document is JSON with or without ``--json``."""


def run(args: Namespace, out: Output) -> int:
    """Print the protocol; no daemon is asked."""
    from stoker.protocol.document import document

    told = document()
    out.show(told, "" if args.json else json.dumps(told, indent=2, ensure_ascii=False))
    return 0
