"""Each verb: what it sends, what it prints, which code it ends with. The daemon is a stand-in behind a real socket."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from stoker.errors import DeadlineExceeded, NoSuchBurner, NoSuchJob

JOB = {"id": 3, "state": "queued", "name": "math:sqrt", "pool": "default", "form": "call", "submitted": 1.0}
DONE = {**JOB, "state": "done", "value": 2.0, "started": 1.0, "ended": 2.5}
FAILED = {
    **JOB,
    "state": "failed",
    "error": {"code": "job-failed", "message": "no", "type": "ValueError", "traceback": "Trace…"},
}
COMMAND = {**JOB, "form": "command", "name": "prog"}
STARTED = {"kind": "burner", "name": "heat", "pids": [10, 11]}


def logs(out=b"", err=b"", *, ended, start=0):
    return ({"id": 3, "next_out": start + len(out), "next_err": len(err), "dropped": 0, "ended": ended}, [out, err])


def test_a_burner_is_started_with_what_was_given_and_nothing_more(stoker, daemon):
    daemon.replies["start"] = STARTED
    code, out, _ = stoker(
        "start", "burner", "heat", "--workers", "2", "--load", "50", "--for", "30s", "--cpus", "0-1", "--nice", "5"
    )
    assert code == 0
    assert "10, 11" in out
    assert daemon.params("start") == {
        "kind": "burner",
        "name": "heat",
        "workers": 2,
        "load": 50.0,
        "seconds": 30.0,
        "cpus": [0, 1],
        "nice": 5,
    }


def test_a_burner_without_options_leaves_the_rest_to_the_daemon(stoker, daemon):
    daemon.replies["start"] = STARTED
    assert json.loads(stoker("start", "burner", "heat", "--load", "50", "--json")[1]) == STARTED
    assert daemon.params("start") == {"kind": "burner", "name": "heat", "load": 50.0}


def test_what_a_burner_is_of_and_what_holds_it_back_are_handed_over(stoker, daemon):
    daemon.replies["start"] = {**STARTED, "notes": ["reserve: it gets less"]}
    options = ["--of", "machine", "--mode", "total", "--no-reserve", "--yield-to-jobs"]
    guards = ["--guard", "load>8:pause", "--guard", "probe:curl -f x:abort"]
    code, out, err = stoker("start", "burner", "heat", "--load", "50", *options, *guards)
    assert code == 0
    assert daemon.params("start") == {
        "kind": "burner",
        "name": "heat",
        "load": 50.0,
        "of": "machine",
        "mode": "total",
        "no_reserve": True,
        "yield_to_jobs": True,
        "guards": ["load>8:pause", "probe:curl -f x:abort"],
    }
    assert "50 % of the machine in total" in out
    assert err == "stoker: reserve: it gets less\n"


@pytest.mark.parametrize(("word", "sent"), [("off", True), ("on", False)])
def test_the_reserve_is_given_up_and_kept_again_by_set(stoker, daemon, word, sent):
    daemon.replies["set"] = {"kind": "burner", "name": "heat", "notes": ["reserve: so it is"]}
    code, _, err = stoker("set", "heat", "--reserve", word)
    assert code == 0
    assert daemon.params("set") == {"name": "heat", "no_reserve": sent}
    assert err == "stoker: reserve: so it is\n"


def test_a_process_takes_its_program_after_the_dashes_options_of_its_own_included(stoker, daemon):
    daemon.replies["start"] = {**STARTED, "kind": "process"}
    code, _, _ = stoker("start", "process", "web", "--restart", "always", "--", "prog", "-v", "--json", "--", "x")
    sent = daemon.params("start")
    assert code == 0
    assert sent["argv"] == ["prog", "-v", "--json", "--", "x"]
    assert (sent["restart"], sent["cwd"], sent["env"]) == ("always", str(Path.cwd()), {"PATH": os.environ["PATH"]})


def test_a_process_without_a_program_is_a_usage_error(stoker):
    code, _, err = stoker("start", "process", "web")
    assert (code, "--call" in err) == (2, True)
    assert stoker("start", "process", "web", "--")[0] == 2


def test_a_pool_is_created_with_or_without_a_size(stoker, daemon):
    daemon.replies["start"] = {**STARTED, "kind": "pool"}
    assert stoker("start", "pool", "p", "--workers", "0")[0] == 0
    assert daemon.params("start") == {"kind": "pool", "name": "p", "workers": 0}


def test_set_sends_only_what_changes(stoker, daemon):
    daemon.replies["set"] = {"kind": "burner", "name": "heat"}
    assert stoker("set", "heat", "--load", "80", "--pause")[0] == 0
    assert daemon.params("set") == {"name": "heat", "load": 80.0, "paused": True}
    assert stoker("set", "heat")[0] == 2


def test_stop_names_what_was_stopped_and_survivors_are_a_failure(stoker, daemon):
    daemon.replies["stop"] = {"stopped": ["a", "b"], "survivors": 0}
    assert stoker("stop", "a", "b") == (0, "stopped: a, b\n", "")
    daemon.replies["stop"] = {"stopped": ["a"], "survivors": 1}
    assert stoker("stop", "--all")[0] == 1
    assert [params for _, params in daemon.requests] == [{"names": ["a", "b"]}, {"all": True}]


def test_stop_wants_names_or_all_and_not_both(stoker):
    assert stoker("stop")[0] == 2
    assert stoker("stop", "a", "--all")[0] == 2


def test_what_is_already_so_is_success(stoker, tmp_path):
    nobody = str(tmp_path / "nobody.sock")
    assert stoker("down", "--socket", nobody)[0] == 0
    assert stoker("stop", "--all", "--socket", nobody)[0] == 0
    assert stoker("stop", "heat", "--socket", nobody)[0] == 69


def test_status_under_json_is_the_daemons_own_map(stoker, daemon):
    daemon.replies["status"] = {"daemon": {}, "pools": [], "burners": [], "processes": [], "jobs": {}, "seq": 4}
    code, out, err = stoker("status", "heat", "--json")
    assert (code, json.loads(out), err) == (0, daemon.replies["status"], "")
    assert daemon.params("status") == {"names": ["heat"]}


def test_a_functions_arguments_are_json_or_text_and_options_may_stand_between(stoker, daemon):
    daemon.replies |= {"submit": {"jobs": [JOB]}, "result": {"job": DONE}}
    code, out, _ = stoker(
        "submit", "m:f", "1", "--priority", "5", "two", "[3]", "--arg", "k=4", "--timeout", "60s", "--", "-x", "-5"
    )
    assert (code, out) == (0, "2.0\n")
    sent = daemon.params("submit")
    assert sent["jobs"][0].pop("key").startswith("once-")
    assert sent == {
        "jobs": [
            {
                "call": {"function": "m:f", "args": [1, "two", [3], "-x", -5], "kwargs": {"k": 4}},
                "priority": 5,
                "timeout": 60.0,
                "durable": "if-possible",
            }
        ]
    }
    assert daemon.hello["on_disconnect"] == "cancel"
    assert daemon.hello["environment"]["cwd"] == str(Path.cwd())


def test_a_detached_job_prints_its_id_and_outlives_us(stoker, daemon):
    daemon.replies["submit"] = {"jobs": [JOB]}
    assert stoker("submit", "--detach", "m:f") == (0, "3\n", "")
    assert daemon.hello["on_disconnect"] == "keep"


@pytest.mark.parametrize(
    ("value", "text"), [("a b", "a b"), ([1, None], "[1, null]"), (b"\xff", "b'\\xff'"), (None, "null")]
)
def test_a_value_is_printed_as_text_json_or_repr(stoker, daemon, value, text):
    daemon.replies |= {"submit": {"jobs": [JOB]}, "result": {"job": {**DONE, "value": value}}}
    assert stoker("submit", "m:f")[1] == f"{text}\n"


def test_bytes_are_base64_under_json(stoker, daemon):
    daemon.replies |= {"submit": {"jobs": [JOB]}, "result": {"job": {**DONE, "value": b"\xff"}}}
    assert json.loads(stoker("submit", "--json", "m:f")[1])["value"] == {"base64": "/w=="}


def test_an_exception_is_told_with_where_its_traceback_is(stoker, daemon):
    daemon.replies |= {"submit": {"jobs": [JOB]}, "result": {"job": FAILED}}
    code, out, err = stoker("submit", "m:f")
    assert (code, out) == (1, "")
    assert "ValueError: no" in err
    assert "stoker job 3" in err


def test_what_names_no_function_is_a_usage_error(stoker):
    for argv in (
        ("submit",),
        ("submit", "--"),
        ("submit", "mathsqrt"),
        ("submit", ":f"),
        ("submit", "--arg", "a=1", "--", "prog"),
        ("map", "x"),
    ):
        assert stoker(*argv)[0] == 2, argv


def test_a_commands_output_is_ours_and_so_is_its_code(stoker, daemon):
    answers = iter([logs(b"one\n", b"warn\n", ended=False), logs(b"two\n", ended=True, start=4)])
    daemon.replies |= {
        "submit": {"jobs": [COMMAND]},
        "logs": lambda params: next(answers),
        "wait": {"jobs": [{**COMMAND, "state": "failed", "exit_code": 3}]},
    }
    assert stoker("submit", "--", "prog", "a") == (3, "one\ntwo\n", "warn\n")
    assert daemon.params("submit")["jobs"][0]["command"] == {
        "argv": ["prog", "a"],
        "cwd": str(Path.cwd()),
        "env": {"PATH": os.environ["PATH"]},
    }
    assert [params["out"] for name, params in daemon.requests if name == "logs"] == [0, 4]


def test_a_command_under_json_is_one_map_with_its_output(stoker, daemon):
    answers = iter([logs(b"\xff", b"text", ended=True), logs(ended=True)])
    daemon.replies |= {
        "submit": {"jobs": [COMMAND]},
        "logs": lambda params: next(answers),
        "wait": {"jobs": [{**COMMAND, "state": "failed", "exit_code": -15}]},
    }
    code, out, _ = stoker("submit", "--json", "--", "prog")
    told = json.loads(out)
    assert (code, told["stdout"], told["stderr"], told["exit_code"]) == (143, {"base64": "/w=="}, "text", -15)


def test_a_command_reads_a_file_if_told_so(stoker, daemon, tmp_path):
    daemon.replies["submit"] = {"jobs": [COMMAND]}
    (tmp_path / "in").write_bytes(b"hello")
    assert stoker("submit", "--detach", "--stdin", str(tmp_path / "in"), "--env", "A=1", "--", "cat")[0] == 0
    command = daemon.params("submit")["jobs"][0]["command"]
    assert (command["stdin"], command["env"]["A"]) == (b"hello", "1")
    assert stoker("submit", "--stdin", str(tmp_path / "none"), "--", "cat")[0] == 2


def test_wait_ends_with_the_code_of_the_first_that_failed(stoker, daemon):
    daemon.replies["wait"] = {"jobs": [DONE, {**COMMAND, "state": "failed", "exit_code": 9}]}
    assert stoker("wait", "3", "4")[0] == 9
    assert daemon.params("wait") == {"ids": [3, 4]}


def test_wait_that_runs_out_of_time_is_75_and_shows_what_is_known(stoker, daemon):
    daemon.replies["wait"] = {"jobs": [{**JOB, "state": "running"}]}
    code, out, err = stoker("wait", "3", "--timeout", "1s")
    assert code == 75
    assert "running" in out
    assert "they go on" in err
    assert daemon.params("wait") == {"ids": [3], "timeout": 1.0}


def test_result_waits_in_the_daemon_and_its_time_out_is_75(stoker, daemon):
    daemon.replies |= {"jobs": {"jobs": [JOB]}, "result": DeadlineExceeded("not yet")}
    assert stoker("result", "3", "--timeout", "0")[0] == 75
    assert daemon.params("result") == {"id": 3, "timeout": 0.0}


def test_jobs_pass_on_their_filters(stoker, daemon):
    daemon.replies["jobs"] = {"jobs": [DONE, FAILED, {**JOB, "count": 10, "counts": {"done": 4, "queued": 6}}]}
    code, out, _ = stoker("jobs", "--state", "done", "--state", "failed", "--pool", "p", "--limit", "7")
    assert code == 0
    assert "1.50s" in out
    assert "3-12" in out
    assert "4 done, 6 queued" in out
    assert daemon.params("jobs") == {"states": ["done", "failed"], "pool": "p", "limit": 7}


def test_an_empty_list_says_so_and_is_empty_under_json(stoker, daemon):
    daemon.replies["jobs"] = {"jobs": []}
    assert stoker("jobs") == (0, "no jobs\n", "")
    assert stoker("jobs", "--json") == (0, '{"jobs": []}\n', "")


def test_one_job_is_told_with_the_workers_traceback(stoker, daemon):
    daemon.replies["jobs"] = {"jobs": [FAILED]}
    assert "Trace…" in stoker("job", "3")[1]


def test_one_job_is_told_with_what_was_asked_for_and_how_earlier_attempts_ended(stoker, daemon):
    first = {
        "attempt": 1,
        "state": "failed",
        "message": "no",
        "type": "app.errors.Refused",
        "started": 1.0,
        "ended": 2.0,
    }
    second = {"attempt": 2, "state": "failed", "message": "sh ended with exit code 3", "type": "CommandFailed"}
    asked = {"timeout": 90.0, "on_crash": "requeue", "retries": 4, "attempt": 3}
    daemon.replies["jobs"] = {"jobs": [{**FAILED, **asked, "attempts": [first, second]}]}
    out = stoker("job", "3")[1]
    for line in ("timeout     1m 30s", "on crash    requeue", "attempt     3 of 5"):
        assert line in out.splitlines()
    assert "attempt 1: failed after 1s  Refused: no" in out
    assert "attempt 2: failed after -  sh ended with exit code 3" in out


def test_an_unknown_job_is_4(stoker, daemon):
    daemon.replies |= {"jobs": NoSuchJob("no"), "cancel": NoSuchJob("no"), "stop": NoSuchBurner("no")}
    assert stoker("job", "9")[0] == stoker("cancel", "9")[0] == stoker("stop", "x")[0] == 4


def test_cancel_of_what_had_ended_is_success(stoker, daemon):
    daemon.replies["cancel"] = {"cancelled": [], "already_ended": [3]}
    assert stoker("cancel", "3", "--grace", "1s") == (0, "had ended before: 3\n", "")
    assert daemon.params("cancel") == {"ids": [3], "grace": 1.0}


def test_logs_take_a_job_or_a_name_and_keep_the_streams_apart(stoker, daemon):
    answers = iter([logs(b"o", b"e", ended=False), logs(ended=False, start=1)])
    daemon.replies["logs"] = lambda params: next(answers)
    assert stoker("logs", "web") == (0, "o", "e")
    assert daemon.requests[0][1] == {"id": "web", "out": 0, "err": 0}


def test_events_are_listed_with_their_numbers(stoker, daemon):
    daemon.replies["events"] = {
        "events": [[1, "job.queued", {"id": 3, "name": "a b"}], [2, "worker.started", {"pid": 5}]],
        "seq": 2,
        "gap": False,
    }
    code, out, _ = stoker("events", "--topic", "job")
    assert code == 0
    assert out.split() == ["1", "job.queued", "id=3", 'name="a', 'b"']
    assert json.loads(stoker("events", "--json", "--topic", "worker", "--after", "1", "--limit", "9")[1]) == {
        "seq": 2,
        "topic": "worker.started",
        "event": {"pid": 5},
    }
    assert daemon.requests[-1][1] == {"after": 1, "limit": 9, "topic": "worker"}


def test_the_configuration_is_shown_as_toml(stoker, daemon):
    import tomllib

    config: dict[str, dict[str, Any]] = {
        "daemon": {"socket": "/x", "grace": 5.0, "state_dir": None},
        "pool": {"default": {"workers": 2, "on": True, "names": ["a"]}},
    }
    daemon.replies["config"] = {"path": "/etc/x.toml", "config": config}
    code, out, _ = stoker("config", "show")
    assert code == 0
    assert out.startswith("# /etc/x.toml\n")
    del config["daemon"]["state_dir"]
    assert tomllib.loads(out) == config


def test_reload_tells_what_needs_a_restart(stoker, daemon):
    daemon.replies["reload"] = {"changed": ["a.b"], "needs_restart": ["a.c"]}
    code, out, err = stoker("reload")
    assert (code, out) == (0, "changed: a.b\n")
    assert "a.c" in err


def test_down_waits_for_the_process_itself(stoker, daemon):
    import subprocess
    import sys

    stand_in = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)

    def shutdown(params):
        assert stand_in.stdin is not None
        stand_in.stdin.close()
        return {"pid": stand_in.pid}

    daemon.replies |= {"ping": {"pid": stand_in.pid, "version": "", "time": 0.0}, "shutdown": shutdown}
    code, out, _ = stoker("down")
    assert code == 0
    assert str(stand_in.pid) in out
    assert stand_in.wait(30) == 0


def test_doctor_works_without_a_daemon_and_names_every_check(stoker, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("STOKER_SOCKET", raising=False)
    code, out, _ = stoker("doctor", "--json")
    told = json.loads(out)
    assert code == 0, told
    assert {"python", "zmq", "daemon", "cores", "pidfd", "pdeathsig", "descriptors", "clock"} <= {
        check["name"] for check in told["checks"]
    }
    assert all(check["advice"] for check in told["checks"] if check["verdict"] != "ok")


def test_doctor_finds_a_directory_that_others_can_enter(stoker, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "stoker").mkdir(mode=0o755)
    (tmp_path / "stoker").chmod(0o755)
    code, out, _ = stoker("doctor")
    assert code == 1
    assert "chmod 700" in out


BURNER = {
    "name": "b",
    "state": "running",
    "kind": "spin",
    "target": 60.0,
    "achieved": 59.5,
    "shortfall": 0.5,
    "size": 1,
    "nice": 10,
    "cpus": [],
    "started": 0.0,
    "ends": None,
    "reason": "",
    "workers": [{"pid": 10, "cpu": None, "target": 60.0, "achieved": 59.5, "shortfall": 0.5, "cpu_seconds": 0.6}],
}


def named(daemon, burner):
    """The burner under the name that the verb has made up."""
    return {**burner, "name": [params["name"] for method, params in daemon.requests if method == "start"][-1]}


def test_burn_owns_its_load_shows_it_and_sums_up(stoker, daemon, monkeypatch):
    monkeypatch.setattr("stoker.cli.furnace.TICK", 0.01)
    looks = iter([True, True, False])
    daemon.replies |= {
        "start": STARTED,
        "status": lambda params: {"burners": [named(daemon, BURNER)] if next(looks) else []},
        "stop": NoSuchBurner("ended by its time limit"),
    }
    code, out, err = stoker("burn", "2", "--load", "60", "--for", "2s")
    assert code == 0
    sent = daemon.params("start")
    assert (sent["owned"], sent["workers"], sent["load"], sent["seconds"]) == (True, 2, 60.0, 2.0)
    assert out.count("achieved  59.5 %") == 2
    assert "achieved 59.50 % of 60.00 %" in out
    assert "2 processes" in err


def test_a_shortfall_of_nothing_has_no_sign(stoker, daemon, monkeypatch):
    monkeypatch.setattr("stoker.cli.furnace.TICK", 0.01)
    looks = iter([True, True, False])
    burner = {**BURNER, "achieved": 60.001, "shortfall": -0.001}
    daemon.replies |= {
        "start": STARTED,
        "status": lambda params: {"burners": [named(daemon, burner)] if next(looks) else []},
        "stop": NoSuchBurner("ended by its time limit"),
    }
    out = stoker("burn", "1", "--load", "60", "--for", "2s")[1]
    assert "shortfall 0.00 %" in out
    assert "-0" not in out


def test_burn_is_stopped_when_interrupted_and_a_survivor_is_a_failure(stoker, daemon, monkeypatch):
    import signal

    def look(params):
        os.kill(os.getpid(), signal.SIGTERM)
        return {"burners": [named(daemon, BURNER)]}

    monkeypatch.setattr("stoker.cli.furnace.TICK", 0.01)
    daemon.replies |= {"start": STARTED, "status": look, "stop": {"stopped": ["b"], "survivors": 0}}
    code, out, _ = stoker("burn", "--load", "60")
    assert code == 143
    assert "no process left" in out
    assert daemon.params("stop")["names"] == [daemon.params("start")["name"]]
    daemon.replies["stop"] = {"stopped": ["b"], "survivors": 1}
    assert stoker("burn", "--load", "60")[0] == 1


def test_a_load_that_a_guard_ended_is_a_failure_with_the_guards_reason(stoker, daemon, monkeypatch):
    monkeypatch.setattr("stoker.cli.furnace.TICK", 0.01)
    guard = {"text": "load>8:abort", "action": "abort", "tripped": False, "reading": 1.0, "reason": ""}
    looks = itertools.chain([True] * 3, itertools.repeat(False))
    daemon.replies |= {
        "start": STARTED,
        "status": lambda params: {"burners": [named(daemon, {**BURNER, "guards": [guard]})] if next(looks) else []},
        "events": lambda params: {
            "events": [[7, "burner.guard", named(daemon, {"action": "abort", "reason": "guard load>8: it is 9"})]],
            "seq": 7,
            "gap": False,
        },
        "stop": {"stopped": [], "survivors": 0},
    }
    code, _, err = stoker("burn", "--load", "60", "--guard", "load>8:abort")
    assert code == 1
    assert "the burner was ended: guard load>8: it is 9" in err


def test_the_seconds_of_burners_are_shown_as_a_table(stoker, daemon):
    second = {"at": 0.0, "asked": 60.0, "target": 54.0, "achieved": 50.5, "shortfall": 3.5, "others": 20.0, "steal": 0}
    reply = {"burners": [{"name": "heat", "cores": 1.0, "seconds": [second]}]}
    daemon.replies["figures"] = reply
    code, out, _ = stoker("status", "heat", "--history")
    assert (code, daemon.params("figures")) == (0, {"names": ["heat"]})
    assert out.split("\n")[0].split() == ["BURNER", "AT", "ASKED", "TARGET", "ACHIEVED", "SHORTFALL", "OTHERS", "STEAL"]
    assert "60.0 %  54.0 %    50.5 %      3.5 %  20.0 %  0.0 %" in out
    assert json.loads(stoker("status", "heat", "--history", "--json")[1]) == reply


def test_a_burner_that_failed_is_a_failure_with_its_reason(stoker, daemon, monkeypatch):
    monkeypatch.setattr("stoker.cli.furnace.TICK", 0.01)
    failed = {**BURNER, "state": "failed", "reason": "killed from outside"}
    daemon.replies |= {
        "start": STARTED,
        "status": lambda params: {"burners": [named(daemon, failed)]},
        "stop": {"stopped": [], "survivors": 0},
    }
    code, _, err = stoker("burn", "--load", "60")
    assert code == 1
    assert "killed from outside" in err
