"""What a forkserver's interpreter executes: ``python main.py ORDERS DAEMON``.

Args:
    ORDERS: descriptor of the socket to the daemon.
    DAEMON: process id of the daemon.

It is any CPython >= 3.11 of any virtual environment. In this order: die with the daemon; take this directory off
``sys.path`` and make ``stokerd`` importable without it; import what serving needs while the path is still the
interpreter's own, so that a file in the user's directory that is called like a standard module does not break it; and
only then put up the environment's path.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

HERE = Path(os.path.abspath(__file__)).parent


def _make_importable(package: str) -> None:
    spec = importlib.util.spec_from_file_location(
        package, HERE.parent / "__init__.py", submodule_search_locations=[str(HERE.parent)]
    )
    if spec is not None:
        sys.modules[package] = importlib.util.module_from_spec(spec)


def _main() -> None:
    orders, daemon = int(sys.argv[1]), int(sys.argv[2])
    if sys.version_info < (3, 11):  # noqa: UP036  # it is the client's interpreter, not the daemon's
        sys.exit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
    if sys.path and os.path.abspath(sys.path[0]) == str(HERE):
        del sys.path[0]
    _make_importable("stokerd")
    from stokerd.forkserver import prctl

    if not prctl.die_with_parent(daemon, signal.SIGTERM):
        sys.exit("the daemon that started this forkserver is gone")
    from stokerd.forkserver import serve

    serve.serve(orders, daemon)


_main()
