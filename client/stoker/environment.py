"""Where this program's functions live, as the plain map that ``hello`` takes.

Two programs that run in the same place must describe it alike, because a worker is bound to one environment.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def of_library() -> dict[str, Any]:
    """The environment of a program that uses the library: its ``sys.path`` as it is, ``""`` spelled out."""
    cwd = _cwd()
    return _map(cwd, [entry or cwd for entry in sys.path])


def of_command_line() -> dict[str, Any]:
    """The environment of the CLI, whose ``sys.path[0]`` is the directory of its own script: cwd takes its place."""
    cwd = _cwd()
    return _map(cwd, [cwd, *sys.path[1:]])


def _map(cwd: str, path: list[str]) -> dict[str, Any]:
    # not resolved: a virtual environment is found by its own symbolic link; empty in an embedded interpreter
    executable = sys.executable or f"{sys.exec_prefix}/bin/python3"
    return {"executable": executable, "cwd": cwd, "path": path}


def _cwd() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - no pathlib where start-up time counts
    except FileNotFoundError:  # somebody removed it
        return "/"
