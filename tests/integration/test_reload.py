"""Reloading the configuration of a real daemon: the difference is applied, and nothing else is touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.daemons import DEADLINE, RunningDaemon, wait_until

import stoker
from stoker.errors import InvalidParams, NotFound

EMPTY = "[pool.default]\nworkers = 0\n"
BASE = """
[pool.default]
workers = 1
[process.web]
argv = ["sleep", "1000"]
[burner.heat]
load = 5
nice = 19
"""


class Configured:
    """A daemon, and the file that it reads."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self.daemon = daemon
        self.path = daemon.directory / "config.toml"

    def write(self, text: str) -> None:
        self.path.write_text(text)

    def reload(self, text: str) -> dict[str, Any]:
        self.write(text)
        return self.daemon.result("reload")

    def diff(self, text: str | None = None) -> dict[str, Any]:
        if text is not None:
            self.write(text)
        return self.daemon.result("config_diff")

    def status(self) -> dict[str, Any]:
        return self.daemon.result("status")

    def processes(self) -> dict[str, Any]:
        return {info["name"]: info for info in self.status()["processes"]}

    def burner(self) -> Any:
        return next((info for info in self.status()["burners"] if info["name"] == "heat"), None)

    def until_burning(self) -> None:
        wait_until(lambda: (self.burner() or {}).get("state") == "running")

    def pids(self) -> set[int]:
        """Of all that the base runs."""
        status = self.status()
        parts = (*status["pools"], *status["burners"])
        return {worker["pid"] for part in parts for worker in part["workers"]} | {
            info["pid"] for info in status["processes"]
        }

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "stoker", *words]
        environ = {**os.environ, "STOKER_SOCKET": self.daemon.endpoint}
        return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=DEADLINE)


@pytest.fixture(scope="module")
def house() -> Iterator[RunningDaemon]:
    with tempfile.TemporaryDirectory(prefix="stoker-") as directory:
        daemon = RunningDaemon(Path(directory), config=EMPTY)
        yield daemon
        daemon.close()


@pytest.fixture
def configured(house: RunningDaemon) -> Configured:
    """The daemon as if it had just been started with the base: what the test before has made of it is undone."""
    house.result("stop", all=True)
    (house.directory / "config.toml").write_text(EMPTY)
    house.result("reload")
    house.result("set", name="default", workers=0)
    house.result("limit", tag="x", most=None)
    configured = Configured(house)
    assert configured.reload(BASE)["failed"] == {}
    house.wait_for_workers(1)
    assert configured.diff() == {"path": str(configured.path), "file": [], "pending": [], "drift": []}
    return configured


def test_a_reload_applies_the_difference_is_answered_when_it_is_done_and_touches_nothing_else(
    configured: Configured,
) -> None:
    configured.until_burning()
    before = configured.pids()
    done = configured.reload(
        BASE + '[process.db]\nargv = ["sleep", "999"]\n[pool.extra]\nworkers = 1\n[tag.x]\nmost = 2\n'
    )
    assert done["changed"] == ["pool.extra", "process.db", "tag.x"]
    assert (done["started"], done["adjusted"], done["needs_restart"]) == (["pool extra", "process db"], ["tag x"], [])
    assert configured.processes()["db"]["state"] == "up"
    assert before < configured.pids()
    gone = configured.reload(BASE)
    assert gone["stopped"] == ["pool extra", "process db"]
    assert configured.pids() == before
    assert {pool["name"] for pool in configured.status()["pools"]} == {"default"}


def test_a_change_of_a_process_starts_it_again_only_where_that_takes_a_start(configured: Configured) -> None:
    before = configured.processes()["web"]["pid"]
    policy = configured.reload(BASE.replace('["sleep", "1000"]', '["sleep", "1000"]\ngrace = 1.0\ninstances = 2'))
    assert policy["adjusted"] == ["process web"]
    assert configured.processes()["web"]["pid"] == before
    assert set(configured.processes()) == {"web", "web:2"}
    program = configured.reload(BASE.replace('["sleep", "1000"]', '["sleep", "999"]'))
    assert program["restarted"] == ["process web"]
    web = configured.processes()["web"]
    assert (web["argv"], web["pid"] != before) == (["sleep", "999"], True)
    assert set(configured.processes()) == {"web"}


def test_a_burner_takes_on_another_load_while_it_burns_and_is_started_again_for_what_it_cannot(
    configured: Configured,
) -> None:
    configured.until_burning()
    assert configured.reload(BASE.replace("nice = 19", "nice = 19\nworkers = 1"))["adjusted"] == ["burner heat"]
    before = configured.burner()["workers"][0]["pid"]
    lower = configured.reload(BASE.replace("load = 5", "load = 3").replace("nice = 19", "nice = 19\nworkers = 1"))
    assert lower["adjusted"] == ["burner heat"]
    assert (configured.burner()["asked"], configured.burner()["workers"][0]["pid"]) == (3.0, before)
    nicer = configured.reload(BASE.replace("load = 5", "load = 3").replace("nice = 19", "nice = 18\nworkers = 1"))
    assert nicer["restarted"] == ["burner heat"]
    assert configured.burner()["nice"] == 18


def test_pools_take_on_their_settings_and_exchange_workers_only_for_what_takes_other_ones(
    configured: Configured,
) -> None:
    (before,) = configured.daemon.wait_for_workers(1)
    assert configured.reload(BASE.replace("workers = 1", "workers = 2\nmax_jobs = 5"))["adjusted"] == ["pool default"]
    assert before["pid"] in {worker["pid"] for worker in configured.daemon.wait_for_workers(2)}
    configured.reload(BASE.replace("workers = 1", "workers = 2\nmax_jobs = 5\nnice = 3"))
    wait_until(lambda: {os.getpriority(0, pid) for pid in _pids_of(configured)} == {3})
    assert before["pid"] not in _pids_of(configured)


def test_a_configured_initializer_is_called_in_each_worker_and_a_reload_gives_another_to_fresh_ones(
    configured: Configured,
) -> None:
    def limit(pool: str = "default") -> Any:
        """What a job sees; the reason where none is taken, or it fails."""
        spec = {"call": {"function": "sys:getrecursionlimit"}, "pool": pool}
        reply = configured.daemon.call("submit", jobs=[spec], wait=DEADLINE)
        job = reply["result"]["jobs"][0] if "result" in reply else reply
        return job["value"] if "value" in job else job["error"]["message"]

    def begun(words: str) -> str:
        return BASE.replace("workers = 1", f"workers = 1\n{words}")

    with_4321 = 'initializer = "sys:setrecursionlimit"\ninitargs = [4321]'
    configured.reload(begun(with_4321))
    wait_until(lambda: limit() == 4321)
    before = _pids_of(configured)
    configured.reload(begun(f"{with_4321}\nmax_jobs = 1000"))
    assert limit() == 4321
    assert _pids_of(configured) == before, "the same initializer takes no fresh workers"
    configured.daemon.result("start", kind="pool", name="other", workers=1)
    assert limit("other") != 4321
    configured.reload(begun('initializer = "math:sqrt"\ninitargs = [-1.0]'))
    wait_until(lambda: "ValueError" in str(limit()))
    configured.reload(begun(""))
    wait_until(lambda: limit() == limit("other"))


def _pids_of(configured: Configured) -> set[int]:
    return {worker["pid"] for worker in configured.daemon.workers() if worker["pid"]}


def test_what_takes_a_new_start_of_the_daemon_is_said_and_remembered(configured: Configured) -> None:
    done = configured.reload(BASE + "[limits]\nframes = 32\n[daemon]\nshutdown_grace = 3.0\n")
    assert (done["changed"], done["needs_restart"]) == (["daemon.shutdown_grace", "limits.frames"], ["limits.frames"])
    assert configured.diff()["pending"] == ["limits.frames"]


def test_a_name_that_moves_to_another_table_is_free_in_time(configured: Configured) -> None:
    moved = BASE.replace("[process.web]\nargv", "[process.heat]\nargv").replace("[burner.heat]", "[burner.web]")
    done = configured.reload(moved)
    assert (done["failed"], done["started"]) == ({}, ["burner web", "process heat"])
    assert done["stopped"] == ["burner heat", "process web"]


def test_what_somebody_has_under_a_new_name_is_adopted_replaced_or_told(configured: Configured) -> None:
    for params in (
        {"kind": "pool", "workers": 1},
        {"kind": "burner", "load": 1},
        {"kind": "process", "argv": ["sleep", "9"]},
    ):
        configured.daemon.result("start", name=f"my-{params['kind']}", **params)
    tables = "[pool.my-pool]\nworkers = 2\n[burner.my-burner]\nload = 2\n[process.my-process]\nargv = ['true']\n"
    done = configured.reload(BASE + tables)
    assert (done["adjusted"], done["started"]) == (["pool my-pool"], ["burner my-burner"])
    assert "there is a process 'my-process' already" in done["failed"]["process my-process"]


def test_a_changed_trace_is_a_changed_profile(configured: Configured) -> None:
    trace = configured.daemon.directory / "day.csv"
    trace.write_text("0,1\n600,2\n")
    text = BASE + '[burner.day]\nprofile = "trace day.csv"\n'
    assert configured.reload(text)["started"] == ["burner day"]
    trace.write_text("0,1\n600,3\n")
    assert [change["key"] for change in configured.diff()["file"]] == ["burner.day.profile"]
    assert configured.reload(text)["restarted"] == ["burner day"]


def test_a_reload_is_answered_when_what_it_starts_is_ready_and_there_is_one_at_a_time(configured: Configured) -> None:
    flag = configured.daemon.directory / "flag"
    flag.unlink(missing_ok=True)
    ready = f'ready_command = ["test", "-e", "{flag}"]'
    configured.write(BASE + f'[process.slow]\nargv = ["sleep", "1000"]\n{ready}\n')
    argv = [sys.executable, "-m", "stoker", "--socket", configured.daemon.endpoint, "reload"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as reloading:
        wait_until(lambda: configured.processes().get("slow", {}).get("state") == "starting")
        assert configured.daemon.error("reload")["code"] == "busy"
        assert reloading.poll() is None
        flag.touch()
        assert reloading.wait(DEADLINE) == 0
    assert configured.processes()["slow"]["state"] == "up"


def test_a_file_that_is_not_valid_changes_nothing(configured: Configured) -> None:
    configured.write(BASE.replace("workers = 1", "workers = 3") + "[process.db]\nargv = ['a']\nrequires = ['nobody']\n")
    error = configured.daemon.error("reload")
    assert (error["code"], error["data"]["key"]) == ("config-error", "process.db.requires")
    assert configured.daemon.error("config_diff")["code"] == "config-error"
    assert len(configured.daemon.workers()) == 1


def test_what_cannot_be_started_is_told_and_does_not_keep_the_rest_from_being_done(configured: Configured) -> None:
    text = BASE + '[process.bad]\nargv = ["no-such"]\n[process.good]\nargv = ["sleep", "9"]\n'
    configured.write(text)
    done = configured.cli("reload", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["started"] == ["process good"]
    assert "there is no program no-such on PATH" in told["failed"]["process bad"]
    assert configured.processes()["bad"]["state"] == "fatal"


def test_sighup_reloads_too(configured: Configured) -> None:
    configured.write(BASE + '[process.db]\nargv = ["sleep", "999"]\n')
    os.kill(configured.daemon.pid, signal.SIGHUP)
    wait_until(lambda: configured.processes().get("db", {}).get("state") == "up")


WITHOUT_LEVEL = """
import runpy, sys
at = sys.argv.index("--log-level")
del sys.argv[at : at + 2]
runpy.run_module("stokerd", run_name="__main__", alter_sys=True)
"""


def test_the_log_level_changes_at_once(start_daemon: Callable[..., RunningDaemon]) -> None:
    text = "[pool.default]\nworkers = 0\n[daemon]\nlog_level = 'error'\n"
    daemon = start_daemon(config=text, program=(sys.executable, "-c", WITHOUT_LEVEL))
    daemon.result("start", kind="process", name="first", argv=["sleep", "1000"])
    (daemon.directory / "config.toml").write_text(text.replace("error", "debug"))
    assert daemon.result("reload")["changed"] == ["daemon.log_level"]
    daemon.result("start", kind="process", name="second", argv=["true"])
    assert '"second"' in daemon.log
    assert '"first"' not in daemon.log


def test_what_the_command_line_says_outlasts_a_reload(configured: Configured) -> None:
    assert configured.reload(BASE + "[daemon]\nlog_level = 'error'\n")["changed"] == []


def test_a_diff_tells_what_the_file_would_change_and_what_would_come_of_it(configured: Configured) -> None:
    text = BASE.replace("workers = 1", "workers = 2").replace('"1000"', '"999"') + "[limits]\nframes = 32\n"
    found = {change["key"]: change for change in configured.diff(text)["file"]}
    assert found["pool.default.workers"] == {
        "key": "pool.default.workers",
        "running": 1,
        "file": 2,
        "effect": "at once",
    }
    assert found["process.web.argv"]["effect"] == "process web is started again, if it runs"
    assert found["limits.frames"]["effect"] == "when the daemon is started again"
    assert len(configured.daemon.workers()) == 1


def test_a_diff_tells_what_was_changed_by_hand_and_a_reload_leaves_that_alone(configured: Configured) -> None:
    configured.until_burning()
    assert configured.diff()["drift"] == []
    daemon = configured.daemon
    daemon.result("set", name="default", workers=2)
    daemon.result("set", name="web", workers=2)
    daemon.result("set", name="heat", load=4)
    daemon.result("start", kind="process", name="mine", argv=["sleep", "1000"])
    daemon.result("limit", tag="x", most=1)
    drift = {change["key"]: (change["file"], change["running"]) for change in configured.diff()["drift"]}
    assert drift == {
        "pool.default.workers": (1, 2),
        "process.web.instances": (1, 2),
        "burner.heat.load": (5.0, 4.0),
        "process.mine": (None, "started"),
        "tag.x.most": (None, 1),
    }
    configured.reload(BASE + '[process.db]\nargv = ["sleep", "999"]\n')
    assert len(daemon.workers()) == 2
    assert set(configured.processes()) == {"web", "web:2", "mine", "db"}
    daemon.result("stop", names=["web", "mine", "heat"])
    drift = {change["key"]: (change["file"], change["running"]) for change in configured.diff()["drift"]}
    assert drift["process.web"] == ("up", "down")
    assert drift["burner.heat"] == ("running", "stopped, or ended by its time limit")


def test_what_is_stopped_by_hand_is_started_by_its_name_as_it_is_configured(configured: Configured) -> None:
    configured.until_burning()
    assert configured.cli("stop", "web", "heat").returncode == 0
    web = configured.processes()["web"]
    assert (web["state"], web["wanted"]) == ("down", False)
    started = configured.cli("start", "web", "heat", "--json")
    assert [each["kind"] for each in json.loads(started.stdout)["started"]] == ["process", "burner"], started.stderr
    assert configured.processes()["web"]["state"] == "up"
    restarted = json.loads(configured.cli("restart", "web", "--json").stdout)
    assert restarted["restarted"] == ["web"]
    missing = configured.cli("start", "nobody")
    assert (missing.returncode, "there is no process or configured burner 'nobody'" in missing.stderr) == (4, True)


def test_a_process_that_is_not_started_with_the_daemon_waits_for_who_starts_it_or_requires_it(
    start_daemon: Callable[..., RunningDaemon],
) -> None:
    text = '[pool.default]\nworkers = 0\n[process.late]\nargv = ["sleep", "9"]\nautostart = false\n'
    daemon = start_daemon(config=text)
    (late,) = daemon.result("status")["processes"]
    assert (late["state"], late["wanted"], late["configured"]) == ("down", False, True)
    (daemon.directory / "config.toml").write_text(text + "[process.web]\nargv = ['sleep', '9']\nrequires = ['late']\n")
    assert daemon.result("reload")["started"] == ["process web"]
    assert {info["name"]: info["state"] for info in daemon.result("status")["processes"]} == {"late": "up", "web": "up"}


def test_a_diff_names_the_instance_that_is_not_as_configured(configured: Configured) -> None:
    configured.reload(BASE.replace('["sleep", "1000"]', '["sleep", "1000"]\ninstances = 2'))
    configured.daemon.result("stop", names=["web:2"])
    assert [(change["key"], change["running"]) for change in configured.diff()["drift"]] == [("process.web:2", "down")]
    configured.daemon.result("stop", names=["web"])
    assert [(change["key"], change["running"]) for change in configured.diff()["drift"]] == [("process.web", "down")]


def test_the_library_starts_scales_and_restarts_processes_and_tells_the_difference(configured: Configured) -> None:
    with stoker.Client(configured.daemon.endpoint) as client:
        started = client.start_process("mine", ["sleep", "9"], instances=2, requires=("web",), nice=3)
        assert len(started.pids) == 2
        client.set("mine", workers=1)
        (again,) = client.restart("mine").pids
        assert (os.getpriority(0, again), again in started.pids) == (3, False)
        assert set(client.stop("web").stopped) == {"web", "mine"}
        assert [(change.key, change.running) for change in client.config_diff().drift] == [("process.web", "down")]
        assert client.start("web").kind == "process"
        assert client.config_diff().drift == ()
        call = client.start_process("nap", call="time:sleep", args=[1000])
        assert client.status("nap").processes[0].target == "time:sleep"
        assert len(call.pids) == 1
        with pytest.raises(NotFound):
            client.start("nobody")
        with pytest.raises(InvalidParams, match="is a process, of which load can't be set"):
            client.set("web", load=3)
        with pytest.raises(InvalidParams, match="at least 1 instance"):
            client.set("web", workers=0)
        with pytest.raises(InvalidParams, match="'heat' is not a process"):
            client.restart("heat")


def test_who_follows_a_process_hears_of_its_end_and_of_all_that_it_wrote(configured: Configured) -> None:
    configured.daemon.result("start", kind="process", name="talk", argv=["sh", "-c", "echo hi; exec sleep 1000"])
    wait_until(lambda: configured.processes()["talk"]["written"] == 3)
    argv = [sys.executable, "-m", "stoker", "--socket", configured.daemon.endpoint, "logs", "talk", "-f"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == b"hi\n"
        configured.daemon.result("stop", names=["talk"])
        assert follower.communicate(timeout=DEADLINE) == (b"", b"")
    assert follower.returncode == 0


def test_no_secret_is_in_a_diff(configured: Configured) -> None:
    reply = configured.diff(BASE.replace('argv = ["sleep", "1000"]', 'argv = ["sleep", "1000"]\nenv = {T = "hunter2"}'))
    assert [change["key"] for change in reply["file"]] == ["process.web.env"]
    assert "hunter2" not in str(reply)
    shown = configured.cli("config", "diff")
    assert "process.web.env" in shown.stdout
    assert configured.cli("config", "diff", "--exit-code").returncode == 1
