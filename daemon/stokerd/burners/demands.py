"""What a kind of load demands, checked before anything is started.

What only the process itself can know is checked there, before its load begins, and comes back as its complaint: whether
a folder can be written to, whether stress-ng has such a stressor, whether a function can be imported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from stoker.errors import InvalidParams, Unavailable
from stoker.protocol.loads import IO, LOADS, kind_of, why_not
from stokerd.burners.kinds.room import spare_memory, spell_bytes

LEAST_BYTES = {"memory": 4096, "bandwidth": 1 << 20}
"""A page; and what is still larger than a first-level cache."""

LEAST_RATE, LEAST_QUOTA = 4096.0, 1 << 20
MOST_BYTES = 1 << 48
"""What a process can address."""

NO_CPU = frozenset({"disk"})
"""Kinds whose 100 % is not CPU time: they are no concern of whoever shares out the cores."""

_CALL = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def check_kind(generator: str, params: Mapping[str, Any]) -> None:
    """Refuse a kind that there is not, and parameters that are not its own, are missing or cannot be.

    Args:
        generator: ``KIND``, or ``stress-ng:STRESSOR``.
        params: those that were given.

    Raises:
        InvalidParams: with what is possible instead.
    """
    if wrong := why_not(generator, params):
        raise InvalidParams(wrong[0], hint=wrong[1])
    _check_values(kind_of(generator)[0], params)


def check_unit(generator: str, of: str, mode: str) -> None:
    """Refuse to take a percentage of cores of what is not CPU time.

    Raises:
        InvalidParams: with what the kind's 100 % is.
    """
    if generator in NO_CPU and (of != "core" or mode != "add"):
        raise InvalidParams(
            f"a load of the kind {generator} is no share of a {of if of != 'core' else 'machine'}",
            hint=f"100 % of it is {LOADS[generator].unit}: leave `of` and `mode` as they are",
        )


def check_memory(
    generator: str, params: Mapping[str, Any], processes: int, spare: Callable[[], float] = spare_memory
) -> None:
    """Refuse memory that is not there.

    Args:
        generator: the kind.
        params: its parameters.
        processes: how many are to be started.
        spare: bytes that may still be taken.

    Raises:
        Unavailable: it would leave less free than it must.
    """
    each = params.get("bytes", 0)
    if each * processes > (left := spare()):
        raise Unavailable(
            f"{processes} x {spell_bytes(each)} of memory for the kind {generator} is beyond the"
            f" {spell_bytes(max(left, 0.0))} that may be taken",
            hint="ask for fewer bytes or fewer processes: a twentieth of the memory, at least 128 MiB, is left free",
        )


def _check_values(kind: str, params: Mapping[str, Any]) -> None:
    if "bytes" in params:
        _check_range("bytes", params["bytes"], LEAST_BYTES[kind], MOST_BYTES)
    if "rate" in params:
        _check_range("rate", params["rate"], LEAST_RATE, MOST_BYTES)
    if "quota" in params:
        _check_range("quota", params["quota"], LEAST_QUOTA, MOST_BYTES)
    if params.get("io", IO[0]) not in IO:
        raise InvalidParams(f"a disk cannot {params['io']!r}", hint=f"choose from: {', '.join(IO)}")
    folder = params.get("folder")
    if folder is not None and (not folder.startswith("/") or "\0" in folder):
        raise InvalidParams(f"the folder {folder!r} is no absolute path", hint="the daemon has its own idea of here")
    call = params.get("call")
    if call is not None and not _CALL.fullmatch(call):
        raise InvalidParams(f"{call!r} does not name a function", hint="write package.module:function")


def _check_range(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise InvalidParams(
            f"{name} of {spell_bytes(value)} is outside {spell_bytes(least)} to {spell_bytes(most)}",
            hint="a size has a unit, such as 64K, 512M or 2G",
        )
