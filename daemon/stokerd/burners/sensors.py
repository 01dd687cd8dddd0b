"""What guards can watch: one reading from the files of a :class:`~stokerd.burners.host.Host`, and whether there is any.

A sensor that the machine does not have is said to be missing; it is never read as "all is well".
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence

from stoker.errors import InvalidParams
from stoker.protocol.guards import Guard
from stokerd.burners.host import Host

THERMAL = ("/sys/class/thermal/thermal_zone*/temp", "/sys/class/hwmon/hwmon*/temp*_input")
"""Thousandths of a degree Celsius."""


def check(guards: Sequence[Guard], host: Host, path: str | None) -> None:
    """Refuse guards that cannot be kept on this machine.

    Args:
        guards: as they were asked for.
        host: the machine.
        path: the PATH on which the programs of probes are looked for.

    Raises:
        InvalidParams: a sensor does not exist; the message says what is missing.
    """
    for guard in guards:
        if why := _missing(guard, host, path):
            raise InvalidParams(
                f"guard {guard.text!r:.200} cannot be kept: {why}", hint="leave it out, or watch another"
            )


def _missing(guard: Guard, host: Host, path: str | None) -> str:
    if guard.sensor == "probe":
        found = shutil.which(guard.argv[0], path=path)
        return "" if found else f"there is no program {guard.argv[0]!r:.100} on the daemon's PATH"
    if guard.sensor == "lateness":
        return ""
    if guard.sensor == "steal":
        return "" if host.times() else "/proc/stat does not tell the times of the cores"
    if read(guard.sensor, host) is not None:
        return ""
    if guard.sensor == "temp":
        return f"this machine shows no temperature sensor (neither {THERMAL[0]} nor {THERMAL[1]})"
    if guard.sensor.startswith("psi."):
        file = _pressure_file(guard.sensor)
        return f"this kernel tells no such pressure ({file}; it needs CONFIG_PSI, and psi=1 at boot)"
    return {"load": "there is no /proc/loadavg", "memory": "/proc/meminfo does not tell MemAvailable"}[guard.sensor]


def read(sensor: str, host: Host) -> float | None:
    """What a sensor says now, in its guard's unit; None where it says nothing.

    Args:
        sensor: one that needs only one look: not ``steal``, ``lateness`` or ``probe``.
        host: the machine.
    """
    if sensor == "load":
        return _number((host.read("/proc/loadavg") or "").split(" ")[0])
    if sensor == "memory":
        found = re.search(r"^MemAvailable:\s+(\d+) kB", host.read("/proc/meminfo") or "", re.MULTILINE)
        return float(found[1]) * 1024 if found else None
    if sensor == "temp":
        return max(_temperatures(host), default=None)
    kind = sensor.rpartition(".")[2]
    found = re.search(rf"^{kind} avg10=([0-9.]+)", host.read(_pressure_file(sensor)) or "", re.MULTILINE)
    return float(found[1]) if found else None


def _pressure_file(sensor: str) -> str:
    return f"/proc/pressure/{sensor.split('.')[1]}"


def _temperatures(host: Host) -> Iterator[float]:
    for pattern in THERMAL:
        for path in host.find(pattern):
            if (thousandths := _number((host.read(path) or "").strip())) is not None:
                yield thousandths / 1000


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
