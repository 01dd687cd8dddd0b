"""Each kind of load on a real daemon: what it does, what it says of itself, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.conftest import StartDaemon
from tests.daemons import RunningDaemon, wait_until

needs_stress_ng = pytest.mark.skipif(shutil.which("stress-ng") is None, reason="stress-ng is not installed")

CONFIG = "[pool.default]\nworkers = 1\n"

WORK = """
import pathlib
import time

fuel = 3

def work():
    sum(range(1000))

def coarse():
    end = time.thread_time() + 0.12
    while time.thread_time() < end:
        pass

def dies():
    if pathlib.Path("empty").exists():
        raise ValueError("no fuel left")
    sum(range(1000))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "workload.py").write_text(WORK)
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.fixture
def hearth(start_daemon: StartDaemon, home: Path) -> RunningDaemon:
    """A daemon that finds the test's own module."""
    return start_daemon(config=CONFIG, cwd=home)


def kinds(home: Path) -> dict[str, dict[str, Any]]:
    return {
        "spin": {},
        "hash": {},
        "float": {},
        "matrix": {},
        "memory": {"bytes": 8 << 20},
        "bandwidth": {"bytes": 4 << 20},
        "disk": {"rate": 2e6, "folder": str(home / "folder"), "quota": 1 << 20},
        "call": {"call": "workload:work"},
    }


def start(daemon: RunningDaemon, generator: str, load: float = 30.0, **params: Any) -> dict[str, Any]:
    daemon.result("start", kind="burner", name="heat", load=load, generator=generator, **params)
    return info(daemon)


def refuse(daemon: RunningDaemon, generator: str, load: float = 30.0, **params: Any) -> dict[str, Any]:
    error = daemon.error("start", kind="burner", name="heat", load=load, generator=generator, **params)
    assert daemon.result("status")["burners"] == []
    return error


def info(daemon: RunningDaemon) -> dict[str, Any]:
    burners: list[dict[str, Any]] = daemon.result("status")["burners"]
    return next(burner for burner in burners if burner["name"] == "heat")


def codes(daemon: RunningDaemon) -> set[str]:
    return {reason["code"] for reason in info(daemon)["reasons"]}


@pytest.mark.parametrize("name", ["spin", "hash", "float", "matrix", "memory", "bandwidth", "disk", "call"])
def test_every_kind_burns_says_its_unit_and_adds_up(hearth: RunningDaemon, home: Path, name: str) -> None:
    start(hearth, name, **kinds(home)[name])
    wait_until(lambda: (found := info(hearth))["achieved"] > 5 and bool(found["work"]) == bool(found["work_unit"]))
    found = info(hearth)
    assert (found["state"], found["kind"]) == ("running", name)
    assert found["unit"]
    assert found["achieved"] + found["shortfall"] == pytest.approx(found["target"], abs=1e-3)
    pid = found["workers"][0]["pid"]
    assert found["workers"][0]["cpu_seconds"] > 0
    assert hearth.result("stop", names=["heat"])["survivors"] == 0
    assert not psutil.pid_exists(pid)
    assert list((home / "folder").iterdir()) == []


@pytest.mark.parametrize("name", ["spin", "memory", "disk", "call"])
def test_every_kind_pauses_changes_and_goes_on(hearth: RunningDaemon, home: Path, name: str) -> None:
    pid = start(hearth, name, **kinds(home)[name])["workers"][0]["pid"]
    hearth.result("set", name="heat", paused=True)
    assert info(hearth)["target"] == 0
    hearth.result("set", name="heat", paused=False, load=50.0)
    assert info(hearth)["target"] == pytest.approx(50.0, abs=0.5)
    hearth.result("set", name="heat", workers=2)
    assert info(hearth)["workers"][0]["pid"] == pid
    assert len(info(hearth)["workers"]) == 2


@pytest.mark.parametrize("name", ["spin", "memory", "disk", "call"])
def test_a_paused_burner_does_not_tick(hearth: RunningDaemon, home: Path, name: str) -> None:
    pid = start(hearth, name, **kinds(home)[name])["workers"][0]["pid"]
    hearth.result("set", name="heat", paused=True)
    process = psutil.Process(pid)
    wait_until(lambda: process.status() == psutil.STATUS_SLEEPING)
    before = process.num_ctx_switches().voluntary
    hearth.result("figures")  # a hundred ticks and more would have come and gone
    subprocess.run([sys.executable, "-c", "import time; time.sleep(1)"], check=True)
    assert process.num_ctx_switches().voluntary - before < 20


def test_memory_is_held_while_it_burns_and_while_it_is_paused(hearth: RunningDaemon) -> None:
    pid = start(hearth, "memory", load=1.0, bytes=96 << 20)["workers"][0]["pid"]
    assert psutil.Process(pid).memory_info().rss > 96 << 20
    hearth.result("set", name="heat", paused=True)
    assert psutil.Process(pid).memory_info().rss > 96 << 20
    assert (Path("/proc") / str(pid) / "oom_score_adj").read_text().strip() == "1000"


def test_a_disk_load_keeps_to_its_rate_and_leaves_no_name(hearth: RunningDaemon, home: Path) -> None:
    pid = start(hearth, "disk", load=100.0, **kinds(home)["disk"])["workers"][0]["pid"]
    wait_until(lambda: info(hearth)["work"] > 0)
    assert info(hearth)["work"] <= 2e6 * 1.5
    assert list((home / "folder").iterdir()) == []
    held = [path for path in map(os.readlink, Path(f"/proc/{pid}/fd").iterdir()) if str(home / "folder") in path]
    assert len(held) == 1
    assert held[0].endswith("(deleted)")


def test_a_call_longer_than_the_clamp_is_made_up_for_and_told(hearth: RunningDaemon) -> None:
    start(hearth, "call", load=40.0, call="workload:coarse")
    wait_until(lambda: "note" in codes(hearth))
    note = next(reason["text"] for reason in info(hearth)["reasons"] if reason["code"] == "note")
    assert note.startswith("one call of workload:coarse burns up to 0.1")


def test_a_call_that_raises_later_ends_the_burner_with_its_reason(hearth: RunningDaemon, home: Path) -> None:
    start(hearth, "call", load=50.0, call="workload:dies")
    (home / "empty").touch()
    wait_until(lambda: info(hearth)["state"] == "failed")
    assert info(hearth)["reason"] == "burner 'heat' gave up: workload:dies raised ValueError: no fuel left"
    assert info(hearth)["workers"] == []


def test_a_stopped_process_survives_and_catches_up_no_more_than_the_clamp(hearth: RunningDaemon) -> None:
    pid = start(hearth, "spin", load=20.0)["workers"][0]["pid"]
    before = info(hearth)["workers"][0]["cpu_seconds"]
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: "silent" in codes(hearth))
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: "silent" not in codes(hearth))
    after = info(hearth)["workers"][0]
    assert after["pid"] == pid
    assert after["cpu_seconds"] >= before
    assert after["achieved"] + after["shortfall"] == pytest.approx(after["target"], abs=1e-3)


# --- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("generator", "params", "code", "message"),
    [
        ("spinn", {}, "invalid-params", "there is no kind of load 'spinn'"),
        ("spin", {"bytes": 1 << 20}, "invalid-params", "the kind spin takes no bytes"),
        ("memory", {}, "invalid-params", "the kind memory needs bytes"),
        ("memory", {"bytes": 1 << 45}, "unavailable", "is beyond the"),
        ("disk", {"rate": 1e6, "folder": "/no/such/folder"}, "start-failed", "cannot be written to"),
        ("disk", {"rate": 1e6, "folder": "/tmp", "quota": 1 << 47}, "start-failed", "more than the"),
        ("disk", {"rate": 1e6, "folder": "/tmp", "of": "machine"}, "invalid-params", "no share of a machine"),
        ("call", {"call": "no_such_module:work"}, "start-failed", "cannot be imported: ModuleNotFoundError"),
        ("call", {"call": "workload:nothing"}, "start-failed", "there is no nothing in workload"),
        ("call", {"call": "workload:fuel"}, "start-failed", "of type int, which cannot be called"),
        ("call", {"call": "workload.work"}, "invalid-params", "does not name a function"),
        ("stress-ng", {}, "invalid-params", "names no stressor"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_left(hearth, generator, params, code, message) -> None:
    error = refuse(hearth, generator, **params)
    assert error["code"] == code
    assert message in error["message"]
    assert error["hint"]


def test_a_folder_that_may_not_be_written_to_is_refused(hearth: RunningDaemon) -> None:
    error = refuse(hearth, "disk", rate=1e6, folder="/proc/1")
    assert "the folder /proc/1 cannot be written to" in error["message"]


def test_more_processes_of_memory_than_there_is_memory_for_are_refused_while_it_runs(hearth: RunningDaemon) -> None:
    start(hearth, "memory", load=1.0, bytes=8 << 20)
    available = psutil.virtual_memory().available
    error = hearth.error("set", name="heat", workers=available // (8 << 20) + 100)
    assert error["code"] in {"unavailable", "invalid-params"}
    assert len(info(hearth)["workers"]) == 1


def test_without_stress_ng_the_error_says_how_to_get_it(start_daemon: StartDaemon, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    error = refuse(start_daemon(config=CONFIG), "stress-ng:cpu")
    assert "stress-ng is not installed" in error["message"]
    assert "apt install stress-ng" in error["hint"]


@needs_stress_ng
def test_an_unknown_stressor_is_refused_with_the_nearest(hearth: RunningDaemon) -> None:
    error = refuse(hearth, "stress-ng:cpuu")
    assert "no stressor 'cpuu'" in error["message"]
    assert error["hint"] == "did you mean 'cpu'?"


# --- stress-ng --------------------------------------------------------------------------------------------------


@needs_stress_ng
@pytest.mark.parametrize("stressor", ["cpu", "vm", "hdd"])
def test_stress_ng_is_supervised_like_any_other_kind(hearth: RunningDaemon, home: Path, stressor: str) -> None:
    found = start(hearth, f"stress-ng:{stressor}", load=20.0, folder=str(home / "folder"))
    pid = found["workers"][0]["pid"]
    family = psutil.Process(pid).children(recursive=True)
    assert any(process.name().startswith("stress-ng") for process in family)
    hearth.result("set", name="heat", paused=True)
    hearth.result("set", name="heat", paused=False, load=40.0)
    assert info(hearth)["target"] == pytest.approx(40.0, abs=1.0)
    assert hearth.result("stop", names=["heat"])["survivors"] == 0
    assert not any(process.is_running() for process in family)
    assert list((home / "folder").iterdir()) == []


@needs_stress_ng
def test_a_stress_ng_that_is_killed_ends_the_burner_with_the_reason(hearth: RunningDaemon) -> None:
    pid = start(hearth, "stress-ng:cpu", load=20.0)["workers"][0]["pid"]
    psutil.Process(pid).children()[0].kill()
    wait_until(lambda: info(hearth)["state"] == "failed")
    assert "stress-ng ended by signal 9" in info(hearth)["reason"]


# --- the command line -------------------------------------------------------------------------------------------


def cli(daemon: RunningDaemon, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "STOKER_SOCKET": daemon.endpoint, "STOKER_AUTOSTART": "0"}
    return subprocess.run(
        [sys.executable, "-m", "stoker", *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=60
    )


def test_a_function_of_the_clients_own_directory_is_called(start_daemon: StartDaemon, home: Path) -> None:
    daemon = start_daemon(config=CONFIG)
    done = cli(daemon, "start", "burner", "heat", "--call", "workload:work", "--load", "20", cwd=home)
    assert done.returncode == 0, done.stderr
    assert info(daemon)["kind"] == "call"


def test_sizes_have_units_and_folders_are_relative_to_the_client(start_daemon: StartDaemon, home: Path) -> None:
    daemon = start_daemon(config=CONFIG)
    words = ["--kind", "disk", "--rate", "1M/s", "--folder", "folder", "--quota", "2M", "--load", "50"]
    done = cli(daemon, "start", "burner", "heat", *words, cwd=home)
    assert done.returncode == 0, done.stderr
    assert "50 % of the rate each" in done.stdout
    assert info(daemon)["unit"] == "the --rate, bytes per second of each process"


def test_a_kind_that_is_refused_is_a_usage_error(start_daemon: StartDaemon, home: Path) -> None:
    daemon = start_daemon(config=CONFIG)
    done = cli(daemon, "start", "burner", "heat", "--kind", "spinn", "--load", "20", cwd=home)
    assert done.returncode == 2
    assert 'did you mean "spin"?' in done.stderr
    done = cli(daemon, "start", "burner", "heat", "--kind", "memory", "--bytes", "lots", "--load", "20", cwd=home)
    assert done.returncode == 2
    assert "'lots' is not a size" in done.stderr


def test_the_kinds_are_listed_with_their_units_without_a_daemon(home: Path) -> None:
    env = {**os.environ, "STOKER_AUTOSTART": "0"}
    words = [sys.executable, "-m", "stoker", "start", "burner", "--json", "--kind", "help"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    listed = {kind["name"]: kind for kind in json.loads(done.stdout)["kinds"]}
    assert set(listed) == {*kinds(home), "stress-ng:STRESSOR"}
    assert all(kind["unit"] for kind in listed.values())


def test_a_configured_burner_of_another_kind_starts_with_the_daemon(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(config=CONFIG + '[burner.heat]\nload = 5.0\ngenerator = "memory"\nbytes = 4194304\n')
    wait_until(lambda: [b["state"] for b in daemon.result("status")["burners"]] == ["running"])
    assert info(daemon)["kind"] == "memory"
