"""Every verb of ``stoker`` against a real daemon, each run as a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

PATIENCE = 60.0
MODULE = """
import os, time

def double(x):
    return x * 2

def odd_fails(x):
    if x % 2:
        raise ValueError(f"{x} is odd")
    return x

def die():
    os.kill(os.getpid(), 9)
"""


BEGUN: list[subprocess.Popen[str]] = []


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """A user's shell: a directory to be in, an own place for the daemon's socket."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("STOKER_")}
        self.env |= {
            "XDG_RUNTIME_DIR": str(home),
            "XDG_STATE_HOME": str(home / "state"),
            "XDG_CONFIG_HOME": str(home / "config"),
        }
        source = [str(Path(entry).absolute()) for entry in sys.path if entry and Path(entry, "stoker").is_dir()]
        self.env["PYTHONPATH"] = os.pathsep.join(
            [*source, *(entry for entry in sys.path if Path(entry, "stokerd").is_dir())]
        )
        (home / "mymod.py").write_text(MODULE)

    def run(self, *argv: str, stdin: str | None = None, **env: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "stoker", *argv],
            cwd=self.home,
            env=self.env | env,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert "Traceback" not in done.stderr or argv[0] == "job"
        return Done(done.returncode, done.stdout, done.stderr)

    def begin(self, *argv: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        begun = subprocess.Popen(
            [sys.executable, "-m", "stoker", *argv],
            cwd=self.home,
            env=self.env,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        BEGUN.append(begun)
        return begun

    def last_job(self) -> dict[str, Any]:
        found: dict[str, Any] = self.run("jobs", "--json", "--limit", "1").json["jobs"][-1]
        return found


@pytest.fixture(scope="module")
def shell() -> Iterator[Shell]:
    home = Path(tempfile.mkdtemp(prefix="stoker-cli-"))
    user = Shell(home)
    up = user.run("up", "--json")
    assert up.code == 0, up.err
    daemon = psutil.Process(up.json["pid"])
    yield user
    family = daemon.children(recursive=True)
    assert user.run("down").code == 0
    psutil.wait_procs([daemon, *family], timeout=PATIENCE)
    left = [
        process for process in (daemon, *family) if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]
    shutil.rmtree(home)
    assert not left


@pytest.fixture
def alone() -> Iterator[Shell]:
    """A shell where no daemon runs yet."""
    home = Path(tempfile.mkdtemp(prefix="stoker-cli-"))
    user = Shell(home)
    yield user
    user.run("down")
    shutil.rmtree(home)


@pytest.fixture(autouse=True)
def nothing_goes_on() -> Iterator[None]:
    """What a failed test has left running ends with it."""
    yield
    while BEGUN:
        process = BEGUN.pop()
        process.kill()
        with process:
            process.wait(PATIENCE)


def finish(process: subprocess.Popen[str]) -> Done:
    out, err = process.communicate(timeout=PATIENCE)
    return Done(process.returncode, out, err)


def gone(*pids: int) -> bool:
    processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return not psutil.wait_procs(processes, timeout=PATIENCE)[1]


# --- the daemon -----------------------------------------------------------------------------------------------------


def test_up_is_success_when_it_is_up(shell):
    again = shell.run("up", "--json")
    assert (again.code, again.json["started"]) == (0, False)


def test_ping_and_status_have_the_shape_that_others_build_on(shell):
    assert shell.run("ping", "--json").json["pid"] > 0
    status = shell.run("status", "--json").json
    assert {"daemon", "pools", "burners", "processes", "jobs", "seq"} <= set(status)
    assert {"pid", "endpoint", "version", "boot_id", "uptime"} <= set(status["daemon"])
    assert shell.run("status").out.startswith("stokerd ")


def test_a_private_daemon_starts_by_itself_says_so_once_and_ends_with_down(alone):
    first = alone.run("submit", "math:factorial", "20")
    assert (first.code, first.out) == (0, "2432902008176640000\n")
    assert first.err.count("started a private daemon") == 1
    second = alone.run("submit", "math:factorial", "5")
    assert (second.out, second.err) == ("120\n", "")
    pid = alone.run("ping", "--json").json["pid"]
    down = alone.run("down", "--json")
    assert (down.code, down.json) == (0, {"pid": pid, "was_running": True})
    assert gone(pid)
    assert alone.run("down", "--json").json == {"pid": None, "was_running": False}


def test_no_daemon_starts_where_none_is_wanted(alone):
    assert alone.run("status", STOKER_AUTOSTART="0").code == 69
    assert alone.run("status", "--socket", str(alone.home / "x.sock")).code == 69
    assert alone.run("ping").code == 69
    assert not list(alone.home.glob("**/*.sock"))


def test_up_takes_a_configuration_and_refuses_a_wrong_one_with_78(alone):
    config = alone.home / "c.toml"
    config.write_text("[pool.default]\nworkers = 1\n")
    assert alone.run("up", "--config", "c.toml", "--idle-exit", "1h").code == 0
    assert len(alone.run("status", "--json").json["pools"][0]["workers"]) <= 1
    shown = alone.run("config", "show", "--json").json
    assert (shown["path"], shown["config"]["pool"]["default"]["workers"]) == (str(config), 1)
    assert alone.run("down").code == 0
    config.write_text("[pool.default]\nwrokers = 1\n")
    refused = alone.run("up", "--config", "c.toml")
    assert refused.code == 78
    assert "workers" in refused.err


def test_up_in_the_foreground_is_the_daemon_and_ctrl_c_ends_it(alone):
    daemon = alone.begin("up", "--foreground")
    while "daemon.ready" not in daemon.stderr.readline():
        assert daemon.poll() is None
    assert alone.run("ping", "--json").json["pid"] == daemon.pid
    daemon.send_signal(signal.SIGINT)
    finish(daemon)
    assert alone.run("ping").code == 69


def test_config_check_looks_at_a_file_without_a_daemon(alone):
    good, bad = alone.home / "good.toml", alone.home / "bad.toml"
    good.write_text("[daemon]\nlog_level = 'info'\n")
    bad.write_text("[daemon]\n\nlog_lvel = 'info'\n")
    assert alone.run("config", "check", str(good)).code == 0
    checked = alone.run("config", "check", str(bad), "--json")
    assert checked.code == 78
    assert checked.json["error"]["code"] == "config-error"
    assert "log_level" in checked.err
    assert alone.run("config", "check", str(alone.home / "none.toml")).code == 78
    bad.write_text("[daemon]\nlog_lvel = 'info'\nnice = 99\n[pool.default]\nworkers = 'many'\n")
    told = alone.run("config", "check", str(bad)).err
    assert [f"{bad}:{line}: " in told for line in (2, 3, 5)] == [True] * 3


def test_doctor_finds_nothing_to_mend_here(shell):
    assert all(check["verdict"] != "fail" for check in shell.run("doctor", "--json").json["checks"])


def test_reload_of_an_unchanged_file_changes_nothing(shell):
    told = shell.run("reload", "--json").json
    assert {"changed", "needs_restart", "started", "stopped", "restarted", "adjusted", "failed"} == set(told)
    assert not any(told.values())


# --- jobs -----------------------------------------------------------------------------------------------------------


def test_a_function_of_this_directory_is_found(shell):
    assert shell.run("submit", "mymod:double", "21").out == "42\n"
    assert shell.run("submit", "mymod:double", "ab").out == "abab\n"
    assert shell.run("submit", "mymod:double", "--arg", "x=[1]").out == "[1, 1]\n"


def test_a_function_that_raises_is_told_and_its_traceback_kept(shell):
    failed = shell.run("submit", "mymod:odd_fails", "3")
    assert (failed.code, failed.out) == (1, "")
    assert "ValueError: 3 is odd" in failed.err
    told = shell.run("job", str(shell.last_job()["id"])).out
    assert 'raise ValueError(f"{x} is odd")' in told


def test_what_cannot_be_found_is_said_and_a_killed_worker_too(shell):
    assert "no module" in shell.run("submit", "nomod:f").err
    assert "double" in shell.run("submit", "mymod:duoble").err
    died = shell.run("submit", "mymod:die", "--json")
    assert died.code == 1
    assert died.json["error"]["code"] == "worker-died"


def test_a_commands_streams_and_code_are_ours(shell):
    done = shell.run("submit", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert done == Done(3, "out\n", "err\n")
    assert shell.run("submit", "--", "sh", "-c", "kill -TERM $$").code == 143
    never = shell.run("submit", "--", "no-such-program")
    assert never.code == 127
    assert "no-such-program" in never.err
    assert shell.run("submit", "--stdin", "-", "--", "cat", stdin="in").out == "in"
    assert shell.run("submit", "--env", "A=b", "--", "sh", "-c", 'echo "$A $PWD"').out == f"b {shell.home}\n"


def test_a_commands_output_comes_while_it_runs(shell):
    os.mkfifo(shell.home / "fifo")
    talker = shell.begin("submit", "--", "sh", "-c", "echo ready; read line < fifo; echo $line")
    assert talker.stdout.readline() == "ready\n"
    (shell.home / "fifo").write_text("go\n")
    assert finish(talker) == Done(0, "go\n", "")


def test_a_job_over_its_time_is_75(shell):
    assert shell.run("submit", "--timeout", "200ms", "--", "sleep", "600").code == 75
    assert shell.last_job()["state"] == "timed-out"


def test_ctrl_c_cancels_the_job_that_is_waited_for(shell):
    waiting = shell.begin("submit", "--", "sh", "-c", "echo ready; sleep 600")
    assert waiting.stdout.readline() == "ready\n"
    job = shell.last_job()["id"]
    waiting.send_signal(signal.SIGINT)
    assert finish(waiting).code == 130
    assert shell.run("wait", str(job), "--json").json["jobs"][0]["state"] == "cancelled"


def test_a_killed_command_line_takes_its_job_along(shell):
    waiting = shell.begin("submit", "--", "sh", "-c", "echo ready; sleep 600")
    assert waiting.stdout.readline() == "ready\n"
    job = shell.last_job()["id"]
    waiting.kill()
    finish(waiting)
    assert shell.run("wait", str(job), "--json").json["jobs"][0]["state"] == "cancelled"


def test_a_detached_job_is_waited_for_its_result_fetched_and_its_output_read(shell):
    job = shell.run("submit", "--detach", "mymod:double", "4").out.strip()
    assert shell.run("wait", job).code == 0
    assert shell.run("result", job).out == "8\n"
    command = shell.run("submit", "--detach", "--", "sh", "-c", "echo o; echo e >&2; exit 5").out.strip()
    assert shell.run("wait", command).code == 5
    assert shell.run("logs", command) == Done(0, "o\n", "e\n")
    assert shell.run("result", command) == Done(5, "o\n", "e\n")
    assert shell.run("jobs", command, "--json").json["jobs"][0]["exit_code"] == 5


def test_a_running_job_is_not_waited_for_longer_than_told_and_can_be_cancelled(shell):
    job = shell.run("submit", "--detach", "--", "sleep", "600").out.strip()
    assert shell.run("wait", job, "--timeout", "50ms").code == 75
    assert shell.run("result", job, "--timeout", "50ms").code == 75
    assert shell.run("cancel", job, "--json").json == {"cancelled": [int(job)], "already_ended": []}
    assert shell.run("cancel", job).code == 0
    assert shell.run("retry", job).code == 0
    assert shell.run("cancel", job).code == 0
    assert shell.run("jobs", "--state", "cancelled", "--json").json["jobs"][-1]["id"] == int(job)


def test_logs_are_followed_to_the_end(shell):
    os.mkfifo(shell.home / "fifo2")
    job = shell.run("submit", "--detach", "--", "sh", "-c", "echo one; read line < fifo2; echo two").out.strip()
    follower = shell.begin("logs", "-f", job)
    assert follower.stdout.readline() == "one\n"
    (shell.home / "fifo2").write_text("go\n")
    assert finish(follower) == Done(0, "two\n", "")


def test_an_unknown_job_is_4_for_every_verb_that_names_one(shell):
    for verb in ("job", "jobs", "wait", "result", "cancel", "retry", "logs"):
        assert shell.run(verb, "999999999").code == 4, verb


# --- map ------------------------------------------------------------------------------------------------------------


def test_map_keeps_the_order_of_ten_thousand_lines(shell):
    done = shell.run("map", "mymod:double", stdin="".join(f"{number}\n" for number in range(10_000)))
    assert done == Done(0, "".join(f"{number * 2}\n" for number in range(10_000)), "")


def test_map_reports_failures_by_their_lines(shell):
    done = shell.run("map", "--json", "mymod:odd_fails", stdin="0\n1\n2\n")
    assert done.code == 1
    told = [json.loads(line) for line in done.out.splitlines()]
    assert [item.get("value") for item in told] == [0, None, 2]
    assert told[1]["error"]["type"] == "ValueError"
    assert "line 2, 1: ValueError: 1 is odd" in done.err


def test_map_gives_what_it_has_while_its_input_goes_on(shell):
    mapping = shell.begin("map", "mymod:double", stdin=subprocess.PIPE)
    for number in range(5):
        mapping.stdin.write(f"{number}\n")
        assert mapping.stdout.readline() == f"{number * 2}\n"
    mapping.stdin.close()
    mapping.stdin = None
    assert finish(mapping).code == 0


def test_ctrl_c_ends_a_map_and_cancels_what_is_left_of_it(shell):
    mapping = shell.begin("map", "time:sleep", stdin=subprocess.PIPE)
    mapping.stdin.write("0\n" + "600\n" * 100)
    mapping.stdin.flush()
    assert mapping.stdout.readline() == "null\n"
    job = shell.run("jobs", "--state", "running", "--json").json["jobs"][0]["id"]
    mapping.send_signal(signal.SIGINT)
    mapping.stdin.close()
    mapping.stdin = None
    assert finish(mapping).code == 130
    assert shell.run("wait", str(job), "--json").json["jobs"][0]["state"] == "cancelled"


# --- burners, processes, pools --------------------------------------------------------------------------------------


def test_a_burner_is_started_seen_changed_and_stopped(shell):
    started = shell.run("start", "burner", "heat", "--workers", "2", "--load", "5", "--for", "5m", "--json").json
    assert len(started["pids"]) == 2
    assert shell.run("start", "burner", "heat", "--load", "5").code == 1
    assert shell.run("set", "heat", "--load", "10", "--workers", "1").code == 0
    (burner,) = shell.run("status", "heat", "--json").json["burners"]
    assert (burner["target"], burner["size"]) == (10.0, 1)
    assert shell.run("stop", "heat", "--json").json == {"stopped": ["heat"], "survivors": 0}
    assert gone(*started["pids"])
    assert shell.run("stop", "heat").code == 4


def test_a_burner_that_cannot_be_is_refused_as_usage(shell):
    for wrong in (
        ["--load", "101"],
        ["--load", "5", "--workers", "0"],
        ["--load", "5", "--workers", "10000"],
        ["--load", "5", "--cpus", "4000"],
    ):
        refused = shell.run("start", "burner", "cold", *wrong)
        assert refused.code == 2, wrong
        assert refused.err.startswith("stoker: ")


def test_burn_ends_with_its_time_limit(shell):
    done = shell.run("burn", "2", "--load", "5", "--for", "1500ms")
    assert done.code == 0
    assert "achieved" in done.out
    assert done.out.endswith("; no process left\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_burn_ends_with_a_signal_and_sums_up(shell, number):
    burning = shell.begin("burn", "1", "--load", "5", "--json")
    (worker,) = json.loads(burning.stdout.readline())["workers"]
    burning.send_signal(number)
    done = finish(burning)
    assert done.code == 128 + number
    assert json.loads(done.out.splitlines()[-1])["summary"]["survivors"] == 0
    assert gone(worker["pid"])


def test_the_load_of_burn_ends_when_burn_is_killed(shell):
    burning = shell.begin("burn", "1", "--load", "5", "--json")
    (worker,) = json.loads(burning.stdout.readline())["workers"]
    burning.kill()
    finish(burning)
    assert gone(worker["pid"])


def test_a_process_is_started_read_and_stopped(shell):
    started = shell.run("start", "process", "web", "--json", "--", "sh", "-c", "echo hello; exec sleep 600").json
    follower = shell.begin("logs", "-f", "web")
    assert follower.stdout.readline() == "hello\n"
    assert "web" in shell.run("status").out
    assert shell.run("stop", "web").code == 0
    assert gone(*started["pids"])
    finish(follower)
    assert shell.run("start", "process", "none", "--", "/no/such/program").code == 1


def test_a_pool_is_started_used_and_stopped(shell):
    assert shell.run("start", "pool", "p", "--workers", "1").code == 0
    assert shell.run("submit", "--pool", "p", "mymod:double", "1").out == "2\n"
    assert shell.run("stop", "p").code == 0
    assert shell.run("submit", "--pool", "p", "mymod:double", "1").code == 4


def test_stop_all_with_nothing_to_stop_is_success(shell):
    assert shell.run("stop", "--all", "--json").json["survivors"] == 0
    assert shell.run("stop", "--all").code == 0


# --- events, the tour -----------------------------------------------------------------------------------------------


def test_events_are_followed_as_they_happen(shell):
    seen = shell.run("events", "--json", "--limit", "1").json["seq"]
    follower = shell.begin("events", "-f", "--json", "--topic", "pool.", "--after", str(seen))
    assert shell.run("start", "pool", "watched", "--workers", "0").code == 0
    first = json.loads(follower.stdout.readline())
    assert (first["topic"], first["event"]["name"]) == ("pool.changed", "watched")
    assert shell.run("stop", "watched").code == 0
    told = shell.run("events", "--topic", "pool.", "--limit", "1").out  # though sessions have come and gone since
    assert "name=watched  change=removed" in told
    assert json.loads(follower.stdout.readline())["seq"] > first["seq"]
    follower.send_signal(signal.SIGINT)
    assert finish(follower).code == 130


def test_whoever_follows_learns_that_the_daemon_is_gone(alone):
    assert alone.run("up").code == 0
    pid = alone.run("ping", "--json").json["pid"]
    events, waiting = (
        alone.begin("events", "-f", "--after", "0"),
        alone.begin("submit", "--", "sh", "-c", "echo ready; sleep 600"),
    )
    assert waiting.stdout.readline() == "ready\n"
    while "job.started" not in events.stdout.readline():
        assert events.poll() is None
    os.kill(pid, signal.SIGKILL)
    assert finish(events).code == 69
    assert finish(waiting).code == 69


@pytest.mark.slow
def test_the_demo_holds_and_leaves_nothing(alone):
    toured = alone.run("demo", "--json")
    assert toured.code == 0, toured.out
    told = toured.json
    assert told["held"]
    assert {step["name"] for step in told["steps"]} == {"processes", "queue", "map", "lock", "burners", "kill", "end"}
    assert told["steps"][-1]["facts"]["left"] == []
    assert not psutil.pid_exists(told["steps"][-1]["facts"]["pid"])
