"""``start`` of a Python target, attached and not, and ``signal``, frame by frame."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.daemons import RunningDaemon, wait_until
from tests.peers import Peer

PICKLE: dict[str, Any] = {"kind": "process", "name": "p", "restart": "never", "pickle": {"name": "a test's"}}


@pytest.fixture(scope="module")
def lasting() -> Iterator[RunningDaemon]:
    """One for all tests of this file: each leaves it as it was."""
    home = Path(tempfile.mkdtemp(prefix="stk-"))
    daemon = RunningDaemon(home, config="[pool.default]\nworkers = 1\n")
    yield daemon
    daemon.close()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def daemon(lasting: RunningDaemon) -> Iterator[RunningDaemon]:
    yield lasting
    wait_until(lambda: not lasting.result("status")["processes"])


def pickled(function: Any, *args: Any) -> tuple[bytes]:
    return (pickle.dumps(partial(function, *args)),)


def hello(peer: Peer) -> None:
    here = {"executable": sys.executable, "cwd": os.getcwd(), "path": sys.path}  # noqa: PTH109 - as a client's
    peer.result("hello", environment=here)


def follow(peer: Peer) -> tuple[bytes, bytes, dict[str, Any]]:
    """All that an attached process wrote, and its end."""
    out, err, numbers = b"", b"", []
    while True:
        head, payload = peer.receive()
        if not head.get("more"):
            assert numbers == sorted(set(numbers))
            return out, err, head["result"]
        out, err = out + payload[0], err + payload[1]
        numbers.append(head["result"]["number"])


def start(peer: Peer, payload: tuple[bytes, ...], **params: Any) -> dict[str, Any]:
    peer.post("start", payload=payload, **(PICKLE | {"attached": True} | params))
    head, _ = peer.receive()
    assert head["more"], head
    result: dict[str, Any] = head["result"]
    return result


def test_an_attached_process_tells_its_output_and_its_end(daemon: RunningDaemon) -> None:
    with Peer(daemon.endpoint) as peer:
        hello(peer)
        begun = start(peer, pickled(os.write, 1, b"hello"))
        assert begun["name"] == "p"
        out, err, end = follow(peer)
        assert (out, err) == (b"hello", b"")
        assert end == {"ended": True, "exit_code": 0, "reason": "ended with exit code 0"}
        assert peer.result("status")["processes"] == []


def test_output_that_is_long_arrives_whole(daemon: RunningDaemon) -> None:
    size = 8 * 1024 * 1024
    with Peer(daemon.endpoint) as peer:
        hello(peer)
        start(peer, pickled(subprocess.run, ["head", "-c", str(size), "/dev/zero"]))
        out, _, end = follow(peer)
        assert (len(out), end["exit_code"]) == (size, 0)


def test_a_large_pickle_arrives_whole(daemon: RunningDaemon) -> None:
    data = os.urandom(4 * 1024 * 1024)
    with Peer(daemon.endpoint) as peer:
        hello(peer)
        start(peer, pickled(os.write, 1, data))
        assert follow(peer)[0] == data


def test_an_exception_is_told_on_stderr(daemon: RunningDaemon) -> None:
    with Peer(daemon.endpoint) as peer:
        hello(peer)
        start(peer, pickled(int, "no number"))
        _, err, end = follow(peer)
        assert end["exit_code"] == 1
        assert b"ValueError" in err


def test_what_cannot_be_unpickled_ends_with_a_traceback(daemon: RunningDaemon) -> None:
    with Peer(daemon.endpoint) as peer:
        hello(peer)
        start(peer, (b"garbage",))
        _, err, end = follow(peer)
        assert end["exit_code"] == 1
        assert b"UnpicklingError" in err


def test_the_process_of_a_peer_that_goes_is_ended(daemon: RunningDaemon) -> None:
    with Peer(daemon.endpoint) as peer:
        hello(peer)
        start(peer, pickled(time.sleep, 1000))
        peer.post("bye", number=2)
        wait_until(lambda: not daemon.result("status")["processes"])


def test_an_attached_process_that_is_stopped_by_another_still_tells_its_end(daemon: RunningDaemon) -> None:
    with Peer(daemon.endpoint) as peer:
        hello(peer)
        start(peer, pickled(time.sleep, 1000), stop_signal="SIGKILL")
        assert daemon.result("stop", names=["p"]) == {"stopped": ["p"], "survivors": 0}
        assert follow(peer)[2]["exit_code"] == -9


def test_a_signal_is_sent_and_nothing_more(daemon: RunningDaemon) -> None:
    with Peer(daemon.endpoint) as peer:
        hello(peer)
        start(peer, pickled(time.sleep, 1000))
        assert daemon.result("signal", name="p", signal="SIGTERM") == {"sent": True}
        assert follow(peer)[2]["exit_code"] == -15
    assert daemon.error("signal", name="p", signal="SIGTERM")["code"] == "no-such-process"
    assert daemon.error("signal", name="p", signal="SIGNAL")["code"] == "invalid-params"


def test_a_process_whose_call_is_by_name_is_started_again_as_its_policy_says(daemon: RunningDaemon) -> None:
    call = {"function": "os:write", "args": [1, b"x"]}
    daemon.result("start", kind="process", name="again", call=call, restart="always")
    wait_until(lambda: daemon.exchange("logs", id="again")[1][0].startswith(b"xx"))
    daemon.result("stop", names=["again"])


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({}, "nothing"),
        ({"argv": ["true"], "call": {"function": "os:getpid"}}, "argv and call"),
        ({"call": {"function": "getpid"}}, "not package.module:function"),
        ({"call": {"function": "os:getpid", "many": [[]]}}, "many is for jobs"),
        ({"pickle": {}}, "no payload frame 0"),
        ({"pickle": {"payload": 3}}, "no payload frame 3"),
        ({"argv": ["true"], "attached": True}, "this peer has none"),
    ],
)
def test_what_makes_no_sense_is_refused(daemon: RunningDaemon, params: dict[str, Any], says: str) -> None:
    error = daemon.error("start", kind="process", name="p", **params)
    assert error["code"] == "invalid-params"
    assert says in error["message"]


def test_an_attached_process_is_not_restarted(daemon: RunningDaemon) -> None:
    with Peer(daemon.endpoint) as peer:
        hello(peer)
        error = peer.error("start", **(PICKLE | {"attached": True, "restart": "always"}), payload=pickled(int))
        assert "not started again" in error["message"]


def test_a_function_that_is_not_there_is_an_error_of_start(daemon: RunningDaemon) -> None:
    for function, says in (
        ("no_such_module:f", "No module named"),
        ("os:no_such", "no_such"),
        ("os:name", "can't be called"),
    ):
        error = daemon.error("start", kind="process", name="p", call={"function": function})
        assert error["code"] == "start-failed"
        assert says in error["message"]
    assert daemon.result("status")["processes"] == []


def test_the_configuration_starts_python_functions_too(start_daemon) -> None:
    config = """
[process.written]
call = "os:write"
args = [1, "no bytes"]
restart = "never"
[process.slept]
call = "time:sleep"
args = [1000]
"""
    configured = start_daemon(config=config)
    wait_until(lambda: b"a bytes-like object is required" in configured.exchange("logs", id="written")[1][1])
    wait_until(lambda: [p["state"] for p in configured.result("status", names=["slept"])["processes"]] == ["up"])
