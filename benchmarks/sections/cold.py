"""From the start of a fresh interpreter to the first result in its hands, imports and all that has to be started
included: Redis and workers for Celery and RQ, the daemon itself where none runs. *Daemon up* is what a script pays
on a machine whose daemon has seen its environment before.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator

from benchmarks.daemon import Daemon
from benchmarks.environments import ROOT, interpreter, require, variables
from benchmarks.failure import Failed
from benchmarks.figures import Measure
from benchmarks.guest import end_marked, mark
from benchmarks.peers import POOLS, STOKER, Entry
from benchmarks.rounds import Block, in_turn
from benchmarks.run import Run

TITLE = "Cold start"
DEADLINE = 60.0


def cold(run: Run, name: str, entry: Entry, more: dict[str, str]) -> Callable[[], dict[str, float]]:
    """A block: one start."""
    require(entry.programs)
    python = interpreter(entry.requirements)

    def block() -> dict[str, float]:
        scratch = run.folder()
        scratch.mkdir()
        env = variables(python, mark(scratch) | {key: value.format(scratch) for key, value in more.items()})
        argv = [python, "-m", "benchmarks.peers.cold", name, str(scratch)]
        with (scratch / "errors").open("wb") as errors:
            begin = time.monotonic()
            process = subprocess.Popen(
                argv, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT, env=env, start_new_session=True
            )
        try:
            out, _ = process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired as late:
            raise Failed(f"had no result after {DEADLINE:.0f} s") from late
        finally:
            process.kill()
            process.wait()
            end_marked(scratch)
        moments = [float(line.split()[1]) for line in out.decode(errors="replace").splitlines() if "first " in line]
        if not moments:
            raise Failed((["had no result", *(scratch / "errors").read_text(errors="replace").splitlines()])[-1][:200])
        return {"seconds": moments[0] - begin}

    return block


@contextlib.contextmanager
def ours(run: Run) -> Iterator[dict[str, Block]]:
    """Stoker's: with a daemon that is up, and with one that has to be started."""
    with Daemon(run.folder()) as daemon:
        blocks: dict[str, Block] = {}
        for name, entry in STOKER.items():
            own = {"BENCHMARK_COLD": "1", "STOKER_TRANSPORT": str(entry.options["transport"])}
            up = {"STOKER_SOCKET": daemon.endpoint}
            # a private daemon is found, and keeps its state, by these
            none = dict.fromkeys(("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME"), "{}")
            blocks[f"{name}, daemon up"] = cold(run, name, entry, own | up)
            blocks[f"{name}, no daemon"] = cold(run, name, entry, own | none)
        yield {name: block for name, block in blocks.items() if run.wants(name)}


def run(run: Run) -> list[Measure]:
    with ours(run) as blocks:
        for name, entry in POOLS.items():
            if run.wants(name):
                try:
                    blocks[name] = cold(run, name, entry, {})
                except Failed as why:
                    run.leave_out(name, str(why))
        for block in list(blocks.values())[:2]:
            block()  # the daemon that is up has then seen the environment
        taken = in_turn(blocks, run.plan.colds)
    return [taken.measure("seconds", "first result", "s")]
