"""The kinds of load that a burner can be: what each does, what its 100 % is, and which parameters it takes.

Said once, here, for the command line that lists them and for the daemon that checks them. What generates them is
:data:`stokerd.burners.kinds.KINDS`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from stoker.protocol.typed import nearest

STRESS_NG = "stress-ng"
"""The kind that has a stressor after a colon: ``stress-ng:vm``."""

IO = ("write", "read", "both")
"""What the kind ``disk`` does."""


class LoadKind(NamedTuple):
    """One kind.

    Args:
        what: what its processes do.
        unit: what 100 % of one process is.
        work: the unit of what it gets done, per second in ``status``; empty: nothing is counted.
        takes: its parameters.
        needs: those of them that must be given.
    """

    what: str
    unit: str
    work: str = ""
    takes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


_CORE = "the CPU time of one core"

LOADS: dict[str, LoadKind] = {
    "spin": LoadKind("integer arithmetic in the interpreter, in the first-level cache", _CORE),
    "hash": LoadKind("SHA-256 over a buffer of 1 MiB", _CORE, "B"),
    "float": LoadKind("floating-point arithmetic in the interpreter", _CORE),
    "matrix": LoadKind("multiplies matrices with numpy, BLAS on one thread", _CORE, "FLOP"),
    "memory": LoadKind(
        "holds --bytes of memory in each process, and touches its pages in turn so that they stay resident",
        "the CPU time of one core, all of it spent touching; the memory is held at any load",
        "pages",
        ("bytes",),
        ("bytes",),
    ),
    "bandwidth": LoadKind(
        "copies through a buffer larger than the last-level cache; counts bytes read and written",
        "the CPU time of one core, all of it spent copying",
        "B",
        ("bytes",),
    ),
    "disk": LoadKind(
        "writes or reads a file without a name in --folder, at most --quota large, each block on the device"
        " (O_DSYNC) before it counts",
        "the --rate, bytes per second of each process",
        "B",
        ("rate", "folder", "quota", "io"),
        ("rate", "folder"),
    ),
    "call": LoadKind(
        "calls --call pkg.mod:function again and again, without arguments",
        "the CPU time of one core, as the function burns it in its process and in children it has waited for",
        "calls",
        ("call",),
        ("call",),
    ),
    STRESS_NG: LoadKind(
        "runs one instance of a stressor of stress-ng, as stress-ng:STRESSOR; `stress-ng --stressors` lists them",
        "the CPU time of one core, used by all that stress-ng runs; it is stopped for the rest of the time",
        takes=("folder",),
    ),
}
"""By name."""


PARAMETERS = tuple(dict.fromkeys(name for load in LOADS.values() for name in load.takes))
"""Of all kinds."""

_EXAMPLES = {
    "memory": "give the bytes that each process is to hold, such as --bytes 512M",
    "disk": "give for instance --rate 10M --folder /var/tmp",
    "call": "give for instance --call package.module:function",
}
_STRESSOR = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def kind_of(generator: str) -> tuple[str, str]:
    """The two parts of ``KIND`` or ``KIND:STRESSOR``; the second is empty where there is none."""
    kind, _, stressor = generator.partition(":")
    return kind, stressor


def why_not(generator: str, given: Collection[str]) -> tuple[str, str] | None:
    """What is wrong with a kind and the parameters that were given for it, and what is possible; None: nothing.

    Args:
        generator: ``KIND``, or ``stress-ng:STRESSOR``.
        given: names of parameters.
    """
    kind, stressor = kind_of(generator)
    if kind not in LOADS or (":" in generator and kind != STRESS_NG):
        hint = nearest(kind, LOADS) or f"choose from: {', '.join(LOADS)}; `--kind help` explains them"
        return f"there is no kind of load {generator!r}", hint
    if kind == STRESS_NG and not _STRESSOR.fullmatch(stressor):
        return f"{generator!r} names no stressor", "write for instance stress-ng:cpu, stress-ng:vm or stress-ng:hdd"
    for name in given:
        if name not in LOADS[kind].takes:
            takers = [other for other, load in LOADS.items() if name in load.takes]
            return f"the kind {kind} takes no {name}", f"{name} is for {' and '.join(takers)}"
    if missing := [name for name in LOADS[kind].needs if name not in given]:
        return f"the kind {kind} needs {' and '.join(missing)}", _EXAMPLES[kind]
    return None
