"""``stoker lock``."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from argparse import Namespace
from typing import Any

from stoker.cli import values
from stoker.cli.connecting import Peer, connect
from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.cli.values import UsageError
from stoker.errors import DeadlineExceeded, StokerError

AFTER_DASHES = True
PR_SET_PDEATHSIG = 1
"""Of prctl(2)."""
NOT_FOUND = 127
NOT_EXECUTABLE = 126
"""Exit codes of a shell for the same."""


def arguments(parser: Parser) -> None:
    """NAME, then ``-- command``."""
    parser.usage = "stoker lock NAME [options] -- COMMAND [ARG …]"
    parser.add_argument("name", metavar="NAME", help="the lock; it is made if there is none")
    parser.add_argument("--timeout", metavar="TIME", type=values.duration, help="wait for it no longer than this")


def run(args: Namespace, out: Output) -> int:
    """Run a command while holding a lock; its exit code, 128 + N for a signal.

    The command finds the fencing token in ``STOKER_LOCK_TOKEN``. The lock is released when the command has ended, and
    by the daemon when this has, however it ended; then the command is killed, which must not run without the lock.
    """
    if not args.after_dashes:
        raise UsageError("which command?", hint=f"stoker lock {args.name} -- COMMAND [ARG …]")
    with connect(args.socket) as peer:
        token = _acquire(peer, args)
        code = _run(args.after_dashes, token, out)
        try:
            peer.call("lock.release", {"id": args.name, "token": token})
        except StokerError as why:
            out.complain(why)
            out.warn(f"the lock {args.name!r} was lost while the command ran: others may have held it meanwhile")
            return code or why.exit_code
    return code


def _acquire(peer: Peer, args: Namespace) -> int:
    peer.call("object.open", {"kind": "lock", "name": args.name})
    params: dict[str, Any] = {"id": args.name}
    if args.timeout is not None and args.timeout != float("inf"):
        params["timeout"] = args.timeout
    reply, _ = peer.call("lock.acquire", params)
    if not reply["acquired"]:
        raise DeadlineExceeded(
            f"somebody else has held the lock {args.name!r} for all of {args.timeout:g} s",
            hint="wait longer; `stoker status --json` has its owner",
        )
    return int(reply["token"])


def _run(argv: list[str], token: int, out: Output) -> int:
    """The command, with this program's streams. Signals that ask to end are its to answer."""
    try:
        child = subprocess.Popen(
            argv,
            env={**os.environ, "STOKER_LOCK_TOKEN": str(token)},
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - a system call, and no other thread has a lock that it needs
        )
    except OSError as why:
        out.warn(f"cannot execute {argv[0]}: {why.strerror}")
        return NOT_FOUND if isinstance(why, FileNotFoundError) else NOT_EXECUTABLE
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda number, _frame: child.send_signal(number))
    signal.signal(signal.SIGINT, lambda *_: None)  # the terminal sends it to the command too
    code = child.wait()
    return 128 - code if code < 0 else code


def _die_with_parent() -> None:
    """In the child: be killed when the one that holds the lock is."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
