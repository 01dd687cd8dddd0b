"""What runs in the child of a Python target: it takes what it is to call from the shared page, and calls it.

On the channel, as in :mod:`stokerd.processes.exec_main`: the daemon says ``GO`` when the page is filled; the child
answers ``{"exec": true}`` just before the call, or ``{"error", "hint"}``, and closes it.

This module is imported by the forkserver, once, before it forks: so is the library, in whose name most of such calls
are made, and whose import would take longer than all the rest of the child's start.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import sys
from collections.abc import Callable
from typing import Any

from stokerd.forkserver.borrowed import borrow
from stokerd.forkserver.handles import Handles
from stokerd.processes.become import RefusedError, settle
from stokerd.processes.exec_main import GO, NOT_EXECUTABLE, refuse, say

_LIBRARY = (
    "stoker.client",
    "stoker.local",
    "stoker.multiprocessing.process",
    "stoker.multiprocessing.queues",
    "stoker.multiprocessing.synchronize",
)

for _name in _LIBRARY:
    with contextlib.suppress(Exception):  # an environment without the library, or with another one, does without
        importlib.import_module(_name)


def main(args: dict[str, Any], handles: Handles) -> None:
    """Call what the page holds. How it ends is the process's end: see ``multiprocessing.Process``."""
    channel, page = handles.channel, handles.page
    if channel is None or page is None or channel.recv(len(GO)) != GO:
        raise SystemExit(NOT_EXECUTABLE)
    data = page[: args["size"]]
    page.close()
    try:
        settled = settle(args)
        os.environ.update({name: value for name, value in settled.items() if os.environ.get(name) != value})
        call = _named(data) if args["form"] == "call" else None
    except RefusedError as why:
        refuse(channel, why.error, why.hint)
        raise SystemExit(NOT_EXECUTABLE) from None
    except Exception as why:
        refuse(channel, f"{type(why).__name__}: {why}", f"{sys.executable} looks in {', '.join(sys.path[:3])} …")
        raise SystemExit(NOT_EXECUTABLE) from None
    say(channel, {"exec": True})
    channel.close()
    handles.channel = handles.page = None
    if call is None:
        call = pickle.loads(data)  # noqa: S301 - runs as the user's own code, in the user's process
    del data
    call()


def _named(data: bytes) -> Callable[[], object]:
    """A call by the function's name.

    Raises:
        ImportError, AttributeError, TypeError: there is no such function.
    """
    told = borrow("msgpack").unpackb(data, raw=False, strict_map_key=False)
    module, _, qualified = told["function"].partition(":")
    function: Any = importlib.import_module(module)
    for name in qualified.split("."):
        function = getattr(function, name)
    if not callable(function):
        raise TypeError(f"{told['function']} is {type(function).__name__}, which can't be called")
    return lambda: function(*told["args"], **told["kwargs"])
