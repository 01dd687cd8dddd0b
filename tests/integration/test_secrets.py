"""What is secret shows up nowhere: status, events, log, files that others can read, the process list."""

from __future__ import annotations

import contextlib
import json
import shutil
import stat
import sys
import tempfile
from pathlib import Path

import msgpack
import psutil
import pytest
from tests.daemons import DEADLINE, RunningDaemon, wait_until
from tests.keys import House

import stoker
from stoker.protocol.roles import Role

SECRET = "s3cr3t-" + "x" * 8
"""What is looked for; each place has it with a word of its own behind it."""
CONFIG = f"""
[pool.default]
workers = 1
[process.configured]
argv = ["sleep", "600"]
env = {{ TOKEN = "{SECRET}-configured-env" }}
"""


@pytest.fixture(scope="module")
def told():
    """A daemon that has been told secrets in every way there is."""
    place = Path(tempfile.mkdtemp(prefix="stk-"))
    roles = {"ada": Role.ADMIN, "olga": Role.OBSERVE}
    house = House(place / "keys", roles, CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MY_TOKEN", f"{SECRET}-daemon-env")
        daemon = RunningDaemon(place / "d", config=house.config)
    with stoker.Client(daemon.endpoint) as client:
        client.submit(len, f"{SECRET}-argument").result(DEADLINE)
        with contextlib.suppress(ValueError):
            client.options(retries=1, retry_on=["ValueError"]).submit(int, f"{SECRET}-exception").result(DEADLINE)
        daemon.result(
            "submit",
            wait=DEADLINE,
            jobs=[
                {
                    "command": {
                        "argv": ["sh", "-c", "cat >/dev/null"],
                        "env": {"TOKEN": f"{SECRET}-command-env"},
                        "stdin": f"{SECRET}-stdin".encode(),
                    }
                },
                {
                    "call": {"function": "builtins:len", "args": [f"{SECRET}-call"]},
                    "environment": {
                        "executable": sys.executable,
                        "cwd": "/",
                        "env": {"TOKEN": f"{SECRET}-environment"},
                    },
                },
            ],
        )
        daemon.result("start", kind="process", name="p", argv=["sleep", "600"], env={"TOKEN": f"{SECRET}-process-env"})
        stoker.Queue("q", client=client).put(f"{SECRET}-item")
        yield daemon, client, house
    daemon.close()
    shutil.rmtree(place, ignore_errors=True)


def places_of(text):
    """The secrets in a text, by the word behind them."""
    return sorted({part.split('"')[0].split("'")[0][:20] for part in str(text).split(f"{SECRET}-")[1:]})


def test_status_config_jobs_and_events_hold_no_secret_but_what_an_exception_said(told):
    daemon, _client, _house = told
    for method in ("status", "config", "events", "keys"):
        assert places_of(msgpack.packb(daemon.call(method)).decode("latin1")) == [], method
    for job in daemon.result("jobs")["jobs"]:
        assert places_of({**job, "error": None, "attempts": None}) == []


def test_the_log_holds_no_secret_though_it_tells_everything(told):
    daemon, client, _house = told
    client.submit(abs, -1).result(DEADLINE)
    assert '"level": "debug"' in daemon.log
    assert places_of(daemon.log) == []


def test_no_command_line_of_ours_holds_a_secret(told):
    daemon, _client, house = told
    lines = []
    for pid in daemon.family():
        with contextlib.suppress(psutil.Error):
            lines += psutil.Process(pid).cmdline()
    assert len(lines) > 3
    assert places_of(lines) == []
    secret = Path(house.secret("server")).read_text().split('secret-key = "')[1].split('"')[0]
    assert secret not in " ".join(lines) + daemon.log + json.dumps(daemon.call("config"))


def test_what_is_written_to_disk_is_closed_to_others(told):
    daemon, client, _house = told
    client.options(durable=True).submit(len, f"{SECRET}-durable").result(DEADLINE)
    state = daemon.directory / "state"
    files = [path for path in state.rglob("*") if path.is_file()]
    assert files
    for path in files:
        inside = [path, *path.parents][: len(path.relative_to(state).parts)]
        assert any(stat.S_IMODE(each.stat().st_mode) & 0o077 == 0 for each in inside), path


def test_an_observer_sees_neither_arguments_nor_what_exceptions_say(told):
    daemon, _client, house = told
    daemon.result("start", kind="process", name="argued", argv=["sleep", "600"])
    daemon.call("start", kind="process", name="shell", argv=["sh", "-c", "sleep 600", f"{SECRET}-argv"])
    with stoker.Client(house.url, key=house.secret("olga"), server_key=house.server) as olga:
        for method in ("status", "jobs", "events"):
            assert places_of(msgpack.packb(olga.connection.call(method, {})[0]).decode("latin1")) == [], method
        shell = next(each for each in olga.status().processes if each.name == "shell")
        assert shell.argv == ("sh", "(not shown)")
    with stoker.Client(daemon.endpoint) as client:
        shell = next(each for each in client.status().processes if each.name == "shell")
        assert shell.argv[-1] == f"{SECRET}-argv"


def test_a_request_that_fails_is_logged_without_what_it_held(told):
    daemon, _client, _house = told
    for params in (
        {"jobs": [{"call": {"function": "m:f", "args": [1]}, "name": [f"{SECRET}-name"]}]},
        {"jobs": [{"command": {"argv": ["true"], "env": {"": f"{SECRET}-value"}}}]},
    ):
        assert "error" in daemon.call("submit", **params)
    wait_until(lambda: daemon.call("ping"))
    assert places_of(daemon.log) == []
