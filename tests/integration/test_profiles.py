"""Burners that follow profiles, on a real daemon: by the wire, the Python client, TOML and the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import StartDaemon
from tests.daemons import RunningDaemon, wait_until

import stoker
from stoker.errors import BadProfile, IllegalMove

NO_POOL = "[pool.default]\nworkers = 0\n"


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> RunningDaemon:
    return start_daemon(config=NO_POOL)


@pytest.fixture
def client(daemon: RunningDaemon):
    with stoker.Client(daemon.endpoint) as client:
        yield client


def start(daemon: RunningDaemon, profile: str, **more: Any) -> None:
    daemon.result("start", kind="burner", name="heat", profile=profile, **more)


def burner(daemon: RunningDaemon) -> dict[str, Any]:
    found = daemon.result("status")["burners"]
    assert found, "the burner is gone"
    return found[0]


def place(daemon: RunningDaemon) -> dict[str, Any]:
    profile: dict[str, Any] = burner(daemon)["profile"]
    return profile


def endings(daemon: RunningDaemon) -> list[str]:
    """The reasons of burners that have ended."""
    told = [event for _, topic, event in daemon.result("events")["events"] if topic == "burner.changed"]
    return [event["reason"] for event in told if event["state"] == "stopped"]


# --- a profile from its beginning to its end -------------------------------------------------------------------------


def test_a_profile_is_followed_to_its_end_and_the_burner_ends_with_it(daemon: RunningDaemon) -> None:
    start(daemon, "hold 200ms @30, ramp 30->60 over 400ms, step 20 for 200ms")
    begun = burner(daemon)
    assert begun["profile"]["seconds"] == 0.8
    assert begun["profile"]["segments"] == 3
    assert begun["ends"] is not None
    wait_until(lambda: endings(daemon))
    assert endings(daemon) == ["its profile of 0.8s is over"]
    assert daemon.result("status")["burners"] == []


def test_what_is_asked_follows_the_profile_and_the_figures_add_up(daemon: RunningDaemon) -> None:
    start(daemon, "hold 1h @30, ramp 30->60 over 1h", workers=2)
    first = burner(daemon)
    assert (first["asked"], first["target"]) == (30.0, 30.0)
    daemon.result("set", name="heat", skip=True)
    second = burner(daemon)
    assert second["profile"]["now"] == "ramp 30->60 over 1h"
    assert second["profile"]["segment"] == 2
    wait_until(lambda: burner(daemon)["asked"] > 30)
    now = burner(daemon)
    assert now["achieved"] + now["shortfall"] == pytest.approx(now["target"], abs=2e-3)
    assert now["asked"] < 31


def test_a_profile_is_not_cut_by_the_default_time_limit_and_one_without_an_end_is(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(config=NO_POOL + "[burners]\ndefault_seconds = 0.3\n")
    start(daemon, "hold 600ms @20")
    wait_until(lambda: endings(daemon))
    start(daemon, "hold 100ms @20, step 10")
    wait_until(lambda: len(endings(daemon)) == 2)
    first, second = endings(daemon)
    assert first.startswith("its profile of")
    assert second == "its time limit of 0.3 s is over"


def test_a_time_limit_that_is_given_cuts_the_profile(daemon: RunningDaemon) -> None:
    start(daemon, "hold 1h @20", seconds=0.2)
    wait_until(lambda: endings(daemon))
    assert endings(daemon) == ["its time limit of 0.2 s is over"]


def test_a_load_beside_a_profile_is_what_it_begins_at(daemon: RunningDaemon) -> None:
    start(daemon, "hold 1h, ramp ->80 over 1h", load=25.0)
    assert burner(daemon)["asked"] == 25.0


def test_stages_of_k6_are_followed(daemon: RunningDaemon) -> None:
    start(daemon, '{"startVUs": 15, "stages": [{"duration": "1h", "target": 80}]}')
    assert 15 <= burner(daemon)["asked"] < 16
    assert place(daemon)["now"] == "ramp ->80 over 1h"


def test_in_mode_total_the_profile_is_of_the_machine(daemon: RunningDaemon) -> None:
    start(daemon, "hold 1h @1, hold 1h @2", mode="total")
    found = burner(daemon)
    assert (found["of"], found["mode"], found["asked"]) == ("machine", "total", 1.0)


# --- what is refused, before anything starts -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "code", "said"),
    [
        ({"profile": "hold @60"}, "bad-profile", "column 6: expected a duration such as 10m"),
        ({"profile": "hold 5m @101"}, "bad-profile", "column 10: a level of 101 is outside 0 to 100"),
        ({"profile": "trace day.csv"}, "bad-profile", "the points of 0 came with it"),
        ({"profile": "trace day.csv", "traces": [[[0, 1], [0, 2]]]}, "bad-profile", "does not rise in time"),
        ({"profile": "trace day.csv", "traces": [[[0, 1], [1, 200]]]}, "invalid-params", "<= 100"),
        ({"profile": "hold 5m @1", "traces": [[[0, 1], [1, 2]]]}, "bad-profile", "the points of 1 came with it"),
        ({"load": 5, "traces": [[[0, 1], [1, 2]]]}, "invalid-params", "no profile that names them"),
        ({"profile": ""}, "invalid-params", "length >= 1"),
        ({}, "invalid-params", "needs a load or a profile"),
        ({"profile": "hold 5m @5", "load": 101}, "invalid-params", "<= 100"),
    ],
)
def test_a_wrong_profile_is_refused_and_nothing_starts(
    daemon: RunningDaemon, params: dict[str, Any], code: str, said: str
) -> None:
    error = daemon.error("start", kind="burner", name="heat", **params)
    assert error["code"] == code
    assert said in error["message"]
    assert error["hint"]
    assert daemon.result("status")["burners"] == []


def test_a_level_that_its_processes_cannot_make_is_refused_by_the_highest_of_the_profile(daemon: RunningDaemon) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core can be loaded by one process")
    params = {"kind": "burner", "name": "heat", "of": "machine", "workers": 1, "no_reserve": True}
    error = daemon.error("start", **params, profile="hold 1h @1, ramp ->100 over 1h")
    assert error["code"] == "invalid-params"


# --- steering --------------------------------------------------------------------------------------------------------


def test_a_load_leaves_the_profile(daemon: RunningDaemon) -> None:
    start(daemon, "hold 1h @30, hold 1h @40")
    daemon.result("set", name="heat", load=15)
    found = burner(daemon)
    assert (found["asked"], found["profile"]) == (15.0, None)
    assert found["ends"] is not None  # the default time limit, from now on


def test_a_ramp_goes_from_what_is_asked_to_what_is_wanted_and_stays(daemon: RunningDaemon) -> None:
    start(daemon, "hold 1h @30")
    daemon.result("set", name="heat", ramp_to=40, over=0.3)
    assert place(daemon)["text"] == "ramp 30->40 over 0.3s, step 40"
    wait_until(lambda: burner(daemon)["asked"] == 40)
    assert place(daemon)["now"] == "step 40"
    daemon.result("set", name="heat", ramp_to=10)
    assert place(daemon)["now"] == "ramp 40->10 over 30s"


def test_a_burner_without_a_profile_can_ramp_and_follow_one(daemon: RunningDaemon) -> None:
    daemon.result("start", kind="burner", name="heat", load=20, seconds=3600)
    daemon.result("set", name="heat", ramp_to=30, over=600)
    assert 20 <= burner(daemon)["asked"] < 30
    daemon.result("set", name="heat", profile="hold 10m, hold 5m @7")
    found = burner(daemon)
    assert 20 <= found["asked"] < 30  # it begins where the ramp was
    assert found["profile"]["seconds"] == 900


def test_while_it_is_paused_the_profile_stands_still(daemon: RunningDaemon) -> None:
    start(daemon, "hold 300ms @30, hold 1h @40")
    daemon.result("set", name="heat", paused=True)
    found = burner(daemon)
    position = found["profile"]["position"]
    assert (found["state"], found["target"], found["ends"]) == ("paused", 0.0, None)
    assert found["reason"] == "paused; goes on at 30 %" or position >= 0.3
    daemon.result("ping")
    assert place(daemon)["position"] == position
    daemon.result("set", name="heat", paused=False)
    wait_until(lambda: place(daemon)["segment"] == 2)
    assert burner(daemon)["asked"] == 40
    assert burner(daemon)["ends"] is not None


def test_skip_goes_to_the_next_segment_also_while_it_is_paused(daemon: RunningDaemon) -> None:
    start(daemon, "hold 1h @30, hold 1h @20, hold 1h @10")
    daemon.result("set", name="heat", skip=True)
    assert (place(daemon)["segment"], burner(daemon)["asked"]) == (2, 20.0)
    daemon.result("set", name="heat", paused=True)
    daemon.result("set", name="heat", skip=True)
    assert place(daemon)["position"] == 7200
    daemon.result("set", name="heat", paused=False)
    assert (place(daemon)["segment"], burner(daemon)["asked"]) == (3, 10.0)
    error = daemon.error("set", name="heat", skip=True)
    assert (error["code"], "the last segment" in error["message"]) == ("illegal-move", True)


def test_a_segment_that_is_extended_lasts_longer(daemon: RunningDaemon) -> None:
    start(daemon, "hold 1h @30, hold 1h @20")
    before = burner(daemon)["ends"]
    daemon.result("set", name="heat", extend=600)
    found = burner(daemon)
    assert found["profile"]["seconds"] == 7800
    assert found["profile"]["now_seconds"] == 4200
    assert found["ends"] == pytest.approx(before + 600, abs=1)


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"load": 5, "skip": True}, "invalid-params", "load and skip at once"),
        ({"load": 5, "ramp_to": 7}, "invalid-params", "load and ramp_to at once"),
        ({"over": 5}, "invalid-params", "over is the time of a ramp"),
        ({"profile": "holt"}, "bad-profile", "column 1"),
        ({"traces": [[[0, 1], [1, 2]]], "load": 5}, "invalid-params", "no profile that names them"),
        ({"ramp_to": 101}, "invalid-params", "<= 100"),
        ({"extend": 0}, "invalid-params", "> 0"),
        ({"skip": False}, "invalid-params", "nothing to change"),
        ({}, "invalid-params", "nothing to change"),
    ],
)
def test_what_cannot_be_set_is_refused_and_changes_nothing(
    daemon: RunningDaemon, changes: dict[str, Any], code: str, said: str
) -> None:
    start(daemon, "hold 1h @30, hold 1h @20")
    error = daemon.error("set", name="heat", **changes)
    assert error["code"] == code
    assert said in error["message"]
    assert (place(daemon)["segment"], burner(daemon)["asked"]) == (1, 30.0)


@pytest.mark.parametrize("changes", [{"skip": True}, {"ramp_to": 5}, {"extend": 5}, {"profile": "hold 1m @5"}])
def test_a_pool_has_no_profile(daemon: RunningDaemon, changes: dict[str, Any]) -> None:
    error = daemon.error("set", name="default", **changes)
    assert (error["code"], "is a pool" in error["message"]) == ("invalid-params", True)


# --- a process that is replaced --------------------------------------------------------------------------------------


def test_a_process_that_is_replaced_goes_on_where_the_profile_is(daemon: RunningDaemon) -> None:
    start(daemon, "hold 200ms @30, hold 1h @40")
    wait_until(lambda: place(daemon)["segment"] == 2)
    killed, before = burner(daemon)["workers"][0]["pid"], place(daemon)["position"]
    os.kill(killed, signal.SIGKILL)

    def replaced() -> bool:
        worker = burner(daemon)["workers"][0]
        return worker["pid"] not in (None, killed) and worker["cpu_seconds"] > 0

    wait_until(replaced)
    found = burner(daemon)
    assert found["state"] == "running"
    assert (found["profile"]["segment"], found["asked"]) == (2, 40.0)
    assert found["profile"]["position"] >= before
    assert found["workers"][0]["target"] == pytest.approx(40, abs=0.01)


# --- the Python client, which reads the traces -----------------------------------------------------------------------


def test_the_client_reads_a_trace_and_the_daemon_follows_it(client, daemon, tmp_path, monkeypatch) -> None:
    (tmp_path / "day.csv").write_text("t,idle,cpu\n0,9,35\n3600,9,45\n7200,9,5\n")
    monkeypatch.chdir(tmp_path)
    client.start_burner("heat", profile="trace day.csv col=cpu interp=linear")
    found = burner(daemon)
    assert 35 <= found["asked"] < 36
    assert found["profile"]["seconds"] == 7200
    assert found["profile"]["text"] == "trace day.csv col=cpu interp=linear"
    client.set("heat", profile="trace day.csv col=cpu; x3600; repeat forever")
    assert place(daemon)["now_seconds"] == 3.0
    client.set("heat", profile="trace day.csv col=cpu scale 0.5")
    assert burner(daemon)["asked"] == 17.5


def test_the_client_steers(client, daemon) -> None:
    client.start_burner("heat", profile="hold 1h @30, hold 1h @20", workers=2)
    client.set("heat", skip=True)
    assert burner(daemon)["asked"] == 20
    client.set("heat", extend=60.0)
    assert place(daemon)["seconds"] == 7260
    client.set("heat", ramp_to=10, over=0.2)
    wait_until(lambda: burner(daemon)["asked"] == 10)
    info = client.status("heat").burners[0]
    assert info.profile is not None
    assert info.profile.segment == 2
    client.set("heat", load=5)
    assert client.status("heat").burners[0].profile is None
    with pytest.raises(IllegalMove, match="follows no profile"):
        client.set("heat", skip=True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b"\xff\xfe\x00", "is no text"),
        (b"t,cpu\n0,1\n1,\n", "day.csv:3: a gap"),
        (b"t,cpu\n0,1\n1,idle\n", "day.csv:3: 'idle' in column 'cpu' is no number"),
        (b"t,cpu\n0,1\n1,400\n", "day.csv:3: 400 in column 'cpu' is outside 0 to 100"),
    ],
)
def test_a_trace_that_is_wrong_is_refused_by_the_client(client, daemon, tmp_path, monkeypatch, content, said) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "day.csv").write_bytes(content)
    with pytest.raises(BadProfile) as caught:
        client.start_burner("heat", profile="trace day.csv")
    assert said in caught.value.message
    assert caught.value.hint or caught.value.data
    assert daemon.result("status")["burners"] == []


def test_a_trace_that_is_no_file_is_refused_and_does_not_hang(client, tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadProfile, match="is no file"):
        client.start_burner("heat", profile=f"trace {tmp_path / 'pipe'}")


# --- TOML ------------------------------------------------------------------------------------------------------------


def test_a_configured_burner_follows_its_profile_with_a_trace_beside_the_file(
    start_daemon: StartDaemon, short_path: Path
) -> None:
    (short_path / "1").mkdir()
    (short_path / "1" / "day.csv").write_text("0,35\n3600,45\n")
    config = NO_POOL + '[burner.heat]\nprofile = """\n  trace day.csv  # yesterday\n  x2, hold 1m @5"""\n'
    daemon = start_daemon(config=config)
    wait_until(lambda: daemon.result("status")["burners"])
    assert burner(daemon)["asked"] == 35
    assert place(daemon)["now_seconds"] == 3600
    assert place(daemon)["segments"] == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('profile = "hold @5"', "burner.heat.profile: column 6: expected a duration"),
        ('profile = "trace nowhere.csv"', "burner.heat.profile: the trace nowhere.csv cannot be read"),
        ("workers = 2", "the key 'load' is missing"),
    ],
)
def test_a_wrong_profile_in_the_configuration_is_told_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f"[burner.heat]\n{line}\n")
    done = subprocess.run(
        [sys.executable, "-m", "stokerd", "--check", "--config", config], capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    assert said in done.stderr
    assert f"{config}:" in done.stderr


# --- the command line ------------------------------------------------------------------------------------------------


def run(daemon: RunningDaemon, *argv: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "stoker", *argv, "--socket", daemon.endpoint],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    return done


def test_the_verbs_of_a_profile(daemon: RunningDaemon, tmp_path: Path) -> None:
    (tmp_path / "day.txt").write_text("hold 1h @30,  # morning\nramp ->20 over 1h, step 10")
    assert run(daemon, "start", "burner", "heat", "--profile", "@day.txt", cwd=tmp_path).returncode == 0
    shown = run(daemon, "status").stdout
    assert "hold 1h @30  1/3  0s of 1h 00m" in shown
    assert run(daemon, "set", "heat", "--skip").returncode == 0
    assert "ramp ->20 over 1h  2/3" in run(daemon, "status").stdout
    assert run(daemon, "set", "heat", "--extend", "5m").returncode == 0
    assert json.loads(run(daemon, "status", "--json").stdout)["burners"][0]["profile"]["now_seconds"] == 3900
    assert run(daemon, "set", "heat", "--pause").returncode == 0
    assert run(daemon, "set", "heat", "--resume").returncode == 0
    assert run(daemon, "set", "heat", "--ramp-to", "12", "--over", "100ms").returncode == 0
    wait_until(lambda: burner(daemon)["asked"] == 12)
    assert run(daemon, "set", "heat", "--profile", "hold 1h @3").returncode == 0
    assert burner(daemon)["asked"] == 3
    assert run(daemon, "set", "heat", "--load", "4").returncode == 0
    assert burner(daemon)["profile"] is None


def test_a_wrong_profile_on_the_command_line_is_a_usage_error_with_a_caret(daemon: RunningDaemon) -> None:
    done = run(daemon, "start", "burner", "heat", "--profile", "hold 1m @5, hold @60")
    assert done.returncode == 2
    assert done.stderr.splitlines()[:3] == [
        'stoker: column 18: expected a duration such as 10m, found "@60"',
        "    hold 1m @5, hold @60",
        "                     ^",
    ]
    assert "hint:" in done.stderr


def test_a_load_in_the_foreground_follows_a_profile_to_its_end(daemon: RunningDaemon) -> None:
    done = run(daemon, "burn", "1", "--profile", "hold 1200ms @20, step 10 for 300ms")
    assert done.returncode == 0, done.stderr
    assert "hold 1.2s @20  1/2" in done.stdout
    assert "no process left" in done.stdout
    assert endings(daemon)[0].startswith("its profile of 1.5s is over")
