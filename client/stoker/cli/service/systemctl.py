"""Having systemd do things, with its complaints as Stoker's errors."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from stoker.cli.service.trouble import NoServiceManager
from stoker.errors import PermissionRefused, StartFailed

RUNNING = Path("/run/systemd/system")
"""Is there where systemd is the machine's init: sd_booted(3)."""
PATIENCE = 180.0
"""Seconds for one command: the units' TimeoutStartSec and TimeoutStopSec are far below."""
LAST_LINES = 8
"""Lines of the log that a failure is told with."""
_USER_UNITS = "/systemd/user"
"""What the directory of a user's units is called in that of the user's configuration."""


class Systemctl:
    """``systemctl`` of the machine or of the calling user.

    Args:
        user: the user's.

    Raises:
        NoServiceManager: there is no systemd, or none for this user.
        PermissionRefused: the machine's, and not root.
    """

    def __init__(self, *, user: bool) -> None:
        self._user = user
        if shutil.which("systemctl") is None or not RUNNING.is_dir():
            raise NoServiceManager(
                "this machine's init is not systemd, which is what runs services here",
                hint="have whatever supervises programs here run `stokerd` in the foreground; SIGTERM ends it",
            )
        if user:
            self._require_user_manager()

    def require_root(self) -> None:
        """Nothing of the machine's can be changed by others.

        Raises:
            PermissionRefused: this is not root.
        """
        if not self._user and os.geteuid() != 0:
            raise PermissionRefused(
                "a service of the machine takes root",
                hint="put sudo before it, or add --user for a service of your own",
            )

    def _require_user_manager(self) -> None:
        done = self._ask("show", "--property", "Version")
        if done.returncode:
            raise NoServiceManager(
                f"systemd does not answer for this user: {_last(done.stderr)}",
                hint="log in as the user itself (su and sudo do not set XDG_RUNTIME_DIR), or"
                " `loginctl enable-linger` first",
            )

    def version(self) -> int:
        """systemd's; 0 where it does not tell."""
        words = self._ask("--version").stdout.split()
        return int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0

    def environ(self, ours: Mapping[str, str]) -> Mapping[str, str]:
        """The environment by which the service's files have their places: a user's manager may have been started
        without the ``XDG_CONFIG_HOME`` that a shell sets later, and looks for units only where its own says.

        Args:
            ours: this process's environment.
        """
        if not self._user:
            return ours
        looked = self._ask("show", "--property", "UnitPath", "--value").stdout.split()
        places = [place.removesuffix(_USER_UNITS) for place in looked if place.endswith(_USER_UNITS)]
        if not places or ours.get("XDG_CONFIG_HOME") in places:
            return ours
        return {**ours, "XDG_CONFIG_HOME": places[0]}  # in the order of systemd.unit(5), it comes before the system's

    def argv(self, *words: str) -> list[str]:
        """The command line."""
        return ["systemctl", *(["--user"] if self._user else []), "--no-pager", *words]

    def properties(self, unit: str, *names: str) -> dict[str, str]:
        """What systemd knows of a unit."""
        done = self._ask("show", "--property", ",".join(names), "--", unit)
        return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)

    def do(self, *words: str, unit: str = "") -> None:
        """Have something done.

        Args:
            words: of systemctl.
            unit: whose log says why it failed.

        Raises:
            StartFailed: it was not, and why.
        """
        done = self._ask(*words)
        if done.returncode:
            log = f"\n{self.log(unit)}" if unit else ""
            scope = "--user " if self._user else ""
            raise StartFailed(
                f"`{' '.join(self.argv(*words))}` failed: {_last(done.stderr)}{log}",
                hint=f"`journalctl {scope}-u {unit}` has it all" if unit else "see its message",
            )

    def log(self, unit: str) -> str:
        """The last lines of a unit's log."""
        scope = ["--user"] if self._user else []
        argv = ["journalctl", *scope, "-q", "--no-pager", "-o", "cat", "-n", str(LAST_LINES), "-u", unit]
        return _run(argv).stdout.rstrip()

    def _ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        return _run(self.argv(*words))


def tool(*argv: str) -> None:
    """Run another program of systemd's.

    Raises:
        StartFailed: it is not there, or failed.
    """
    done = _run(list(argv))
    if done.returncode:
        raise StartFailed(f"`{' '.join(argv)}` failed: {_last(done.stderr)}", hint="is systemd installed completely?")


def _run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
    except FileNotFoundError:
        return subprocess.CompletedProcess(argv, 127, "", f"there is no program {argv[0]}")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 124, "", f"it did not end within {PATIENCE:g} s")


def _last(text: str) -> str:
    return text.strip().rpartition("\n")[2] or "it did not say why"
