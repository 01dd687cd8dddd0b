"""``stoker record``: this machine's load as a trace; real /proc/stat, real signals, no daemon."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.daemons import wait_until

from stoker.cli.recorder import CannotRecord, Recorder, Times, parse, percent
from stoker.protocol.profile import Trace
from stoker.protocol.trace import points

STAT = """\
cpu  100 10 50 800 40 5 15 20 30 3
cpu0 60 5 25 400 20 3 7 10 15 1
cpu1 40 5 25 400 20 2 8 10 15 2
intr 12345 0 0
ctxt 99
"""


@pytest.fixture(autouse=True)
def somewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STOKER_SOCKET", str(tmp_path / "nobody.sock"))
    monkeypatch.chdir(tmp_path)


def test_what_is_busy_has_interrupts_and_neither_waiting_nor_steal_nor_guests_twice() -> None:
    assert parse(STAT) == [Times(180, 1040), Times(100, 530), Times(80, 510)]


def test_an_old_kernel_with_fewer_columns_is_understood() -> None:
    assert parse("cpu 10 0 5 85\ncpu0 10 0 5 85\n") == [Times(15, 100), Times(15, 100)]


@pytest.mark.parametrize(
    ("before", "after", "load"),
    [((0, 0), (50, 100), 50.0), ((50, 100), (50, 200), 0.0), ((5, 10), (5, 10), 0.0), ((9, 10), (5, 20), 0.0)],
)
def test_a_load_is_what_was_busy_of_what_there_was(before, after, load) -> None:
    assert percent(Times(*before), Times(*after)) == load


def test_what_is_recorded_can_be_replayed(stoker, tmp_path: Path) -> None:
    code, out, err = stoker("record", "load.csv", "--every", "100ms", "--for", "500ms")
    assert code == 0
    assert "recorded 5 rows" in out
    assert "Ctrl-C ends it" in err
    found = points((tmp_path / "load.csv").read_text(), Trace("load.csv", gap=30.0))
    assert len(found) == 5
    assert found[0][0] == 0
    assert all(0 <= level <= 100 for _, level in found)
    code, out, _ = stoker("plan", "trace load.csv gap 30s", "--json")
    assert code == 0
    assert json.loads(out)["seconds"] > 0.4


def test_every_core_has_a_column_if_asked_for(stoker, tmp_path: Path) -> None:
    assert stoker("record", "load.csv", "--every", "100ms", "--for", "200ms", "--per-core")[0] == 0
    text = (tmp_path / "load.csv").read_text()
    cores = len(parse(Path("/proc/stat").read_text())) - 1
    head = text.splitlines()[1].split(",")
    assert head == ["t", "cpu", *(f"cpu{core}" for core in range(cores))]
    assert len(points(text, Trace("load.csv", column=f"cpu{cores - 1}", gap=30.0))) == 2


def test_the_outcome_is_json_where_that_is_asked_for(stoker) -> None:
    code, out, _ = stoker("record", "load.csv", "--every", "100ms", "--for", "300ms", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["file"], found["rows"], found["every"]) == ("load.csv", 3, 0.1)
    assert found["seconds"] >= 0.3
    assert 0 <= found["mean"] <= found["peak"] <= 100


def test_a_trace_on_stdout_is_nothing_but_that(stoker) -> None:
    code, out, err = stoker("record", "-", "--every", "100ms", "--for", "200ms")
    assert code == 0
    assert len(points(out, Trace("stdout", gap=30.0))) == 2
    assert "recorded 2 rows" in err


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_a_complete_file(tmp_path: Path, signum: int) -> None:
    path = tmp_path / "load.csv"
    process = subprocess.Popen(
        [sys.executable, "-m", "stoker", "record", str(path), "--every", "100ms"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: path.exists() and path.read_text().count("\n") >= 4)
    process.send_signal(signum)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    text = path.read_text()
    assert text.endswith("\n")
    rows = len(points(text, Trace("load.csv", gap=30.0)))
    assert f"recorded {rows} rows" in out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("there.csv",), "there.csv is there already"),
        (("nowhere/load.csv",), "nowhere/load.csv cannot be written: No such file"),
        (("load.csv", "--every", "10ms"), "every 0.01 s is too often"),
        (("load.csv", "--every", "forever"), "has no end here"),
        (("load.csv", "--every", "1m", "--for", "90s"), "a trace needs two rows"),
        (("-", "--json"), "would mix"),
    ],
)
def test_what_is_wrong_is_a_usage_error(stoker, tmp_path: Path, argv: tuple[str, ...], said: str) -> None:
    (tmp_path / "there.csv").write_text("mine")
    code, _, err = stoker("record", *argv)
    assert code == 2
    assert said in err
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert not (tmp_path / "load.csv").exists()


def test_a_file_that_is_there_can_be_replaced(stoker, tmp_path: Path) -> None:
    (tmp_path / "load.csv").write_text("old")
    assert stoker("record", "load.csv", "--every", "100ms", "--for", "200ms", "--replace")[0] == 0
    assert "old" not in (tmp_path / "load.csv").read_text()


def test_a_machine_that_does_not_tell_is_said(tmp_path: Path) -> None:
    with pytest.raises(CannotRecord, match="cannot be read"):
        Recorder(1.0, stat=tmp_path / "nowhere")
    (tmp_path / "stat").write_text("ctxt 5\n")
    with pytest.raises(CannotRecord, match="does not tell"):
        Recorder(1.0, stat=tmp_path / "stat")


def test_a_full_disk_is_said_with_what_is_complete() -> None:
    if not os.path.exists("/dev/full"):  # noqa: PTH110 - a device
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full, pytest.raises(CannotRecord, match="No space left"):  # noqa: PTH123 - a device
        try:
            Recorder(0.1).record(full, 1.0)
        finally:
            with pytest.raises(OSError):
                full.close()


def test_rows_are_whole_and_times_rise() -> None:
    out = io.StringIO()
    found = Recorder(0.1).record(out, 0.3)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("# load of ")
    assert lines[1] == "t,cpu"
    assert found.rows == len(lines) - 2 == 3
    times = [float(line.split(",")[0]) for line in lines[2:]]
    assert times == sorted(set(times))
