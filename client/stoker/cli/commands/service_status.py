"""``stoker service status``."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import Any

from stoker.cli.output import Output
from stoker.cli.parser import Parser
from stoker.cli.service import options
from stoker.cli.service.layout import Service
from stoker.cli.service.systemctl import Systemctl
from stoker.errors import EXIT_FAILED, EXIT_NOT_FOUND

_ASKED = ("LoadState", "ActiveState", "SubState", "UnitFileState", "MainPID", "StatusText", "Result", "NRestarts")
PATIENCE = 5.0
"""Seconds that the daemon has to answer."""


def arguments(parser: Parser) -> None:
    """Which service."""
    options.which(parser)


def run(args: Namespace, out: Output) -> int:
    """What systemd says of it, and whether the daemon answers: 0 if it does, 1 if not, 4 if nothing is installed."""
    service = options.service(args)
    systemctl = Systemctl(user=service.user)
    told = systemctl.properties(service.unit(), *_ASKED)
    listening = systemctl.properties(service.sockets[0], "ActiveState").get("ActiveState") == "active"
    facts = _facts(service, told, listening=listening)
    if told.get("LoadState") != "loaded":
        out.show(facts, f"{service.unit()}: not installed")
        return EXIT_NOT_FOUND
    if told["ActiveState"] == "active":
        facts["answers"] = _answers(facts["endpoint"], args.timeout or PATIENCE)
    out.show(facts, "\n".join(_lines(facts, systemctl.log(service.unit()))))
    return 0 if facts["answers"] or (facts["active"] == "inactive" and listening) else EXIT_FAILED


def _facts(service: Service, told: dict[str, str], *, listening: bool) -> dict[str, Any]:
    return {
        "unit": service.unit(),
        "endpoint": service.endpoint(os.environ),
        "installed": told.get("LoadState") == "loaded",
        "enabled": told.get("UnitFileState", ""),
        "active": told.get("ActiveState", ""),
        "sub": told.get("SubState", ""),
        "result": told.get("Result", ""),
        "pid": int(told.get("MainPID") or 0),
        "restarts": int(told.get("NRestarts") or 0),
        "status": told.get("StatusText", ""),
        "listening": listening,
        "answers": False,
    }


def _answers(endpoint: str, timeout: float) -> bool:
    from stoker.connection import Connection
    from stoker.errors import StokerError

    try:
        connection = Connection(f"ipc://{endpoint}", reconnect=0)
        try:
            connection.call("ping", {}, timeout=timeout)
        finally:
            connection.close()
    except StokerError:
        return False
    return True


def _lines(facts: dict[str, Any], log: str) -> list[str]:
    lines = [f"{facts['unit']}: {facts['active']} ({facts['sub']}), {facts['enabled'] or 'static'}"]
    if facts["pid"]:
        lines.append(f"  pid {facts['pid']}, {facts['restarts']} restarts; {facts['status']}")
        lines.append(f"  {'answers' if facts['answers'] else 'does not answer'} at {facts['endpoint']}")
    elif facts["listening"]:
        lines.append(f"  starts with the first request at {facts['endpoint']}")
    else:
        lines.append(f"  last result: {facts['result']}")
    if not facts["answers"] and log:
        lines += ["  its last words:", *(f"    {line}" for line in log.splitlines())]
    return lines
