"""``stoker service uninstall``."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.cli.service import files, layout, options
from stoker.cli.service.layout import Service
from stoker.cli.service.systemctl import Systemctl


def arguments(parser: Parser) -> None:
    """Which service."""
    options.which(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")


def run(args: Namespace, out: Output) -> int:
    """Stop and disable the units, and remove them. Configuration, state and the user stay."""
    service = options.service(args)
    systemctl = Systemctl(user=service.user)
    environ = systemctl.environ(os.environ)
    units = service.units(environ)
    present = [path for path in _files(service, units) if path.exists()]
    facts = {"unit": service.unit(), "removed": [str(path) for path in present], "dry_run": args.dry_run}
    names = [*service.sockets, service.unit()]
    if args.dry_run:
        command = systemctl.argv("disable", "--now", *names)
        out.show(facts, "\n".join([f"would run {' '.join(command)}", *(f"would remove {path}" for path in present)]))
        return 0
    systemctl.require_root()
    if (units / service.files[0]).exists():
        systemctl.do("disable", "--now", "--", *names, unit=service.unit())
    for path in present:
        files.drop(path)
    if present:
        systemctl.do("daemon-reload")
    kept = service.config(environ)
    out.show(facts, f"{service.unit()}: {'removed' if present else 'was not installed'}")
    if present and kept.exists():
        out.note(f"{kept} and what the daemon keeps on disk are left as they are")
    return 0


def _files(service: Service, units: Path) -> list[Path]:
    """What :mod:`.service_install` writes; of templates, only once no other instance uses them."""
    names = [*layout.DROP_INS, layout.BACKOFF]
    found = [units / f"{service.unit()}.d" / f"{name}.conf" for name in names]
    if not service.instance or not _other_instances(service, units):
        found = [units / name for name in service.files] + found
    return found


def _other_instances(service: Service, units: Path) -> bool:
    mine = {*service.sockets, service.unit()}
    return any(link.name not in mine for link in units.glob("*.wants/stokerd*@?*.*"))
