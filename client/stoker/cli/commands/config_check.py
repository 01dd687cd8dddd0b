"""``stoker config check``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace

from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.errors import ConfigError, DeadlineExceeded, StokerError, from_wire

PATIENCE = 30.0


def arguments(parser: Parser) -> None:
    """FILE."""
    parser.add_argument("file", metavar="FILE", nargs="?", help="which file (the one that a daemon would read)")


def run(args: Namespace, out: Output) -> int:
    """Have a stokerd of its own look at the file; the running daemon is not asked and not touched."""
    argv = [sys.executable, "-m", "stokerd", "--check", *(["--config", args.file] if args.file else [])]
    reading, writing = os.pipe()
    try:
        done = subprocess.run(
            [*argv, "--ready-fd", str(writing)],
            pass_fds=(writing,),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=args.timeout or PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded("the check did not end in time", hint=f"run it by hand: {' '.join(argv)}") from None
    finally:
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read()
    if done.returncode != 0:
        raise _error(told, done.stderr)
    out.show({"valid": True, "file": args.file}, done.stdout.strip())
    return 0


def _error(told: bytes, stderr: str) -> StokerError:
    """What stokerd said on its pipe for such things; else the last thing that it said at all."""
    try:
        return from_wire(json.loads(told)["error"])
    except (ValueError, KeyError, TypeError):
        last = stderr.strip().rpartition("\n")[2]
        return ConfigError(
            f"the check itself failed: {last or 'stokerd said nothing'}", hint="is Stoker installed completely?"
        )
