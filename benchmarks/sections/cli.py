"""Whole processes, from their start to their end, while the daemon that they ask is idle and up, in turn with a
Python that does nothing. What a command costs *above* that is what it can be blamed for.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.daemon import Daemon
from benchmarks.environments import variables
from benchmarks.figures import Measure
from benchmarks.peers import SUPERVISORS
from benchmarks.rounds import Block, in_turn
from benchmarks.run import Run

TITLE = "Command line"
BARE = "floor: python -c pass"
DEADLINE = 60.0
VERBS = {
    "stoker ping": ["ping"],
    "stoker status": ["status"],
    "stoker submit": ["submit", "math:factorial", "20"],
}


def whole(argv: Sequence[str], env: Mapping[str, str]) -> Block:
    """A block: one process."""

    def block() -> dict[str, float]:
        begin = time.perf_counter()
        subprocess.run(argv, env=env, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE)
        return {"seconds": time.perf_counter() - begin}

    return block


def run(run: Run) -> list[Measure]:
    program = str(Path(sys.executable).with_name("stoker"))
    with Daemon(run.folder()) as daemon, run.guests("SUPERVISORS", SUPERVISORS) as supervisors:
        blocks = {BARE: whole([sys.executable, "-c", "pass"], variables(sys.executable, {}))}
        for transport in ("direct", "zmq"):
            env = variables(sys.executable, {"STOKER_SOCKET": daemon.endpoint, "STOKER_TRANSPORT": transport})
            for name, words in VERBS.items():
                blocks[f"{name} ({'ZeroMQ' if transport == 'zmq' else transport})"] = whole([program, *words], env)
        for guest in supervisors:
            argv = guest.ask("command", 1)["figures"]["argv"]
            blocks[guest.name] = whole(argv, variables(argv[0], {}))
        for block in blocks.values():
            block()
        taken = in_turn(blocks, run.plan.starts)
    return [above(taken.measure("seconds", "whole process", "s")), taken.measure("seconds", "whole process", "s")]


def above(whole_process: Measure) -> Measure:
    """What each costs above the bare Python of its round."""
    bare = whole_process.blocks[BARE]
    blocks = {
        name: [
            mine - floor if mine is not None and floor is not None else None
            for mine, floor in zip(row, bare, strict=False)
        ]
        for name, row in whole_process.blocks.items()
        if name != BARE
    }
    return Measure("above a bare Python", "s", blocks=blocks)
