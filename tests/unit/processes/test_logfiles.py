"""Log files: what a thread writes for the loop, within bounds."""

from __future__ import annotations

import os
from pathlib import Path

from stokerd.processes import logfiles
from stokerd.processes.logfiles import LogFiles

DEADLINE = 30.0


def test_what_does_not_fit_in_the_queue_is_dropped_at_once_and_counted(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(logfiles, "PENDING_BYTES", 100)
    logs = LogFiles(tmp_path)
    fifo = tmp_path / "slow.stdout.log"
    os.mkfifo(fifo)  # opening it waits for a reader: a disk that hangs
    log, _ = logs.open("slow", 1000, 2)
    logs.write(log, b"x" * 100)
    logs.write(log, b"y" * 7)
    assert log.dropped == 7
    with fifo.open("rb") as reader:
        assert reader.read(100) == b"x" * 100
        logs.close(DEADLINE)


def test_an_end_does_not_wait_for_a_disk_that_hangs(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path)
    fifo = tmp_path / "slow.stdout.log"
    os.mkfifo(fifo)
    log, _ = logs.open("slow", 1000, 2)
    logs.write(log, b"x")
    logs.close(0.01)
    with fifo.open("rb") as reader:  # lets the thread go
        assert reader.read(1) == b"x"


def test_the_next_daemon_goes_on_in_the_same_file(tmp_path: Path) -> None:
    for word in (b"one\n", b"two\n"):
        logs = LogFiles(tmp_path)
        log, _ = logs.open("p", 1000, 2)
        logs.write(log, word)
        logs.close(DEADLINE)
    assert (tmp_path / "p.stdout.log").read_bytes() == b"one\ntwo\n"


def test_a_link_in_the_place_of_a_log_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("untouched")
    (tmp_path / "p.stdout.log").symlink_to(secret)
    logs = LogFiles(tmp_path)
    log, _ = logs.open("p", 1000, 2)
    logs.write(log, b"x")
    logs.close(DEADLINE)
    assert (secret.read_text(), log.dropped) == ("untouched", 1)


def test_one_file_is_begun_anew_when_it_is_full(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path)
    log, _ = logs.open("p", 4, 1)
    logs.write(log, b"abcdef")
    logs.close(DEADLINE)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"p.stdout.log": b"ef"}
