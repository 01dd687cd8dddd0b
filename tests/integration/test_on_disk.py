"""What is acknowledged as durable has been handed to the device, as a loss of power would show and a kill does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.conftest import StartDaemon
from tests.daemons import RunningDaemon
from tests.tracing import traced

SYNCS = ("-f", "-y", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2")
"""What all threads hand to the device, with the files' names."""


def accept(daemon: RunningDaemon, size: int, **options: object) -> None:
    """Hand a job in that does not run yet, with an argument of so many bytes."""
    call = {"function": "builtins:len", "args": ["x" * size]}
    (job,) = daemon.result("submit", jobs=[{"call": call, "delay": 3600, **options}])["jobs"]
    assert job["state"] == "delayed"


@pytest.fixture
def keeper(start_daemon: StartDaemon) -> RunningDaemon:
    daemon = start_daemon(config="[pool.default]\nworkers = 1\n[store]\nfile_bytes = 1024\n")
    daemon.wait_for_workers(1)  # what is forked while it is traced would be traced as well
    return daemon


def test_a_durable_job_is_on_the_device_when_it_is_acknowledged(keeper: RunningDaemon, strace: str, tmp_path: Path):
    with traced(strace, keeper.pid, log := tmp_path / "log", *SYNCS):
        accept(keeper, 10, durable=True)
    assert re.search(r"f(data)?sync\(\d+<[^>]*jobs\.sqlite3-wal>", log.read_text())


def test_a_large_payload_and_its_name_are_on_the_device_before_the_row_that_names_it(
    keeper: RunningDaemon, strace: str, tmp_path: Path
):
    with traced(strace, keeper.pid, log := tmp_path / "log", *SYNCS):
        accept(keeper, 100_000, durable=True)
    steps = (
        r"fsync\(\d+<[^>]*\.tmp>",
        r"rename\w*\([^)]*\.tmp",
        r"fsync\(\d+<[^>.]*>",  # their folder: a file in it that has a suffix is not finished
        r"f(data)?sync\(\d+<[^>]*jobs\.sqlite3-wal>",
    )
    assert re.search(".*".join(steps), log.read_text(), re.DOTALL), log.read_text()


def test_a_job_that_is_not_durable_waits_for_no_device(keeper: RunningDaemon, strace: str, tmp_path: Path):
    accept(keeper, 10)  # with the first job a row of ids is taken
    with traced(strace, keeper.pid, log := tmp_path / "log", *SYNCS):
        accept(keeper, 100_000)
    assert log.read_text() == ""
