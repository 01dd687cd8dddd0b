"""``python -m tests.fuzz [TARGET…] [--seconds N]``: each target under atheris, led by what it covers.

Takes ``pip install -e '.[fuzz]'``. What fails is kept as a file whose name is printed, to be given to ``--again``.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """Run the targets, one after the other, each in a process of its own; 1 where one fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", metavar="TARGET", nargs="*", help="which (all of them)")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--again", metavar="FILE", type=Path, help="give one target what is in this file, once")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return _fuzz(options.targets[0], options.seconds, Path(options.targets[1]))
    from tests.fuzz.targets import SEEDS, TARGETS

    if unknown := set(options.targets) - TARGETS.keys():
        parser.error(f"there is no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    if options.again:
        for name in options.targets:
            TARGETS[name](options.again.read_bytes())
        return 0
    if importlib.util.find_spec("atheris") is None:
        parser.error("this takes atheris, which is not installed here: pip install -e '.[fuzz]'")
    failed = []
    for name in options.targets or TARGETS:
        with tempfile.TemporaryDirectory() as corpus:
            for number, seed in enumerate(SEEDS.get(name, ())):
                Path(corpus, f"seed{number}").write_bytes(seed)
            print(f"=== {name}: {options.seconds} s", flush=True)
            words = [sys.executable, "-m", "tests.fuzz", "--inside", "--seconds", str(options.seconds), name, corpus]
            if subprocess.run(words).returncode != 0:
                failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "nothing was found")
    return 1 if failed else 0


def _fuzz(name: str, seconds: int, corpus: Path) -> int:
    import atheris

    with atheris.instrument_imports(include=["stoker", "stokerd"]):
        from tests.fuzz.targets import TARGETS
    found = f"-artifact_prefix={tempfile.gettempdir()}/stoker-fuzz-{name}-"
    limits = [found, f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", "-rss_limit_mb=2048"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], TARGETS[name])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
