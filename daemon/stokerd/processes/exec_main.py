"""What runs in the child between fork and exec: it becomes the program, or says exactly why it can't.

On the channel, lines of JSON: ``{"exec": true}`` just before the exec; after that either the end of the stream, for the
exec closes it, or ``{"error", "hint"}``. A stream that ends without any of them: the child never got here.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

from stokerd.forkserver.handles import Handles
from stokerd.processes.become import RefusedError, reason, settle

GO = b"\n"
"""What the daemon says to a child that has to wait for what it is to do, see :mod:`stokerd.processes.call_main`."""

NOT_FOUND = 127
NOT_EXECUTABLE = 126
"""Exit codes of a shell for the same."""


def main(args: dict[str, Any], handles: Handles) -> None:
    """Become ``args["argv"]``, settled as :func:`stokerd.processes.become.settle` says."""
    channel = handles.channel
    if channel is None:
        raise SystemExit(NOT_EXECUTABLE)
    argv = args["argv"]
    try:
        env = settle(args)
    except RefusedError as why:
        refuse(channel, why.error, why.hint)
        raise SystemExit(NOT_EXECUTABLE) from None
    for signum in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and what is ignored stays so across an exec
        signal.signal(signum, signal.SIG_DFL)
    say(channel, {"exec": True})
    try:
        os.execvpe(argv[0], argv, env)  # noqa: S606  # no shell, on purpose
    except (OSError, ValueError) as why:
        missing = isinstance(why, OSError) and why.errno in {errno.ENOENT, errno.ENOTDIR}
        refuse(channel, *_explain(argv[0], env, why))
        raise SystemExit(NOT_FOUND if missing else NOT_EXECUTABLE) from None


def say(channel: socket.socket, message: dict[str, Any]) -> None:
    """Tell the daemon."""
    channel.sendall(json.dumps(message).encode() + b"\n")


def refuse(channel: socket.socket, error: str, hint: str) -> None:
    """Tell the daemon why this will not become what was asked for."""
    say(channel, {"error": error, "hint": hint})


def _explain(program: str, env: dict[str, str], why: Exception) -> tuple[str, str]:
    """What happened, and what to do next."""
    code = why.errno if isinstance(why, OSError) else None
    if code not in {errno.ENOENT, errno.ENOTDIR}:
        hint = "it has to be an executable file" if code in {errno.EACCES, errno.ENOEXEC} else ""
        return f"cannot execute {program}: {reason(why)}", hint
    path = env.get("PATH", os.defpath)
    found = shutil.which(program, path=path)
    if found is not None:
        return f"cannot execute {found}: the interpreter that it names does not exist", "look at its first line"
    if os.sep in program:
        return f"there is no program {program} in {Path.cwd()}", "give a path that exists, or a name that is on PATH"
    return f"there is no program {program} on PATH", f"PATH is {path}; give the program's absolute path"
