"""huey's application, imported by client and workers."""

from __future__ import annotations

import os

from huey import SqliteHuey

from benchmarks.peers import tasks

huey = SqliteHuey(filename=os.environ["BENCHMARK_HUEY"], fsync=bool(os.environ.get("BENCHMARK_HUEY_FSYNC")))
cube = huey.task()(tasks.cube)
echo = huey.task()(tasks.echo)
add_one = huey.task()(tasks.add_one)
