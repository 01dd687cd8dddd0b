"""A virtual environment for every peer that needs packages, made when it is first asked for and kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from benchmarks.failure import Failed

ROOT = Path(__file__).resolve().parent.parent
INSTALL_DEADLINE = 900
"""Seconds for all packages of one peer."""


def cache_directory() -> Path:
    """Where environments are kept: ``STOKER_BENCHMARKS_CACHE``, else a folder in the user's cache."""
    if named := os.environ.get("STOKER_BENCHMARKS_CACHE"):
        return Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "stoker-benchmarks")


def require(programs: Sequence[str]) -> None:
    """Raise Failed for a program that is not there."""
    for program in programs:
        if shutil.which(program) is None:
            raise Failed(f"{program} is not installed")


@cache
def interpreter(requirements: tuple[str, ...]) -> str:
    """The Python that has these packages; this one where none is asked for.

    Raises:
        Failed: they could not be installed.
    """
    if not requirements:
        return sys.executable
    mark = hashlib.sha256("\n".join((sys.version, *requirements)).encode()).hexdigest()[:8]
    folder = cache_directory() / f"{requirements[0].split('[')[0]}-{mark}"
    python, done = folder / "bin" / "python", folder / "complete"
    if done.exists():
        return str(python)
    print(f"making an environment with {', '.join(requirements)}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", str(folder)])
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])
    done.touch()
    return str(python)


def _run(argv: Sequence[str]) -> None:
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True, timeout=INSTALL_DEADLINE)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"could not be installed within {INSTALL_DEADLINE} s") from late
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise Failed(f"could not be installed: {lines[-1]}") from error


def variables(python: str, more: Mapping[str, str]) -> dict[str, str]:
    """The environment variables of a peer's process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STOKER_", "PYTHON"))}
    path = f"{Path(python).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT), **more}
