"""How a process is kept, as options of ``stoker start process``: one for each key of the wire and the configuration."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from stoker.cli import values
from stoker.cli.kinds import size
from stoker.cli.parser import Parser

_KEYS = (
    *("restart", "backoff", "backoff_most", "settled", "flap_ends", "flap_seconds", "fatal_codes"),
    *("ready", "ready_command", "ready_timeout", "stop_signal", "grace", "user", "group", "rlimits", "nice", "cpus"),
    *("keep_bytes", "log_bytes", "log_files", "after", "requires", "instances"),
)


def arguments(parser: Parser) -> None:
    """What ends and starts it, what it runs as, what becomes of what it writes, and with whom."""
    _ends(parser)
    _readiness(parser)
    _rights(parser)
    _output(parser)
    parser.add_argument(
        "--after", metavar="NAME", action="append", help="start after this one, stop before it; may be repeated"
    )
    parser.add_argument(
        "--requires", metavar="NAME", action="append", help="the same, and it has to be up; may be repeated"
    )
    parser.add_argument("--instances", metavar="N", type=values.count, help="how many of it run (1)")


def _ends(parser: Parser) -> None:
    parser.add_argument(
        "--restart", choices=("always", "on-failure", "never"), help="what to do when it ends (on-failure)"
    )
    time = values.finite_duration
    parser.add_argument("--backoff", metavar="TIME", type=time, help="before the first new start, then doubled (0.25s)")
    parser.add_argument("--backoff-most", metavar="TIME", type=time, help="before a new start at most (30s)")
    parser.add_argument("--settled", metavar="TIME", type=time, help="a run as long as this is no short one (10s)")
    parser.add_argument(
        "--flap-ends", metavar="N", type=values.whole, help="give it up after so many ends; 0: never (10)"
    )
    parser.add_argument("--flap-seconds", metavar="TIME", type=time, help="within so long (5m)")
    parser.add_argument(
        "--fatal-codes", metavar="CODES", type=values.codes, help="exit codes that forbid a new start, such as 78,64"
    )
    parser.add_argument(
        "--stop-signal",
        choices=("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGKILL"),
        help="how it is asked to end (SIGTERM)",
    )
    parser.add_argument("--grace", metavar="TIME", type=time, help="from the stop signal to SIGKILL (10s)")


def _readiness(parser: Parser) -> None:
    parser.add_argument(
        "--ready",
        metavar="HOW",
        help="it is up on notify, or when tcp:PORT, tcp:HOST:PORT or unix:PATH takes connections",
    )
    parser.add_argument(
        "--ready-command", metavar="COMMAND", type=values.words, help="it is up when this, in quotes, ends with 0"
    )
    parser.add_argument(
        "--ready-timeout", metavar="TIME", type=values.positive_duration, help="it has to be up within this (30s)"
    )


def _rights(parser: Parser) -> None:
    parser.add_argument("--user", metavar="USER", help="whom it runs as, by name or number (the daemon's user)")
    parser.add_argument("--group", metavar="GROUP", help="its group, by name or number (the user's own)")
    parser.add_argument(
        "--rlimit",
        metavar="NAME=N",
        dest="rlimits",
        type=values.rlimit,
        action="append",
        help="a resource limit, such as nofile=4096 or core=unlimited; may be repeated",
    )
    parser.add_argument("--nice", metavar="N", type=values.integer, help="niceness (0)")
    parser.add_argument("--cpus", metavar="CPUS", type=values.cpus, help="cores that it may run on, such as 0-3 (all)")


def _output(parser: Parser) -> None:
    parser.add_argument(
        "--keep-bytes", metavar="SIZE", type=size, help="of what it writes, kept in memory, per stream (1M)"
    )
    parser.add_argument("--log-bytes", metavar="SIZE", type=size, help="of a log file before the next is begun (10M)")
    parser.add_argument("--log-files", metavar="N", type=values.whole, help="log files per stream; 0: memory only (3)")


def params(args: Namespace) -> dict[str, Any]:
    """What was given, as the wire has it."""
    given = {key: value for key in _KEYS if (value := getattr(args, key)) is not None}
    if "rlimits" in given:
        given["rlimits"] = dict(given["rlimits"])
    return given
