"""``stoker service install``."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.cli.service import files, installation, layout, options
from stoker.cli.service.layout import Service
from stoker.cli.service.systemctl import Systemctl, tool


def arguments(parser: Parser) -> None:
    """Which service, how it starts, what else it gets."""
    options.which(parser)
    parser.add_argument(
        "--socket", action="store_true", dest="activated", help="start the daemon with the first request that comes"
    )
    parser.add_argument(
        "--with",
        metavar="DROP_IN",
        dest="drop_ins",
        action="append",
        choices=layout.DROP_INS,
        default=[],
        help=f"add a drop-in: {' or '.join(layout.DROP_INS)}; may be given again",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")


def run(args: Namespace, out: Output) -> int:
    """Write the units, enable them, start them, and wait until the daemon serves. Done before, it changes nothing."""
    service = options.service(args, activated=args.activated)
    systemctl = Systemctl(user=service.user)
    programs, source = installation.programs(), layout.templates()
    if not service.user:
        installation.check_open(programs)
    environ = systemctl.environ(os.environ)
    version, drop_ins = systemctl.version(), tuple(dict.fromkeys(args.drop_ins))
    planned = list(layout.contents(service, source, programs, version, drop_ins, environ))
    config = service.config(environ)
    if not service.user and not config.exists():
        planned.append((config, layout.first_config(service)))
    told = [{"path": str(path), "state": files.state(path, text)} for path, text in planned]
    facts = {"unit": service.unit(), "endpoint": service.endpoint(environ), "files": told, "dry_run": args.dry_run}
    if args.dry_run:
        contents = {str(path): text for path, text in planned}
        _show_plan(systemctl, service, facts | {"contents": contents}, out)
        return 0
    systemctl.require_root()
    _write(planned, told, systemctl, service)
    _leave_the_other_way(systemctl, service)
    systemctl.do("enable", "--now", "--", *service.wanted, unit=service.unit())
    _report(systemctl, service, facts, out)
    return 0


def _write(planned: list[tuple[Path, str]], told: list[dict[str, Any]], systemctl: Systemctl, service: Service) -> None:
    for (path, text), entry in zip(planned, told, strict=True):
        if entry["state"] != "same":
            files.put(path, text)
    if not service.user:
        tool("systemd-sysusers", "/etc/sysusers.d/stoker.conf")
        tool("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/stoker.conf")
    if any(entry["state"] != "same" for entry in told):
        systemctl.do("daemon-reload")


def _leave_the_other_way(systemctl: Systemctl, service: Service) -> None:
    """A daemon that runs without socket units has to go before they can come, and they before it can listen itself."""
    listening = systemctl.properties(service.sockets[0], "ActiveState").get("ActiveState") == "active"
    unit = systemctl.properties(service.unit(), "ActiveState", "UnitFileState")
    alone = not listening and (unit.get("ActiveState") == "active" or unit.get("UnitFileState") == "enabled")
    if alone if service.activated else listening:
        systemctl.do("disable", "--now", "--", *service.sockets, service.unit(), unit=service.unit())


def _show_plan(systemctl: Systemctl, service: Service, facts: dict[str, Any], out: Output) -> None:
    verbs = {"new": "write", "changed": "replace", "same": "leave as it is:"}
    lines = [f"would {verbs[entry['state']]} {entry['path']}" for entry in facts["files"]]
    commands = [] if service.user else [["systemd-sysusers"], ["systemd-tmpfiles", "--create"]]
    commands += [systemctl.argv("daemon-reload"), systemctl.argv("enable", "--now", *service.wanted)]
    lines += [f"would run {' '.join(command)}" for command in commands]
    out.show(facts | {"commands": commands}, "\n".join(lines))


def _report(systemctl: Systemctl, service: Service, facts: dict[str, Any], out: Output) -> None:
    now = systemctl.properties(service.unit(), "ActiveState", "StatusText", "NeedDaemonReload", "MainPID")
    facts |= {"active": now.get("ActiveState", ""), "pid": int(now.get("MainPID") or 0)}
    changed = [entry["path"] for entry in facts["files"] if entry["state"] == "changed"]
    text = now.get("StatusText") or f"waiting for the first request at {facts['endpoint']}"
    out.show(facts, f"{service.unit()}: {now.get('ActiveState', 'unknown')}: {text}")
    if changed and facts["pid"]:
        out.note(f"its units have changed: `{' '.join(systemctl.argv('restart', service.unit()))}` puts them in effect")
    if service.user and not Path("/var/lib/systemd/linger", _name()).exists():
        out.note("it ends with your last session; `loginctl enable-linger` keeps it")
    if not service.user:
        out.note(f"who may use it: members of the group {layout.USER} (`usermod -aG {layout.USER} NAME`)")


def _name() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name
