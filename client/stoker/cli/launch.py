"""Starting a daemon that was asked for: where, with which options, and waiting until it serves.

Not :mod:`stoker.autostart`, which starts one that nobody asked for: that one leaves by itself and takes no options.
"""

from __future__ import annotations

import json
import math
import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from stoker import autostart
from stoker.errors import DeadlineExceeded, StartFailed, StokerError, from_wire
from stoker.protocol import endpoint as endpoints
from stoker.protocol.endpoint import Endpoint

PATIENCE = 30.0
"""Seconds within which it must serve."""


def endpoint(explicit: str | None, environ: Mapping[str, str]) -> Endpoint:
    """Where it is to listen: what the user named, else the user's own place, which is made.

    Raises:
        BadEndpoint: it cannot be used.
        PermissionRefused: the runtime directory is not this user's own.
    """
    named = endpoints.chosen(explicit, environ)
    if named is not None:
        return named
    own = endpoints.default(environ, os.getuid())
    autostart.make_private(Path(str(own.path)).parent)
    return own


def options(config: str | None, idle_exit: float | None) -> list[str]:
    """What the user wants of it, as stokerd's own options."""
    words = ["--config", os.path.abspath(config)] if config else []
    if idle_exit is not None:
        words += ["--idle-exit", "0" if math.isinf(idle_exit) else f"{idle_exit:g}"]
    return words


def become(where: Endpoint, words: Sequence[str]) -> NoReturn:
    """Turn this process into the daemon."""
    argv = _argv(where, words)
    sys.stdout.flush()
    os.execv(argv[0], argv)  # noqa: S606 - our own interpreter and module, no shell


def start(where: Endpoint, words: Sequence[str], timeout: float | None) -> int:
    """Start it in a session of its own; returns its process id when it serves.

    Args:
        where: its control socket; its log is written beside it.
        words: from :func:`options`.
        timeout: seconds.

    Raises:
        StartFailed: it ended before it served.
        DeadlineExceeded: it does not serve in time; it was killed.
        StokerError: what it said itself: the endpoint is in use, its configuration is wrong …
    """
    reading, writing = os.pipe()
    log = _log_path(where)
    try:
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600), "ab") as output:
            child = subprocess.Popen(
                [*_argv(where, words), "--ready-fd", str(writing)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(writing,),
                start_new_session=True,
                cwd="/",
                env=_absolute(os.environ),
            )
    except OSError as why:
        raise StartFailed(
            f"the daemon's log {log} cannot be written: {why.strerror}", hint="does its directory exist?"
        ) from None
    finally:
        os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as told:
        poll = select.poll()
        poll.register(told, select.POLLIN)
        if not poll.poll((timeout or PATIENCE) * 1000):
            child.kill()
            child.wait()
            raise DeadlineExceeded(f"the daemon did not serve within {timeout or PATIENCE:g} s", hint=f"see {log}")
        line = told.read(65536)
    return _answer(line, child, log)


def _answer(line: bytes, child: subprocess.Popen[bytes], log: Path) -> int:
    try:
        word = json.loads(line)
    except ValueError:
        raise StartFailed(f"the daemon ended at once with code {child.wait()}", hint=f"see {log}") from None
    if "error" in word:
        child.wait()
        error: StokerError = from_wire(word["error"])
        raise error
    child.returncode = 0  # it stays; without this its Popen would complain of being left running
    return int(word["ready"]["pid"])


def _argv(where: Endpoint, words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "stokerd", "--socket", where.url, *words]


def _log_path(where: Endpoint) -> Path:
    if where.path is None:
        return Path(os.devnull)
    return Path(where.path).with_name("stokerd.log")


def _absolute(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that starts in ``/``, where relative entries of PYTHONPATH would mislead."""
    copy = dict(environ)
    if path := copy.get("PYTHONPATH"):
        copy["PYTHONPATH"] = os.pathsep.join(os.path.abspath(entry) for entry in path.split(os.pathsep))
    return copy
