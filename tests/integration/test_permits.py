"""A daemon for the strict: listed functions and programs only, no pickles, and bounds on what a peer controls."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import zmq
from tests.daemons import RunningDaemon

import stoker
from stoker.errors import Busy, PermissionDenied, TooManyRequests
from stoker.session import Exchange

STRICT = """
[security]
allow_functions = ["builtins:a*", "math:sqrt"]
allow_commands = ["/bin/echo", "true"]
pickle = false
environments = false
[pool.default]
workers = 1
"""
TIGHT = """
[limits]
objects = 3
object_bytes = 2048
objects_bytes = 4096
pools = 1
processes = 1
session_requests = 4
function_bytes = 2048
[pool.default]
workers = 1
"""
HASH = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def place():
    path = Path(tempfile.mkdtemp(prefix="stk-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def strict(place):
    daemon = RunningDaemon(place / "strict", config=STRICT)
    yield daemon
    daemon.close()


@pytest.fixture(scope="module")
def tight(place):
    daemon = RunningDaemon(place / "tight", config=TIGHT)
    yield daemon
    daemon.close()


def submit(daemon, **spec):
    return daemon.call("submit", jobs=[spec], wait=30.0)


def test_a_listed_function_is_called_by_name(strict):
    (job,) = submit(strict, call={"function": "builtins:abs", "args": [-3]})["result"]["jobs"]
    assert (job["state"], job["value"]) == ("done", 3)
    (job,) = submit(strict, command={"argv": ["/bin/echo", "hello"]})["result"]["jobs"]
    assert job["state"] == "done"


@pytest.mark.parametrize(
    "params",
    [
        {"jobs": [{"call": {"function": "os:system", "args": ["true"]}}]},
        {"jobs": [{"call": {"function": "builtins:eval", "args": ["1"]}}]},
        {"jobs": [{"call": {"function": "builtins:abs", "args": [1]}}, {"call": {"function": "os:getpid"}}]},
        {"jobs": [{"command": {"argv": ["/bin/sh", "-c", "true"]}}]},
        {"jobs": [{"command": {"argv": ["true"], "env": {"LD_PRELOAD": "/tmp/x.so"}}}]},
        {"jobs": [{"pickle": {"function": "builtins:abs", "lengths": b"\1\0\0\0"}}]},
        {"kind": "process", "name": "p", "argv": ["sleep", "1"]},
        {"kind": "process", "name": "p", "argv": ["true"], "env": {"A": "b"}},
        {"kind": "process", "name": "p", "argv": ["true"], "ready_command": ["sh", "-c", "true"]},
        {"kind": "process", "name": "p", "call": {"function": "os:getpid"}},
        {"kind": "process", "name": "p", "pickle": {}},
        {"kind": "pool", "name": "p", "initializer": {"call": {"function": "os:getpid"}}},
        {"kind": "pool", "name": "p", "initializer": {"pickle": {"function": HASH, "lengths": b"\1\0\0\0"}}},
        {"kind": "burner", "name": "b", "load": 1.0, "generator": "call", "call": "os:getpid"},
        {"kind": "burner", "name": "b", "load": 1.0, "generator": "stress-ng:cpu"},
        {"kind": "burner", "name": "b", "load": 1.0, "generator": "disk", "folder": "/tmp"},
        {"kind": "burner", "name": "b", "load": 1.0, "guards": ["probe:/bin/sh -c true:abort"]},
    ],
    ids=lambda params: str(params)[:60],
)
def test_whatever_is_not_listed_is_refused_by_every_way_in(strict, params):
    method = "submit" if "jobs" in params else "start"
    error = strict.error(method, payload=(b"x",), **params)
    assert error["code"] == "permission-denied"
    assert "security." in error["hint"] or "by name" in error["hint"]


def test_no_pickle_gets_in_by_any_way(strict):
    assert strict.error("upload", payload=(b"x",), function=HASH)["code"] == "permission-denied"
    strict.result("object.open", kind="queue", name="q")
    put = {"id": "q", "lengths": [1], "encoding": "pickle"}
    assert strict.error("queue.put", payload=(b"x",), **put)["code"] == "permission-denied"
    for kind, more in (("dict", {"keys": ["k"]}), ("list", {})):
        strict.result("object.open", kind=kind, name=kind)
        ways = {"id": kind, "lengths": [1], "encodings": ["msgpack", "pickle"], **more}
        assert strict.error(f"{kind}.set", payload=(b"x",), **ways)["code"] == "permission-denied"


def test_a_python_client_is_told_so_and_not_left_waiting(strict):
    with stoker.Client(strict.endpoint) as client, pytest.raises(PermissionDenied, match="takes no pickles"):
        client.submit(lambda: 1).result(30)


def test_what_a_client_brings_of_its_own_is_left_out(strict, tmp_path):
    (tmp_path / "math.py").write_text("raise SystemExit('not the real one')")
    (tmp_path / "asyncio_evil.py").write_text("")
    environment = {"executable": "/bin/false", "cwd": str(tmp_path), "path": [str(tmp_path)], "env": {"A": "b"}}
    (job,) = submit(strict, call={"function": "math:sqrt", "args": [4.0]}, environment=environment)["result"]["jobs"]
    assert (job["state"], job["value"]) == ("done", 2.0)


@pytest.mark.parametrize("left_open", ["pickle = true", "environments = true", 'allow_commands = ["*"]'])
def test_a_list_of_functions_that_one_can_get_around_is_a_configuration_error(short_path, left_open):
    rest = {"pickle": "false", "environments": "false", "allow_commands": "[]"}
    rest.pop(left_open.split()[0])
    lines = "\n".join(f"{key} = {value}" for key, value in rest.items())
    (short_path / "c.toml").write_text(f'[security]\nallow_functions = ["m:*"]\n{lines}\n{left_open}\n')
    done = subprocess.run(
        [sys.executable, "-m", "stokerd", "--check", "--config", short_path / "c.toml"], capture_output=True, text=True
    )
    assert (done.returncode, left_open.split()[0] in done.stderr) == (78, True), done.stderr


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_there_are_no_more_shared_objects_or_bytes_than_may_be(tight):
    for number in range(3):
        tight.result("object.open", kind="queue", name=f"q{number}")
    assert tight.error("object.open", kind="queue", name="one-more")["code"] == "busy"
    big = {"id": "q0", "lengths": [3000]}
    assert tight.error("queue.put", payload=(b"x" * 3000,), **big)["code"] == "object-too-large"
    for name in ("q0", "q1"):
        tight.result("queue.put", id=name, lengths=[1500], payload=(b"x" * 1500,))
    error = tight.error("queue.put", id="q2", lengths=[1500], timeout=0.0, payload=(b"x" * 1500,))
    assert error["code"] in ("busy", "queue-full")
    for number in range(3):
        tight.result("object.drop", id=f"q{number}")


def test_there_are_no_more_pools_and_processes_than_may_be(tight):
    assert "limits.pools" in tight.error("start", kind="pool", name="more", workers=0)["hint"]
    tight.result("start", kind="process", name="one", argv=["sleep", "600"])
    assert "limits.processes" in tight.error("start", kind="process", name="two", argv=["sleep", "600"])["hint"]
    tight.result("stop", names=["one"])


def test_one_client_has_no_more_requests_waiting_than_may_be(tight):
    with stoker.Client(tight.endpoint) as client:
        exchanges = []
        client.connection.call("object.open", {"kind": "event", "name": "never"})
        for _ in range(5):
            exchanges.append(Exchange())
            client.connection.send("event.wait", {"id": "never"}, (), exchanges[-1])
        client.connection.wait(exchanges[-1], 30)
        with pytest.raises(TooManyRequests):
            exchanges[-1].outcome()
        assert not any(exchange.settled for exchange in exchanges[:-1])
        client.connection.call("object.drop", {"id": "never"})


def test_uploaded_functions_of_one_client_are_bounded(tight):
    with stoker.Client(tight.endpoint) as client:
        references = []
        for letter in b"abc":
            code = bytes([letter]) * 1000
            references.append(f"sha256:{hashlib.sha256(code).hexdigest()}")
            client.connection.call("upload", {"function": references[-1]}, (code,))
        spec = {"pickle": {"function": references[0], "lengths": b"\1\0\0\0"}}
        with pytest.raises(Busy, match="not known here"):
            client.connection.call("submit", {"jobs": [spec]}, (b"x",))


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("submit", {"jobs": [{"command": {"argv": ["true", "x" * (1 << 21)]}}]}),
        ("submit", {"jobs": [{"command": {"argv": ["true"], "env": {"A": "x" * (1 << 21)}}}]}),
        ("start", {"kind": "process", "name": "p", "argv": ["true", "x" * (1 << 21)]}),
        ("hello", {"environment": {"executable": "/bin/true", "cwd": "/", "path": ["x" * (1 << 21)]}}),
    ],
    ids=["argv", "variables", "process", "environment"],
)
def test_what_no_program_could_be_started_with_is_refused(tight, method, params):
    assert "at most 2097152" in tight.error(method, **params)["message"]


def test_a_subscription_that_is_too_long_ends_its_connection_and_nothing_else(tight):
    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        subscriber.linger = 0
        monitor = subscriber.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        subscriber.connect(f"ipc://{tight.path.with_name('s.events.sock')}")
        subscriber.subscribe(b"x" * 5000)
        monitor.rcvtimeo = 30_000
        assert monitor.recv_multipart()
        subscriber.disable_monitor()
        monitor.close()
    with stoker.Client(tight.endpoint) as client, client.listen(["pool."]):
        pass
