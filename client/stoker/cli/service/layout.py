"""Which files make the service, with what in them and where: decided here, written by the verbs."""

from __future__ import annotations

import os
import re
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stoker.cli.service.trouble import CannotInstall
from stoker.cli.values import UsageError

USER = "stoker"
"""Who the system service runs as, and the group that may use its socket; see systemd/sysusers.d."""
MADE_FOR = "/opt/stoker/bin/"
"""The installation that the unit files name as they come."""
DROP_INS = ("relaxed-jobs", "tcp")
BACKOFF = "backoff"
BACKOFF_FROM = 254
"""The first systemd that knows RestartSteps."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_FIRST_CONFIG = """\
# The configuration of this Stoker daemon. config.example.toml, beside the unit files, has every key with its default.
# `stoker config check FILE` tells what is wrong with a file; `systemctl reload {unit}` puts it in effect.

[daemon]
# Members of the group stoker may use the control socket, and so run whatever they like as the user stoker.
mode = "0660"
"""


@dataclass(frozen=True, slots=True)
class Service:
    """Which service is meant.

    Args:
        user: one of the calling user's own, else one of the machine.
        activated: started by the first request, through socket units.
        instance: name of one of several; empty: the one that clients find by themselves.

    Raises:
        UsageError: the name cannot be part of a unit's name.
    """

    user: bool = False
    activated: bool = False
    instance: str = ""

    def __post_init__(self) -> None:
        if self.instance and not _NAME.fullmatch(self.instance):
            raise UsageError(
                f"{self.instance!r:.60} cannot be the name of an instance",
                hint="use up to 32 letters, digits, dots, dashes and underscores, a letter or digit first",
            )

    @property
    def family(self) -> str:
        """What its directories are called."""
        return f"stoker-{self.instance}" if self.instance else "stoker"

    def unit(self, kind: str = "service", part: str = "stokerd") -> str:
        """The name of one of its units, for instance ``stokerd@blue.socket``."""
        return f"{part}@{self.instance}.{kind}" if self.instance else f"{part}.{kind}"

    @property
    def sockets(self) -> tuple[str, str]:
        """Its socket units."""
        return self.unit("socket"), self.unit("socket", "stokerd-events")

    @property
    def wanted(self) -> tuple[str, ...]:
        """The units that are to be enabled."""
        return self.sockets if self.activated else (self.unit(),)

    def endpoint(self, environ: Mapping[str, str]) -> str:
        """Its control socket."""
        runtime = (environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}") if self.user else "/run"
        return f"{runtime}/{self.family}/control.sock"

    def config(self, environ: Mapping[str, str]) -> Path:
        """Its configuration file."""
        if not self.user:
            return Path("/etc", self.family, "config.toml")
        return _config_home(environ) / self.family / "config.toml"

    def units(self, environ: Mapping[str, str]) -> Path:
        """Where its units lie."""
        return _config_home(environ) / "systemd/user" if self.user else Path("/etc/systemd/system")

    @property
    def files(self) -> tuple[str, ...]:
        """The names of its unit files."""
        at = "@" if self.instance else ""
        return tuple(f"{name}{at}.{kind}" for name, kind in _FILES)


_FILES = (("stokerd", "service"), ("stokerd", "socket"), ("stokerd-events", "socket"))


def _config_home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "~").expanduser() / ".config")


def templates() -> Path:
    """The directory of the unit files that came with this installation.

    Raises:
        CannotInstall: they are not there.
    """
    candidates = [Path(__file__).parents[4] / "systemd"]  # a checkout that is installed editable
    candidates += [Path(sysconfig.get_path("data", scheme)) / "share/stoker/systemd" for scheme in _schemes()]
    for directory in candidates:
        if (directory / "stokerd.service").is_file() and (directory / "drop-ins").is_dir():
            return directory
    raise CannotInstall(
        f"the unit files that belong to this installation are not in {candidates[1]}",
        hint="install Stoker again with pip, from a wheel or a checkout",
    )


def _schemes() -> tuple[str, ...]:
    names = sysconfig.get_scheme_names()
    preferred = (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user"))
    return tuple(dict.fromkeys(name for name in preferred if name in names))


def contents(
    service: Service, source: Path, programs: Path, version: int, drop_ins: tuple[str, ...], environ: Mapping[str, str]
) -> Iterator[tuple[Path, str]]:
    """Each file of the service and what belongs in it.

    Args:
        service: which.
        source: the directory of the templates.
        programs: the directory of this installation's ``stokerd`` and ``stoker``.
        version: of systemd.
        drop_ins: names of drop-ins to add.
        environ: the environment.

    Raises:
        CannotInstall: a template is not there.
    """
    units = service.units(environ)
    for name in service.files:
        yield units / name, _rendered(source / ("user" if service.user else ".") / name, programs)
    extra = (*((BACKOFF,) if version >= BACKOFF_FROM else ()), *drop_ins)
    for name in extra:
        yield units / f"{service.unit()}.d" / f"{name}.conf", _rendered(source / "drop-ins" / f"{name}.conf", programs)
    if not service.user:
        for kind in ("sysusers", "tmpfiles"):
            yield Path(f"/etc/{kind}.d/stoker.conf"), _read(source / f"{kind}.d/stoker.conf")


def first_config(service: Service) -> str:
    """The configuration that a new system service starts with."""
    return _FIRST_CONFIG.format(unit=service.unit())


def _rendered(template: Path, programs: Path) -> str:
    text = _read(template)
    where = str(programs).replace("%", "%%")
    if any(character in where for character in " \t\"\\'$"):
        raise CannotInstall(
            f"this installation lies in {programs}, a path with characters that units cannot name plainly",
            hint="install Stoker in another directory, such as /opt/stoker",
        )
    return text.replace(MADE_FOR, f"{where}/")


def _read(template: Path) -> str:
    try:
        return template.read_text(encoding="utf-8")
    except OSError as why:
        raise CannotInstall(
            f"{template} cannot be read: {why.strerror}", hint="install Stoker again with pip"
        ) from None
