"""The options that say what kind of load it is, and the list of kinds (``--kind help``)."""

from __future__ import annotations

import argparse
import os
import re
from argparse import Namespace
from typing import Any

from stoker.cli.parser import Parser
from stoker.cli.values import UsageError

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
NAMES = ("bytes", "rate", "folder", "quota", "io", "call")
"""Parameters of kinds, as the protocol calls them too."""


class _Kind(argparse.Action):
    """Stores the kind; ``help`` lists them all instead, whatever else is missing on the command line."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Namespace, values: Any, _option: str | None = None
    ) -> None:
        if values == "help":
            print(listing(as_json=bool(getattr(namespace, "json", False))))
            parser.exit(0)
        setattr(namespace, self.dest, values)


def options(parser: Parser) -> None:
    """The kind and what kinds take."""
    parser.add_argument(
        "--kind", metavar="KIND", action=_Kind, help="what generates the load (spin); `--kind help` explains all"
    )
    parser.add_argument("--bytes", metavar="SIZE", type=size, help="memory that each process holds, such as 512M")
    parser.add_argument(
        "--rate", metavar="SIZE", type=size, help="bytes per second that 100 %% of a disk load is, such as 10M"
    )
    parser.add_argument("--folder", metavar="DIR", help="where a disk load, or stress-ng, writes")
    parser.add_argument("--quota", metavar="SIZE", type=size, help="the largest file of a disk load (100M)")
    parser.add_argument("--io", choices=("write", "read", "both"), help="what a disk load does (write)")
    parser.add_argument(
        "--call", metavar="pkg.mod:function", help="call this again and again as the load; implies --kind call"
    )


def params(args: Namespace) -> dict[str, Any]:
    """The wire parameters of :func:`options`, those that were given."""
    given = {name: getattr(args, name) for name in NAMES if getattr(args, name) is not None}
    if args.folder is not None:
        given["folder"] = os.path.abspath(os.path.expanduser(args.folder))
    kind = args.kind or ("call" if args.call is not None else None)
    return given | ({"generator": kind} if kind is not None else {})


def size(text: str) -> int:
    """Bytes in ``512``, ``64K``, ``10M``, ``1.5G``, ``10MiB``, ``10M/s``; units are powers of 1024.

    Raises:
        UsageError: not a size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([KMGT]?)(?:i?B)?(?:/s)?", text.strip(), re.IGNORECASE)
    number = round(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if not 1 <= number < 1 << 62:
        raise UsageError(f"{text!r} is not a size", hint="write bytes with a unit, such as 64K, 512M or 1.5G")
    return number


def listing(*, as_json: bool) -> str:
    """All kinds, for people or as JSON."""
    from stoker.protocol.loads import LOADS, STRESS_NG

    names = {kind: f"{kind}:STRESSOR" if kind == STRESS_NG else kind for kind in LOADS}
    if as_json:
        import json

        return json.dumps({"kinds": [{"name": names[kind], **load._asdict()} for kind, load in LOADS.items()]})
    import textwrap

    lines = []
    for kind, load in LOADS.items():
        lines.append(names[kind])
        facts = [load.what, f"100 % is {load.unit}"]
        if load.takes:
            takes = [f"--{name} ({'needed' if name in load.needs else 'optional'})" for name in load.takes]
            facts.append(f"takes {', '.join(takes)}")
        if load.work:
            facts.append(f"counts {load.work} per second")
        for fact in facts:
            lines += textwrap.wrap(fact, 100, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)
