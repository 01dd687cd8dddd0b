"""Putting files in their places, and taking them away: only what differs, each at once and whole."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from stoker.cli.service.trouble import CannotInstall
from stoker.errors import PermissionRefused


def state(path: Path, text: str) -> str:
    """What writing it would do: ``new``, ``changed`` or ``same``."""
    try:
        return "same" if path.read_text(encoding="utf-8") == text else "changed"
    except FileNotFoundError:
        return "new"
    except (OSError, UnicodeDecodeError):
        return "changed"


def put(path: Path, text: str) -> None:
    """Write a file, and its directory if need be.

    Raises:
        PermissionRefused, CannotInstall: it cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.write_text(text, encoding="utf-8")
            aside.chmod(0o644)
            aside.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise
    except PermissionError as why:
        raise PermissionRefused(f"{path} cannot be written: {why.strerror}", hint="who owns the directory?") from None
    except OSError as why:
        raise CannotInstall(
            f"{path} cannot be written: {why.strerror}", hint="is there space, and is the file system writable?"
        ) from None


def drop(path: Path) -> bool:
    """Remove a file, and its directory if it was made for it and is empty now; False where there was none.

    Raises:
        CannotInstall: it cannot be removed.
    """
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as why:
        raise CannotInstall(f"{path} cannot be removed: {why.strerror}", hint="who owns the directory?") from None
    if path.parent.name.endswith(".service.d"):
        with contextlib.suppress(OSError):
            path.parent.rmdir()
    return True
