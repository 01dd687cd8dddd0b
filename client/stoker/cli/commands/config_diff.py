"""``stoker config diff``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from stoker.cli import render
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.errors import EXIT_FAILED


def arguments(parser: Parser) -> None:
    """Whether differences are a failure."""
    parser.add_argument("--exit-code", action="store_true", help="exit with 1 where there is any difference")


def run(args: Namespace, out: Output) -> int:
    """What the file would change, and what is not as configured."""
    with connect(args.socket, start=False) as peer:
        reply, _ = peer.call("config_diff", {}, timeout=args.timeout)
    parts = [
        _part("what `stoker reload` would change", reply["file"], with_effect=True),
        _part("not as configured; a reload leaves it alone", reply["drift"], with_effect=False),
    ]
    if reply["pending"]:
        parts.append(f"reloaded, and in effect when the daemon is started again: {', '.join(reply['pending'])}")
    out.show(reply, "\n\n".join(part for part in parts if part) or "no difference")
    differs = reply["file"] or reply["drift"] or reply["pending"]
    return EXIT_FAILED if args.exit_code and differs else 0


def _part(title: str, changes: list[dict[str, Any]], *, with_effect: bool) -> str:
    rows = [
        (change["key"], _shown(change["running"]), _shown(change["file"]), *([change["effect"]] if with_effect else []))
        for change in changes
    ]
    head = ("KEY", "RUNNING", "FILE", *(["EFFECT"] if with_effect else []))
    return f"{title}:\n{render.table(head, rows)}" if rows else ""


def _shown(value: Any) -> str:
    text = "-" if value is None else value if isinstance(value, str) else render.as_json(value)
    return render.shorten(render.clean(text), 60) or '""'
