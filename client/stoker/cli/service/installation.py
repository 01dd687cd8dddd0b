"""This installation: where its programs are, and whether another user could run them."""

from __future__ import annotations

import shutil
import stat
import sys
from pathlib import Path

import stoker
from stoker.cli.service.layout import USER
from stoker.cli.service.trouble import CannotInstall


def programs() -> Path:
    """The directory of this installation's ``stokerd`` and ``stoker``.

    Raises:
        CannotInstall: it has none.
    """
    beside = Path(sys.executable).parent
    if all((beside / name).is_file() for name in ("stokerd", "stoker")):
        return beside
    found = shutil.which("stokerd")
    if found is None:
        raise CannotInstall(f"there is no stokerd in {beside}", hint="install Stoker again with pip")
    return Path(found).parent


def check_open(directory: Path) -> None:
    """See that the service's user could run what is there.

    Args:
        directory: of the programs.

    Raises:
        CannotInstall: something on the way is closed to other users.
    """
    for what in (directory / "stokerd", Path(sys.executable).resolve(), Path(stoker.__file__)):
        for parent in reversed(what.parents):
            if not parent.stat().st_mode & stat.S_IXOTH:
                raise CannotInstall(
                    f"the service runs as the user {USER}, who cannot get at {what}: {parent} is closed to others",
                    hint="install Stoker where all may look, `python3 -m venv /opt/stoker` for instance, with a Python"
                    " that is open to all too; or add --user",
                )
