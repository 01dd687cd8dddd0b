"""``stokerd``: arguments, configuration, log, then the daemon.

Whoever starts it may pass ``--ready-fd``: one line of JSON comes there, ``{"ready": {"pid", "endpoint"}}`` once it
serves or ``{"error": {"code", "message", "hint"}}`` if it never will. Exit codes are those of sysexits.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from stoker import __version__
from stoker.errors import (
    EXIT_CANNOT_CREATE,
    EXIT_CONFIG,
    EXIT_IO,
    EXIT_PERMISSION,
    EXIT_UNREACHABLE,
    BadRequest,
    ConfigError,
    StokerError,
)

EX_USAGE = 64
EX_SOFTWARE = 70
_SYSEXITS = {code: code for code in (EXIT_UNREACHABLE, EXIT_CANNOT_CREATE, EXIT_IO, EXIT_PERMISSION, EXIT_CONFIG)} | {
    2: EX_USAGE
}
"""An error's exit code for a CLI user -> the daemon's."""


class _Parser(argparse.ArgumentParser):
    """Raises instead of leaving, so that ``--ready-fd`` hears of it."""

    def error(self, message: str) -> NoReturn:
        raise BadRequest(message, hint="see `stokerd --help`")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon until it is told to end.

    Args:
        argv: arguments; None: those of the process.

    Returns:
        0, or one of sysexits: 64 usage, 69 the endpoint is in use, 70 a bug, 73 the socket or
        the state cannot be made, 74 the disk is full, 77 no permission, 78 configuration.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    tell = _teller(given)
    try:
        options = _parser().parse_args(given)
        return _run(options, tell)
    except StokerError as why:
        for told in (str(why), *(why.further if isinstance(why, ConfigError) else ())):
            print(f"stokerd: {told}", file=sys.stderr)  # noqa: T201 - the log may not be set up yet
        tell({"error": why.to_wire()})
        if why.data.get("full"):
            return EXIT_IO  # no matter of what it was to make: another time there may be room
        return _SYSEXITS.get(why.exit_code, EX_SOFTWARE)
    except KeyboardInterrupt:
        return 130
    except Exception as why:
        tell({"error": {"code": "internal-error", "message": f"{type(why).__name__}: {why}", "hint": "see the log"}})
        raise


def _run(options: argparse.Namespace, tell: Callable[[dict[str, Any]], None]) -> int:
    from stokerd.config import load

    config = load(options.config, os.environ, _overrides(options))
    if options.check:
        print(f"{config.source or 'no configuration file, all defaults'}: valid")  # noqa: T201 - that was asked for
        return 0
    from stokerd.log import set_up

    set_up(config.daemon.log_level, config.daemon.log_format, os.environ)
    from stokerd.daemon import run

    return run(config, ready=lambda facts: tell({"ready": facts}))


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    keys = ("socket", "state_dir", "idle_exit", "log_level", "log_format")
    return {key: value for key in keys if (value := getattr(options, key)) is not None}


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="stokerd",
        allow_abbrev=False,
        description="The Stoker daemon. Options win over the configuration file.",
        epilog="Exit codes: 0 ended as told; 64 usage; 69 endpoint in use; 73 socket or state cannot be made;"
        " 74 disk full; 77 permission; 78 configuration.",
    )
    parser.add_argument("--socket", metavar="ENDPOINT", help="where to listen: a path or ipc://PATH")
    parser.add_argument("--config", metavar="FILE", type=Path, help="the configuration, TOML")
    parser.add_argument("--state-dir", metavar="DIR", type=os.path.abspath, help="where to keep what must outlive it")
    parser.add_argument("--idle-exit", metavar="SECONDS", type=_seconds, help="leave when idle so long; 0: never")
    parser.add_argument(
        "--ready-fd", metavar="N", type=int, help="write one line of JSON to this descriptor when ready"
    )
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="log this and what is worse")
    parser.add_argument("--log-format", choices=("auto", "json", "console"), help="auto: console on a terminal")
    parser.add_argument("--check", action="store_true", help="validate the configuration and leave")
    parser.add_argument("--version", action="version", version=f"stokerd {__version__}")
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 31_536_000:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds from 0 to 31536000")
    return value


def _teller(argv: Sequence[str]) -> Callable[[dict[str, Any]], None]:
    """Writes one line to ``--ready-fd`` and closes it; found before the rest, which may be wrong."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    early.add_argument("--ready-fd", type=int)
    fd: int | None = None
    with contextlib.suppress(argparse.ArgumentError, SystemExit):
        fd = early.parse_known_args(argv)[0].ready_fd
    if fd is not None:
        with contextlib.suppress(OSError):
            os.set_inheritable(fd, False)

    def tell(line: dict[str, Any]) -> None:
        nonlocal fd
        if fd is None:
            return
        with contextlib.suppress(OSError):  # whoever waited has gone
            os.write(fd, json.dumps(line).encode() + b"\n")
            os.close(fd)
        fd = None

    return tell


if __name__ == "__main__":
    sys.exit(main())
