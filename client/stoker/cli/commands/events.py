"""``stoker events``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from stoker.cli import render, values
from stoker.cli.connecting import Peer, connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser


def arguments(parser: Parser) -> None:
    """-f and filters."""
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what happens, until Ctrl-C")
    parser.add_argument(
        "--topic", metavar="PREFIX", default="", help="only topics that begin so, such as job or burner.changed"
    )
    parser.add_argument("--after", metavar="SEQ", type=values.whole, help="only events with a higher number")
    parser.add_argument(
        "--limit", metavar="N", type=values.count, help="at most this many of the recent ones, the newest (100)"
    )


def run(args: Namespace, out: Output) -> int:
    """Recent events; with ``-f`` only those asked for by ``--after`` or ``--limit``, then all new ones."""
    params = {key: value for key, value in (("after", args.after), ("limit", args.limit)) if value is not None}
    with connect(args.socket) as peer:
        if args.follow:
            return _follow(peer, params, args.topic, out)
        reply, _ = peer.call("events", params | _only(args.topic), timeout=args.timeout)
        _recent(reply, args.topic, out, after=args.after)
    return 0


def _follow(peer: Peer, params: dict[str, Any], prefix: str, out: Output) -> int:
    from stoker.events import Listener

    # Listening to all topics, whatever is shown: only then is a missing number a gap.
    with Listener(peer.connection) as listener:
        seen = 0
        if params:
            reply, _ = peer.call("events", params | _only(prefix))
            _recent(reply, prefix, out, after=params.get("after"))
            seen = reply["seq"]
        for event in listener:
            if event.missed:
                out.warn(f"{event.missed} events before number {event.seq} were missed: this reader was too slow")
            if event.seq > seen:
                _print(event.seq, event.time, event.topic, event.facts, prefix, out)
    return 0


def _only(prefix: str) -> dict[str, str]:
    return {"topic": prefix} if prefix else {}


def _recent(reply: dict[str, Any], prefix: str, out: Output, *, after: int | None) -> None:
    if reply["gap"] and after is not None:
        out.warn("older events are not kept any more: there is a gap")
    for seq, topic, facts in reply["events"]:
        _print(seq, facts.pop("time", None), topic, facts, prefix, out)


def _print(seq: int, time: float | None, topic: str, facts: dict[str, Any], prefix: str, out: Output) -> None:
    if not topic.startswith(prefix):
        return
    told = "  ".join(f"{key}={_fact(value)}" for key, value in facts.items())
    moment = f"{render.clock(time)}  " if time else ""
    shown = render.paint(f"{topic:<18}", "cyan", colour=out.colour)
    numbers: dict[str, Any] = {"seq": seq, "time": time} if time else {"seq": seq}
    out.show({**numbers, "topic": topic, "event": facts}, f"{seq:>6}  {moment}{shown}  {told}".rstrip())


def _fact(value: Any) -> str:
    return render.clean(value if isinstance(value, str) and value and " " not in value else render.as_json(value))
