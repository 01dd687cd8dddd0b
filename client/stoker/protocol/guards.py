"""Guards of a burner as text: one grammar for the command line, the configuration and the wire. Pure.

::

    SENSOR > THRESHOLD [/ CLEAR] [@ HOLD] : ACTION
    probe : PROGRAM ARGUMENT… : ACTION

===================================  ====================  ==============================================
sensor                               unit                  what it is
===================================  ====================  ==============================================
``load``                             processes             load average of the last minute
``psi.cpu.some`` ``psi.io.full`` …   percent               pressure stall information, mean of 10 s
``temp``                             degrees Celsius       the hottest sensor
``memory``                           bytes, K M G T        memory that is available (the guard is ``<``)
``steal``                            percent               of the machine, taken by the hypervisor
``lateness``                         ms, s                 by which the daemon's own loop is late
``probe``                            exit code 0 is well   a program, run again and again
===================================  ====================  ==============================================

The action is ``warn`` (say it), ``cap`` (burn half), ``pause`` (burn nothing) or ``abort`` (end). A guard trips as soon as
its threshold is passed. It is clear again when the reading has been back behind CLEAR for HOLD seconds without a break;
CLEAR is a tenth of the threshold away from it and HOLD is 5 s unless said otherwise.

>>> parse("psi.cpu.some>40/20@10s:cap")
Guard(text='psi.cpu.some>40/20@10s:cap', sensor='psi.cpu.some', action='cap', threshold=40.0, clear=20.0, hold=10.0, argv=())
"""  # noqa: E501  # the doctest shows it whole

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from stoker.errors import InvalidParams

SENSORS = (
    "load",
    "psi.cpu.some",
    "psi.cpu.full",
    "psi.memory.some",
    "psi.memory.full",
    "psi.io.some",
    "psi.io.full",
    "temp",
    "memory",
    "steal",
    "lateness",
    "probe",
)
ACTIONS = ("warn", "cap", "pause", "abort")

HOLD_SECONDS = 5.0
"""For which a reading has to be back before its guard is clear, unless said otherwise."""

_MARGIN = 0.1
_UNITS: dict[str, Mapping[str, int | float]] = {
    "load": {"": 1},
    "psi": {"": 1, "%": 1},
    "temp": {"": 1, "c": 1, "°c": 1},
    "memory": {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
    | {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40},
    "steal": {"": 1, "%": 1},
    "lateness": {"ms": 0.001, "s": 1},
}
_TIMES: dict[str, int | float] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([^\s/@:]*)\s*")
_EXAMPLE = "for instance load>8:pause, temp>85/75:abort, memory<512M@30s:pause, probe:curl -fs localhost/health:abort"


@dataclass(frozen=True, slots=True)
class Guard:
    """One guard, in the units of its sensor: processes, percent, degrees, bytes, seconds.

    Args:
        text: as it was written.
        sensor: one of :data:`SENSORS`.
        action: one of :data:`ACTIONS`.
        threshold: a reading beyond it trips the guard; of a probe 0.
        clear: a reading that is not beyond it counts as calm.
        hold: seconds for which it has to be calm.
        argv: the program of a probe.
    """

    text: str
    sensor: str
    action: str
    threshold: float
    clear: float
    hold: float = HOLD_SECONDS
    argv: tuple[str, ...] = ()

    def exceeded(self, reading: float) -> bool:
        """The reading trips it."""
        if self.sensor == "probe":
            return reading != 0
        return reading < self.threshold if self.sensor == "memory" else reading > self.threshold

    def is_calm(self, reading: float) -> bool:
        """The reading is back."""
        if self.sensor == "probe":
            return reading == 0
        return reading >= self.clear if self.sensor == "memory" else reading <= self.clear


def parse(text: str) -> Guard:
    """What a guard's text stands for.

    Raises:
        InvalidParams: with the column at which it is wrong, and what was expected there.
    """
    body, colon, action = text.rpartition(":")
    if not colon:
        raise _wrong(text, len(text), "an action is missing: end it with :warn, :cap, :pause or :abort")
    if action.strip() not in ACTIONS:
        raise _wrong(text, len(body) + 1, f"{action.strip()!r} is no action: expected warn, cap, pause or abort")
    sensor = re.match(r"\s*([a-z.]+)", body)
    if sensor is None or sensor[1] not in SENSORS:
        known = ", ".join(SENSORS)
        raise _wrong(text, 0, f"{sensor[1] if sensor else body[:20]!r} is no sensor: expected one of {known}")
    if sensor[1] == "probe":
        return _probe(text, body, sensor.end(), action.strip())
    return _threshold(text, body, sensor, action.strip())


def _probe(text: str, body: str, at: int, action: str) -> Guard:
    if not body[at:].lstrip().startswith(":"):
        raise _wrong(text, at, "expected ':' and a program")
    begin = body.index(":", at) + 1
    try:
        argv = tuple(shlex.split(body[begin:]))
    except ValueError as why:
        raise _wrong(text, begin, f"the program cannot be read: {str(why).lower()}") from None
    if not argv:
        raise _wrong(text, begin, "expected a program")
    return Guard(text, "probe", action, 0.0, 0.0, HOLD_SECONDS, argv)


def _threshold(text: str, body: str, sensor: re.Match[str], action: str) -> Guard:
    name, sign = sensor[1], "<" if sensor[1] == "memory" else ">"
    at = sensor.end() + len(body[sensor.end() :]) - len(body[sensor.end() :].lstrip())
    if body[at : at + 1] != sign:
        raise _wrong(text, at, f"expected {sign!r} after {name}")
    threshold, at = _quantity(text, body, at + 1, _UNITS[name.partition(".")[0]])
    clear, hold = threshold * (1 + _MARGIN if sign == "<" else 1 - _MARGIN), HOLD_SECONDS
    if body[at : at + 1] == "/":
        begin = at + 1
        clear, at = _quantity(text, body, begin, _UNITS[name.partition(".")[0]])
        if (clear < threshold) if sign == "<" else (clear > threshold):
            side = "below" if sign == "<" else "above"
            raise _wrong(text, begin, f"it would be clear {side} the threshold, while it trips")
    if body[at : at + 1] == "@":
        hold, at = _quantity(text, body, at + 1, _TIMES)
    if at < len(body):
        raise _wrong(text, at, "expected '/' and a value, '@' and a time, or ':' and an action")
    return Guard(text, name, action, threshold, clear, hold)


def _quantity(text: str, body: str, at: int, units: Mapping[str, int | float]) -> tuple[float, int]:
    """A number with its unit, and where it ends."""
    found = _NUMBER.match(body, at)
    if found is None:
        raise _wrong(text, at, "expected a number")
    if found[2].lower() not in units:
        known = ", ".join(unit for unit in units if unit)
        say = f"expected {known}" if known else "it has none"
        raise _wrong(text, found.start(2), f"{found[2]!r} is no unit here: {say}" if found[2] else f"no unit: {say}")
    return float(found[1]) * units[found[2].lower()], found.end()


def _wrong(text: str, at: int, what: str) -> InvalidParams:
    return InvalidParams(f"guard {text!r:.200}, column {at + 1}: {what}", hint=_EXAMPLE, data={"column": at + 1})
