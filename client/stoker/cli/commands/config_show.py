"""``stoker config show``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from stoker.cli import render
from stoker.cli.connecting import connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser


def arguments(parser: Parser) -> None:
    """No options of its own."""


def run(args: Namespace, out: Output) -> int:
    """What the daemon goes by, as TOML."""
    with connect(args.socket) as peer:
        reply, _ = peer.call("config", {}, timeout=args.timeout)
    text = "\n".join([f"# {reply['path'] or 'no file: every value is the default'}", *_toml(reply["config"], ())])
    out.show(reply, text)
    return 0


def _toml(section: dict[str, Any], where: tuple[str, ...]) -> Iterator[str]:
    """A section's own values, then its sections; None has no form in TOML and stands in a comment."""
    values = {key: value for key, value in section.items() if not isinstance(value, dict)}
    if where and values:
        yield f"\n[{'.'.join(where)}]"
    for key, value in values.items():
        yield f"# {key} is not set" if value is None else f"{key} = {_scalar(value)}"
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _toml(value, (*where, key))


def _scalar(value: Any) -> str:
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return repr(value)
    return render.as_json(value)
