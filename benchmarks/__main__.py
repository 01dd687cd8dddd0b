"""``python -m benchmarks``: see :mod:`benchmarks`."""

from __future__ import annotations

import argparse
import compileall
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import figures, machine, text
from benchmarks.environments import cache_directory
from benchmarks.failure import Failed, limit
from benchmarks.guest import end_marked
from benchmarks.run import FULL, QUICK, Run, facts_of
from benchmarks.sections import NAMES

SECTION_LIMIT = 1800.0
"""Seconds for one section."""
RESULTS = Path(__file__).with_name("results")


def words(listed: str) -> list[str]:
    """What stands between commas."""
    return [word.strip() for word in listed.split(",") if word.strip()]


def sections(listed: str) -> list[str]:
    """Sections, in their own order."""
    if unknown := set(words(listed)) - set(NAMES):
        raise argparse.ArgumentTypeError(f"no section {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    return [name for name in NAMES if name in words(listed)]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure Stoker beside its peers.")
    made.add_argument("--only", type=sections, default=list(NAMES), metavar="SECTION[,..]", help=", ".join(NAMES))
    made.add_argument("--peers", type=words, default=[], metavar="NAME[,..]", help="parts of names; default: all")
    made.add_argument("--quick", action="store_true", help="small and few: shows that it works, and the magnitudes")
    made.add_argument("--json", action="store_true", help="print all figures as JSON")
    made.add_argument("--plot", action="store_true", help="draw the results and write docs/performance.md")
    made.add_argument("--results", type=Path, metavar="DIR", help=f"keep them here; full runs: {RESULTS.name}/")
    return made


def measured(name: str, run: Run) -> figures.Report:
    """One section."""
    section: Any = import_module(f"benchmarks.sections.{name}")
    begin = time.monotonic()
    print(f"{name} ...", file=sys.stderr, flush=True)
    run.versions, run.left_out = {}, {}
    quiet = machine.others()
    try:
        with limit(SECTION_LIMIT):
            measures = section.run(run)
    except Exception as error:
        measures = []
        run.leave_out("the section", str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}")
    took = time.monotonic() - begin
    print(f"  {took:.0f} s", file=sys.stderr, flush=True)
    about = {**machine.facts(), "others_percent_of_core": figures.cut(quiet), **facts_of(run.plan)}
    about |= {"versions": run.versions, "took_seconds": round(took)}
    return figures.Report(name, section.TITLE, about, measures, run.left_out)


def as_installed() -> None:
    """Have our bytecode at hand, as pip leaves what it installs; a checkout may never have been allowed to keep it."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for package in ("stoker", "stokerd", "benchmarks"):
        for folder in import_module(package).__path__:
            compileall.compile_dir(folder, quiet=2)


def everything(options: argparse.Namespace) -> list[figures.Report]:
    """All sections that were asked for; nothing of it is left when this returns."""
    scratch = Path(tempfile.mkdtemp(prefix="stk-"))  # short: sockets are made in it
    keep = options.results or (None if options.quick or options.peers else RESULTS)
    reports = []
    try:
        run = Run(QUICK if options.quick else FULL, scratch, options.peers)
        for name in options.only:
            reports.append(measured(name, run))
            if keep is not None and reports[-1].measures:
                figures.write(reports[-1], keep)
    finally:
        end_marked(scratch)
        for left in (scratch, *Path("/dev/shm").glob(f"{scratch.name}-*")):  # noqa: S108 - by the run's own name
            shutil.rmtree(left, ignore_errors=True)
    return reports


def main(argv: Sequence[str] | None = None) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parser().parse_args(argv)
    print(f"environments of peers are kept in {cache_directory()}", file=sys.stderr)
    as_installed()
    reports = everything(options)
    if options.json:
        print(json.dumps([report.as_json() for report in reports], indent=1))
    else:
        print("\n\n".join(text.report(report) for report in reports))
    if options.plot:
        from benchmarks import page

        page.make(options.results or RESULTS)
    if lacking := [report.section for report in reports if not report.measures]:
        sys.exit(f"without figures: {', '.join(lacking)}")


if __name__ == "__main__":
    main()
