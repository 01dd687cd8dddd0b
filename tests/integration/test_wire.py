"""What the control socket of a real daemon says to good and to bad input."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq
from tests.daemons import RunningDaemon, alive, wait_until
from tests.peers import Peer

MODULES = {
    "good": """
import os, time
def echo(value):
    return value
def until(path):
    "Return the pid once there is such a file."
    open(path + ".begun", "w").close()
    while not os.path.exists(path):
        time.sleep(0.005)
    return os.getpid()
number = 5
""",
    "raises_at_import": "raise RuntimeError('not today')",
    "exits_at_import": "import sys; sys.exit(3)",
    "wrong_syntax": "def",
    "imports_nothing": "import there_is_no_such_module",
}
START: dict[str, Any] = {"kind": "burner", "name": "heat", "load": 50, "workers": 1}


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A directory with modules that jobs name."""
    path = Path(tempfile.mkdtemp(prefix="stk-"))
    for name, text in MODULES.items():
        (path / f"{name}.py").write_text(text)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def lasting(home: Path) -> Iterator[RunningDaemon]:
    """A daemon that all tests of this file share which leave it as it was: what they do to it adds up."""
    daemon = RunningDaemon(home / "d", config="[pool.default]\nworkers = 2\n", cwd=home)
    yield daemon
    daemon.close()


@pytest.fixture
def peer(lasting: RunningDaemon) -> Iterator[Peer]:
    with Peer(lasting.endpoint) as peer:
        yield peer


@pytest.fixture
def req(lasting: RunningDaemon) -> Iterator[Peer]:
    with Peer(lasting.endpoint, zmq.REQ) as req:
        yield req


def pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


PING = pack({"v": 1, "id": 1, "method": "ping", "params": {}})


def call(function: str, *args: Any) -> dict[str, Any]:
    return {"call": {"function": function, "args": list(args)}}


def job_of(reply: dict[str, Any]) -> dict[str, Any]:
    """The one job in a reply."""
    (job,) = reply["jobs"]
    assert isinstance(job, dict)
    return job


# --- not a message, or not one that makes sense


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([b""], "malformed-message"),
        ([b"", b""], "malformed-message"),
        ([b"hello"], "malformed-message"),
        ([b"hello", PING], "malformed-message"),
        ([PING], "malformed-message"),
        ([b"", b"hello"], "malformed-message"),
        ([b"", b"\xc1"], "malformed-message"),
        ([b"", PING + PING], "malformed-message"),
        ([b"", PING[:-1]], "malformed-message"),
        ([b"", b"\x91" * 10_000], "malformed-message"),
        ([b"", b"\x81\xa1a" * 10_000], "malformed-message"),
        ([b"", b"\xdf\xff\xff\xff\xff"], "malformed-message"),
        ([b"", pack([1, 2])], "malformed-message"),
        ([b"", pack({1: 2})], "malformed-message"),
        ([b"", pack({})], "malformed-message"),
        ([b"", pack({"id": 1.5, "method": "ping"})], "malformed-message"),
        ([b"", pack({"id": 1, "method": "ping", "parms": {}})], "malformed-message"),
        ([b"", pack({"id": 1, "method": "ping", "params": msgpack.ExtType(5, b"x")})], "malformed-message"),
        ([b"", pack({"id": 1, "v": 2, "method": "ping"})], "unsupported-version"),
        ([b"", pack({"id": 1, "v": "1", "method": "ping"})], "unsupported-version"),
        ([b"", b"\x83\xa2id\x01\xa6method\xa4ping\xa1v" + b"\x91" * 1000 + b"\xc0"], "unsupported-version"),
        ([b"", b"\x82\xa2id\x01\xa6method" + b"\x91" * 1000 + b"\xc0"], "unknown-method"),
        ([b"", b"\x83\xa2id\x01\xa6method\xa4ping\xa6params" + b"\x91" * 1000 + b"\xc0"], "invalid-params"),
        ([b"", pack({"id": 1})], "unknown-method"),
        ([b"", pack({"id": 1, "method": "pong"})], "unknown-method"),
        ([b"", pack({"id": 1, "method": "ping", "params": 5})], "invalid-params"),
        ([b"", pack({"id": 1, "method": "ping", "params": {"x": 1}})], "invalid-params"),
        ([b"", pack({"id": 1, "method": "ping", "params": {1: 1}})], "invalid-params"),
    ],
)
def test_what_is_no_request_gets_one_answer_that_says_why(peer: Peer, frames: list[bytes], code: str) -> None:
    error = peer.one_answer(*frames)["error"]
    assert error["code"] == code
    assert error["message"]
    assert error["hint"]


@pytest.mark.parametrize("bad", [b"", b"hello", b"\xc1", b"\x91" * 10_000, pack([]), pack({"id": 1, "method": "pong"})])
def test_a_req_client_gets_its_answer_too_and_can_go_on(req: Peer, bad: bytes) -> None:
    assert req.one_answer(bad)["error"]["code"] in {"malformed-message", "unknown-method"}


@pytest.mark.parametrize("first", [b"", b"x"])
def test_any_number_of_frames_gets_one_answer(peer: Peer, first: bytes) -> None:
    for count in range(1, 101):
        error = peer.one_answer(first, *[b"junk"] * (count - 1))["error"]
        assert error["code"] == "malformed-message"


def test_more_payload_frames_than_are_allowed_are_refused_by_the_id_of_the_request(peer: Peer) -> None:
    assert "result" in peer.one_answer(b"", PING, *[b""] * 64)
    refused = peer.one_answer(b"", PING, *[b""] * 65)
    assert refused["error"]["code"] == "malformed-message"
    assert refused["id"] == 1


@pytest.mark.parametrize("number", [0, -1, 2**64 - 1, -(2**63), "", "an id", "é" * 128])
def test_an_id_comes_back_as_it_was(peer: Peer, number: int | str) -> None:
    assert "result" in peer.ask("ping", number)
    assert "error" in peer.ask("pong", number)


@pytest.mark.parametrize(
    ("method", "params", "nearest"),
    [
        ("pnig", {}, "ping"),
        ("sumbit", {}, "submit"),
        ("submit", {"jbos": []}, "jobs"),
        ("submit", {"jobs": [{"call": {"function": "a:b", "argz": []}}]}, "args"),
        ("start", START | {"wrokers": 1}, "workers"),
    ],
)
def test_the_hint_names_what_was_meant(peer: Peer, method: str, params: dict[str, Any], nearest: str) -> None:
    assert f'"{nearest}"' in peer.error(method, **params)["hint"]


# --- too large


SMALL = "[limits]\nhead_bytes = 4096\nmessage_bytes = 65536\nframes = 4\njobs_per_request = 10\nevents = 5\n"


@pytest.fixture
def small(start_daemon: Callable[..., RunningDaemon]) -> RunningDaemon:
    """A daemon that takes little."""
    return start_daemon(config=SMALL + "[pool.default]\nworkers = 1\n")


def test_what_is_too_large_is_refused_and_the_connection_goes_on(small: RunningDaemon) -> None:
    with Peer(small.endpoint) as peer:
        head = peer.one_answer(b"", pack({"id": 1, "method": "ping", "params": {"x": "y" * 4096}}))
        assert head["error"]["code"] == "message-too-large"
        assert head["error"]["data"]["limit"] == 4096
        head = peer.one_answer(b"", pack({"id": "mine", "method": "ping"}), bytes(40_000), bytes(40_000))
        assert head["error"]["code"] == "message-too-large"
        assert head["error"]["data"]["limit"] == 65536
        assert head["id"] == "mine"
        assert "result" in peer.one_answer(b"", PING, bytes(65536 - len(PING)))
        assert peer.one_answer(b"", PING, bytes(65536 - len(PING) + 1))["error"]["code"] == "message-too-large"
        assert peer.one_answer(b"", PING, *[b""] * 5)["error"]["code"] == "malformed-message"
        many = {"call": {"function": "math:sqrt", "many": [[1]] * 6}}
        assert peer.error("submit", jobs=[many, many])["code"] == "invalid-params"
        assert len(peer.result("submit", jobs=[many, call("math:sqrt", 1)], wait=30)["jobs"]) == 7


def test_a_frame_beyond_all_bounds_ends_its_own_connection_only(small: RunningDaemon) -> None:
    with Peer(small.endpoint) as peer, Peer(small.endpoint) as other:
        other.ask("ping")
        events = peer.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        peer.ask("ping")
        peer.send(b"", PING, bytes(1 << 20))
        assert events.poll(30_000), "the connection was to end"
        peer.socket.disable_monitor()
        assert "result" in other.ask("ping")
    assert small.call("ping")["result"]


# --- functions that are not there


@pytest.mark.parametrize(
    ("function", "code", "says"),
    [
        ("math:nope", "function-not-found", "nope"),
        ("math:sqrtt", "function-not-found", "sqrt"),
        ("there_is_no_such_module:f", "function-not-found", "there_is_no_such_module"),
        ("imports_nothing:f", "function-not-found", "there_is_no_such_module"),
        ("math:pi", "function-not-found", "float"),
        ("good:number", "function-not-found", "int"),
        ("raises_at_import:f", "function-not-found", "not today"),
        ("exits_at_import:f", "function-not-found", "SystemExit"),
        ("wrong_syntax:f", "function-not-found", "SyntaxError"),
    ],
)
def test_a_function_that_is_not_there_fails_its_job_and_says_why(
    peer: Peer, function: str, code: str, says: str
) -> None:
    job = job_of(peer.result("submit", jobs=[call(function)], wait=30))
    assert job["state"] == "failed"
    assert job["error"]["code"] == code
    assert says in job["error"]["message"] + job["error"].get("hint", "")
    assert peer.result("submit", jobs=[call("good:echo", 1)], wait=30)["jobs"][0]["value"] == 1


@pytest.mark.parametrize(
    "function", ["", ":", "math", "math:", ":f", "math.sqrt", "a b:c", "math:f()", "math:f\n", "../x:y", "math:a:b"]
)
def test_what_does_not_name_a_function_is_refused_at_once(peer: Peer, function: str) -> None:
    error = peer.error("submit", jobs=[call(function)])
    assert error["code"] == "invalid-params"
    assert "module:name" in error["hint"]


def test_the_hint_names_the_function_that_was_meant(peer: Peer) -> None:
    assert '"math:factorial"' in peer.error("submit", jobs=[call("math.factorial", 5)])["hint"]


def test_what_a_function_raises_is_its_jobs_error(peer: Peer) -> None:
    job = job_of(peer.result("submit", jobs=[call("math:factorial", -1)], wait=30))
    assert job["error"]["code"] == "job-failed"
    assert job["error"]["type"] == "ValueError"
    assert "factorial" in job["error"]["traceback"] + job["error"]["message"]


@pytest.mark.parametrize(
    "value", [None, True, -(2**63), 2**64 - 1, 1e308, "é\0", b"\xff\0", [], {}, {"a": [1, {"b": None}]}, "x" * 100_000]
)
def test_a_value_comes_back_as_it_went(peer: Peer, value: Any) -> None:
    assert job_of(peer.result("submit", jobs=[call("good:echo", value)], wait=30))["value"] == value


def test_a_timestamp_comes_back_as_float_seconds_and_an_extension_is_refused(peer: Peer) -> None:
    job = job_of(peer.result("submit", jobs=[call("good:echo", msgpack.Timestamp(5, 500_000_000))], wait=30))
    assert job["value"] == 5.5
    assert job_of(peer.result("submit", jobs=[call("msgpack:Timestamp", 7)], wait=30))["value"] == 7.0
    job = job_of(peer.result("submit", jobs=[call("msgpack:ExtType", 5, b"x")], wait=30))
    assert job["error"]["code"] == "result-not-packable"


def test_a_value_without_a_form_in_messagepack_is_an_error_of_its_job(peer: Peer) -> None:
    job = job_of(peer.result("submit", jobs=[call("builtins:object")], wait=30))
    assert job["error"]["code"] == "result-not-packable"


def test_a_deep_value_comes_back_whole(peer: Peer) -> None:
    deep: Any = None
    for _ in range(400):
        deep = [deep]
    assert job_of(peer.result("submit", jobs=[call("good:echo", deep)], wait=30))["value"] == deep


# --- numbers and names


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"load": 101}, "load"),
        ({"load": -0.1}, "load"),
        ({"load": float("nan")}, "load"),
        ({"load": "50"}, "load"),
        ({"workers": 0}, "workers"),
        ({"workers": 10_000}, "workers"),
        ({"workers": -1}, "workers"),
        ({"seconds": 0}, "seconds"),
        ({"nice": 99}, "nice"),
        ({"name": "no spaces"}, "name"),
        ({"name": ""}, "name"),
        ({"generator": "fire"}, "kind of load"),
        ({"kind": "burnre"}, "kind"),
    ],
)
def test_a_burner_outside_its_bounds_is_refused(peer: Peer, change: dict[str, Any], says: str) -> None:
    error = peer.error("start", **(START | change))
    assert error["code"] == "invalid-params"
    assert says in error["message"]
    assert peer.result("status")["burners"] == []


@pytest.mark.parametrize("cpus", [[100_000], [0, 99_999], [2**63]])
def test_cores_that_are_not_there_are_refused_and_those_that_are_named(peer: Peer, cpus: list[int]) -> None:
    error = peer.error("start", **(START | {"cpus": cpus}))
    assert error["code"] == "invalid-params"
    assert str(max(os.sched_getaffinity(0))) in error["message"] + error["hint"]


def test_a_burner_is_started_set_and_stopped(peer: Peer) -> None:
    started = peer.result("start", **START)
    (pid,) = started["pids"]
    assert (started["kind"], started["name"]) == ("burner", "heat")
    assert alive({pid})
    taken = peer.error("start", **START)
    assert taken["code"] == "name-taken"
    assert peer.error("start", kind="pool", name="heat")["code"] == "name-taken"
    assert peer.error("start", kind="process", name="heat", argv=["true"])["code"] == "name-taken"
    assert peer.error("start", **(START | {"name": "default"}))["code"] == "name-taken"
    assert peer.result("set", name="heat", load=10) == {"kind": "burner", "name": "heat"}
    (burner,) = peer.result("status", names=["heat"])["burners"]
    assert burner["target"] == 10
    assert peer.error("set", name="heat", workers=0)["code"] == "invalid-params"
    assert peer.error("set", name="heat", load=200)["code"] == "invalid-params"
    assert peer.error("set", name="heat")["code"] == "invalid-params"
    assert '"heat"' in peer.error("stop", names=["haet"])["hint"]
    assert '"heat"' in peer.error("status", names=["haet"])["hint"]
    assert peer.result("stop", names=["heat"]) == {"stopped": ["heat"], "survivors": 0}
    assert not alive({pid})


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("set", {"name": "nobody", "load": 5}, "not-found"),
        ("set", {"name": "default", "load": 5}, "invalid-params"),
        ("set", {"name": "default", "workers": 2000}, "invalid-params"),
        ("stop", {"names": ["nobody"]}, "not-found"),
        ("stop", {"names": ["x" * 1_000_000]}, "not-found"),
        ("stop", {}, "invalid-params"),
        ("stop", {"names": ["default"]}, "illegal-move"),
        ("status", {"names": ["nobody"]}, "not-found"),
        ("status", {"names": ["x" * 1_000_000]}, "not-found"),
        ("start", {"kind": "pool", "name": "default"}, "name-taken"),
        ("submit", {"jobs": [call("math:sqrt", 1) | {"pool": "nobody"}]}, "no-such-pool"),
        ("jobs", {"ids": [999_999]}, "no-such-job"),
        ("jobs", {"pool": "nobody"}, "no-such-pool"),
        ("wait", {"ids": [999_999]}, "no-such-job"),
        ("result", {"id": 999_999}, "no-such-job"),
        ("cancel", {"ids": [999_999]}, "no-such-job"),
        ("retry", {"ids": [999_999]}, "no-such-job"),
        ("logs", {"id": 999_999}, "no-such-job"),
        ("logs", {"id": "nobody"}, "no-such-process"),
        ("logs", {"id": 999_999, "wait": 5}, "no-such-job"),
        ("submit", {"jobs": [{}]}, "invalid-params"),
        ("submit", {"jobs": [call("math:sqrt", 1) | {"command": {"argv": ["true"]}}]}, "invalid-params"),
        ("submit", {"jobs": [{"call": {"function": "a:b", "many": []}}]}, "invalid-params"),
        ("submit", {"jobs": [{"call": {"function": "a:b", "args": [1], "many": [[1]]}}]}, "invalid-params"),
        ("submit", {"jobs": [{"command": {"argv": []}}]}, "invalid-params"),
        ("submit", {"jobs": [{"command": {"argv": [""]}}]}, "invalid-params"),
        ("submit", {"jobs": [{"command": {"argv": ["a\0b"]}}]}, "invalid-params"),
        ("submit", {"jobs": [{"command": {"argv": ["true"], "cwd": "here"}}]}, "invalid-params"),
        ("submit", {"jobs": [{"command": {"argv": ["true"], "env": {"A=B": "c"}}}]}, "invalid-params"),
        ("submit", {"jobs": [{"command": {"argv": ["true"], "env": {"": "c"}}}]}, "invalid-params"),
        ("hello", {"environment": {"executable": "python", "cwd": "/"}}, "invalid-params"),
        ("hello", {"environment": {"executable": "/x", "cwd": "/", "env": {"A=B": "c"}}}, "invalid-params"),
        ("hello", {"environment": {"executable": "/x\0", "cwd": "/"}}, "invalid-params"),
    ],
)
def test_what_is_not_there_or_not_possible_is_refused(
    peer: Peer, method: str, params: dict[str, Any], code: str
) -> None:
    error = peer.error(method, **params)
    assert error["code"] == code
    assert error["message"]
    assert len(pack(error)) < 5000


def test_retry_of_a_job_that_ended_well_is_refused(peer: Peer) -> None:
    job = job_of(peer.result("submit", jobs=[call("good:echo", 1)], wait=30))
    assert peer.error("retry", ids=[job["id"]])["code"] == "illegal-move"


@pytest.mark.parametrize(
    "broken", [{"executable": "/no/such/python", "cwd": "/"}, {"executable": "/bin/true", "cwd": "/"}]
)
def test_an_environment_that_does_not_run_fails_its_jobs(peer: Peer, broken: dict[str, Any]) -> None:
    job = job_of(peer.result("submit", jobs=[call("math:sqrt", 4) | {"environment": broken}], wait=60))
    assert job["error"]["code"] == "environment-broken"
    assert broken["executable"] in job["error"]["message"]
    assert peer.result("submit", jobs=[call("math:sqrt", 4)], wait=60)["jobs"][0]["value"] == 2


# --- payload


def lengths(*values: int) -> bytes:
    return array("I", values).tobytes()


def pickled(function: str, frames: list[bytes], *, payload: int = 0, shape: str = "item") -> dict[str, Any]:
    counted = lengths(*map(len, frames))
    return {"pickle": {"function": function, "shape": shape, "lengths": counted, "payload": payload}}


@pytest.mark.parametrize(
    ("spec", "payload"),
    [
        ({"lengths": lengths(5)}, [b"four"]),
        ({"lengths": lengths(3)}, [b"four"]),
        ({"lengths": lengths(2**32 - 1, 5)}, [b"four"]),
        ({"lengths": b""}, [b"four"]),
        ({"lengths": b"123"}, [b"123"]),
        ({"lengths": lengths(4)}, []),
        ({"lengths": lengths(4), "payload": 1}, [b"four"]),
        ({"lengths": lengths(4), "payload": 2**63}, [b"four"]),
        ({"lengths": lengths(4), "shape": "round"}, [b"four"]),
    ],
)
def test_lengths_that_do_not_add_up_are_refused(peer: Peer, spec: dict[str, Any], payload: list[bytes]) -> None:
    error = peer.error("submit", payload, jobs=[{"pickle": {"function": "good:echo", "shape": "item"} | spec}])
    assert error["code"] == "invalid-params"


def test_a_mebibyte_of_random_bytes_comes_back_byte_for_byte(peer: Peer) -> None:
    noise = random.Random(5).randbytes(1 << 20)
    frame = pickle.dumps(noise, 5)
    peer.post("submit", 1, [frame], jobs=[pickled("good:echo", [frame])], wait=60)
    head, payload = peer.receive()
    job = job_of(head["result"])
    assert job["state"] == "done"
    assert pickle.loads(payload[job["payload"]]) == noise
    peer.post("result", 2, id=job["id"])
    head, again = peer.receive()
    assert again == payload
    assert head["result"]["job"]["payload"] == 0


def test_each_job_has_the_payload_frame_that_it_names(peer: Peer) -> None:
    frames = [[pickle.dumps(f"{name}{n}" * size, 5) for n in range(3)] for name, size in (("a", 1), ("b", 70_000))]
    jobs = [pickled("good:echo", frames[1], payload=1), pickled("good:echo", frames[0], payload=0)]
    peer.post("submit", 1, [b"".join(part) for part in frames], jobs=jobs, wait=60)
    head, payload = peer.receive()
    values = [pickle.loads(payload[job["payload"]]) for job in head["result"]["jobs"]]
    assert values == [f"b{n}" * 70_000 for n in range(3)] + [f"a{n}" for n in range(3)]


def test_a_pickle_that_is_none_fails_its_job_only(peer: Peer) -> None:
    good = pickle.dumps(7, 5)
    peer.post("submit", 1, [b"rubbish" + good], jobs=[pickled("good:echo", [b"rubbish", good])], wait=60)
    head, payload = peer.receive()
    states = [job["state"] for job in head["result"]["jobs"]]
    assert states == ["failed", "done"]
    assert pickle.loads(payload[head["result"]["jobs"][1]["payload"]]) == 7


def test_an_upload_must_be_what_it_says(peer: Peer) -> None:
    code = b"cloudpickled, perhaps"
    name = f"sha256:{hashlib.sha256(code).hexdigest()}"
    assert "digest" in peer.error("upload", [code + b"!"], function=name)["message"]
    assert peer.error("upload", [], function=name)["code"] == "invalid-params"
    assert peer.error("upload", [code, code], function=name)["code"] == "invalid-params"
    assert peer.error("upload", [code], function=name.upper())["code"] == "invalid-params"
    assert peer.result("upload", [code], function=name) == {"function": name}
    peer.post("submit", 1, [pickle.dumps(1)], jobs=[pickled(name, [pickle.dumps(1)])], wait=30)
    assert job_of(peer.receive()[0]["result"])["error"]["code"] == "function-not-found"


def test_a_function_that_was_not_uploaded_is_asked_for(peer: Peer) -> None:
    name = "sha256:" + "0" * 64
    error = peer.error("submit", [b"four"], jobs=[pickled(name, [b"four"])])
    assert error["code"] == "unknown-function"
    assert error["retryable"]
    assert error["data"] == {"function": name}


# --- waiting


class Gate:
    """A job that runs until it is let go."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spec = call("good:until", str(path))

    def wait_until_it_runs(self) -> None:
        wait_until(Path(f"{self.path}.begun").exists)

    def open(self) -> None:
        self.path.touch()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.open()


def test_a_wait_ends_with_its_time_and_tells_what_is_known(peer: Peer, gate: Gate) -> None:
    job = job_of(peer.result("submit", jobs=[gate.spec], wait=0))
    gate.wait_until_it_runs()
    assert job_of(peer.result("wait", ids=[job["id"]], timeout=0.02))["state"] == "running"
    late = peer.error("result", id=job["id"], timeout=0.02)
    assert late["code"] == "timeout"
    assert late["data"] == {"id": job["id"]}
    gate.open()
    assert job_of(peer.result("wait", ids=[job["id"]]))["state"] == "done"


def test_everybody_who_waits_for_a_job_is_told_and_a_slow_one_holds_nobody_up(
    lasting: RunningDaemon, gate: Gate
) -> None:
    peers = [Peer(lasting.endpoint) for _ in range(5)]
    job = job_of(peers[0].result("submit", jobs=[gate.spec]))
    for number, peer in enumerate(peers):
        for again in range(3):
            if number % 2:
                peer.post("wait", again, ids=[job["id"]])
            else:
                peer.post("result", again, id=job["id"])
        peer.post("ping", "meanwhile")
        assert peer.receive()[0]["id"] == "meanwhile"
    gate.open()
    for peer in peers:
        assert {peer.receive()[0]["id"] for _ in range(3)} == {0, 1, 2}
        peer.__exit__()


def test_a_client_that_dies_while_it_waits_harms_nobody(lasting: RunningDaemon, gate: Gate, peer: Peer) -> None:
    job = job_of(peer.result("submit", jobs=[gate.spec]))
    with Peer(lasting.endpoint, zmq.REQ) as doomed:
        doomed.post("result", id=job["id"])
    peer.post("result", 9, id=job["id"])
    gate.open()
    assert peer.receive()[0]["result"]["job"]["state"] == "done"


def test_a_stream_tells_its_results_in_parts_and_marks_the_last(peer: Peer) -> None:
    many = {"call": {"function": "good:echo", "many": [[n] for n in range(300)]}}
    peer.post("submit", "s", jobs=[many, call("good:echo", "last")], stream=True)
    values: dict[int, dict[int, Any]] = {0: {}, 1: {}}
    more = True
    while more:
        head, payload = peer.receive()
        assert head["id"] == "s"
        more = head.get("more", False)
        part = head["result"]
        if "jobs" in part:
            assert [job["count"] for job in part["jobs"]] == [300, 1]
            continue
        sizes = array("I", part["lengths"])
        assert len(sizes) == part["count"]
        assert sum(sizes) == len(payload[0])
        at = 0
        for offset, size in enumerate(sizes):
            values[part["spec"]][part["first"] + offset] = msgpack.unpackb(payload[0][at : at + size])
            at += size
    assert values == {0: {n: n for n in range(300)}, 1: {0: "last"}}
    assert "result" in peer.ask("ping", "after the stream")


@pytest.mark.parametrize("wait", [None, 0])
def test_a_stream_that_takes_its_time_tells_the_ids_first(peer: Peer, gate: Gate, wait: float | None) -> None:
    peer.post("submit", 1, jobs=[gate.spec], stream=True, wait=wait)
    head, _ = peer.receive()
    assert head["more"]
    job = job_of(head["result"])
    gate.open()
    head, (value,) = peer.receive()
    assert "more" not in head
    assert head["result"]["id"] == job["id"]
    assert msgpack.unpackb(value) > 1


def test_a_failure_in_a_stream_is_marked_in_its_length(peer: Peer) -> None:
    peer.post("submit", 1, jobs=[call("math:factorial", -1)], stream=True, wait=0)
    assert peer.receive()[0]["more"]
    head, (blob,) = peer.receive()
    (length,) = array("I", head["result"]["lengths"])
    assert length >> 31
    assert msgpack.unpackb(blob)["type"] == "ValueError"


def test_what_a_job_writes_can_be_followed(peer: Peer, gate: Gate) -> None:
    script = f"echo one; echo two >&2; while [ ! -e {gate.path} ]; do sleep 0.01; done; echo three"
    job = job_of(peer.result("submit", jobs=[{"command": {"argv": ["sh", "-c", script]}}]))
    written, ended = [b"", b""], False
    while not all(written):
        head, chunks = follow(peer, job["id"], written)
        written = [old + new for old, new in zip(written, chunks, strict=True)]
        assert not head["ended"]
    assert written == [b"one\n", b"two\n"]
    gate.open()
    while not ended:
        head, chunks = follow(peer, job["id"], written)
        written = [old + new for old, new in zip(written, chunks, strict=True)]
        ended = head["ended"]
    assert written == [b"one\nthree\n", b"two\n"]
    assert head["dropped"] == 0
    head, chunks = follow(peer, job["id"], [b"x" * 1000, b""])
    assert chunks == [b"", b"two\n"]
    assert head["next_out"] == 1000


def follow(peer: Peer, job: int, written: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    """What is new of a job's output."""
    peer.post("logs", 1, id=job, out=len(written[0]), err=len(written[1]), wait=30)
    head, chunks = peer.receive()
    return head["result"], chunks


# --- events


def subscribe(endpoint: str, topic: bytes = b"") -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
    socket.linger, socket.rcvtimeo = 0, 30_000
    socket.connect(endpoint)
    socket.subscribe(topic)
    return socket


def next_event(socket: zmq.Socket[bytes]) -> tuple[int, str, dict[str, Any]]:
    topic, packed = socket.recv_multipart()
    seq, _time, name, facts = msgpack.unpackb(packed)
    assert name.encode() == topic
    return seq, name, facts


def heard(daemon: RunningDaemon, socket: zmq.Socket[bytes]) -> None:
    """Return once events arrive: a subscription takes its time."""
    with Peer(daemon.endpoint) as peer:
        while not socket.poll(20):
            peer.result("submit", jobs=[call("math:sqrt", 1)], wait=30)


def test_after_a_snapshot_the_event_socket_loses_nothing(daemon: RunningDaemon) -> None:
    socket = subscribe(daemon.result("status")["daemon"]["events"])
    heard(daemon, socket)
    with Peer(daemon.endpoint) as peer:
        before = peer.result("status")["seq"]
        peer.result("start", kind="pool", name="extra", workers=1)
        for n in range(20):
            peer.result("submit", jobs=[call("math:sqrt", n)], wait=30)
        peer.result("stop", names=["extra"])
        after = peer.result("status")["seq"]
        events: list[tuple[int, str, dict[str, Any]]] = []
        while not events or events[-1][0] < after:
            event = next_event(socket)
            if event[0] > before:
                events.append(event)
        assert [seq for seq, *_ in events][: after - before] == list(range(before + 1, after + 1))
        asked = peer.result("events", after=before, limit=1000)
        assert not asked["gap"]
        assert [(seq, name) for seq, name, _ in asked["events"]][: len(events)] == [
            (seq, name) for seq, name, _ in events
        ]
        topics = {name for _, name, _ in events}
        assert {"job.queued", "job.started", "job.ended", "pool.changed"} <= topics
    socket.close()


def test_a_subscriber_hears_only_what_it_asked_for(daemon: RunningDaemon) -> None:
    socket = subscribe(daemon.result("status")["daemon"]["events"], b"job.ended")
    heard(daemon, socket)
    daemon.result("submit", jobs=[call("math:sqrt", 4)], wait=30)
    while socket.poll(0):
        assert next_event(socket)[1] == "job.ended"
    socket.close()


def test_events_that_are_no_longer_remembered_are_a_gap(small: RunningDaemon) -> None:
    with Peer(small.endpoint) as peer:
        for n in range(5):
            peer.result("submit", jobs=[call("math:sqrt", n)], wait=30)
        told = peer.result("events", after=0)
        assert told["gap"]
        assert len(told["events"]) == 5
        last = told["events"][-1][0]
        assert last == told["seq"]
        assert peer.result("events", after=last) == {"events": [], "seq": last, "gap": False}


def test_rubbish_sent_to_the_event_socket_does_no_harm(daemon: RunningDaemon) -> None:
    with zmq.Context() as context, context.socket(zmq.XSUB) as rude:
        rude.linger = 0
        rude.connect(daemon.result("status")["daemon"]["events"])
        for word in (b"", b"\x02rubbish", b"\x00never subscribed", b"\x01" + b"x" * 10_000):
            rude.send(word)
            rude.send_multipart([word, b"\x01more"])
    socket = subscribe(daemon.result("status")["daemon"]["events"])
    heard(daemon, socket)
    socket.close()


# --- sessions


CLIENT = """
import sys, msgpack, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.connect(sys.argv[1])
for line in sys.stdin.buffer:
    socket.send_multipart([b"", bytes.fromhex(line.decode())])
    print(socket.recv_multipart()[1].hex(), flush=True)
"""


class Client:
    """A client in a process of its own, which can be killed."""

    def __init__(self, endpoint: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, endpoint], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, method: str, **params: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(pack({"id": 1, "method": method, "params": params}).hex().encode() + b"\n")
        self.process.stdin.flush()
        assert select.select([self.process.stdout], [], [], 30)[0]
        return msgpack.unpackb(bytes.fromhex(self.process.stdout.readline().decode()))["result"]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def client(daemon: RunningDaemon) -> Iterator[Client]:
    client = Client(daemon.endpoint)
    yield client
    if client.process.poll() is None:
        client.kill()


def no_session_left(daemon: RunningDaemon) -> bool:
    return bool(daemon.result("status")["daemon"]["sessions"] == 0)


def test_hello_tells_who_answers_and_bye_ends_the_session(daemon: RunningDaemon) -> None:
    with Peer(daemon.endpoint) as peer:
        said = peer.result("hello", client="a test", pid=os.getpid())
        assert said["protocol"] == 1
        assert said["pid"] == daemon.pid
        assert said["limits"]["frames"] == 64
        assert peer.result("hello", client="again")["session"] == said["session"]
        assert peer.result("status")["daemon"]["sessions"] == 1
        assert peer.result("bye") == {}
        assert peer.result("status")["daemon"]["sessions"] == 0
        assert peer.result("bye") == {}
        topics = [(topic, facts.get("session")) for _, topic, facts in peer.result("events", limit=1000)["events"]]
        assert ("session.opened", said["session"]) in topics
        assert ("session.closed", said["session"]) in topics


@pytest.mark.parametrize("policy", ["cancel", "keep"])
def test_the_death_of_a_client_ends_its_session_and_its_jobs_as_it_had_said(
    daemon: RunningDaemon, client: Client, policy: str, home: Path, tmp_path: Path
) -> None:
    where = {"executable": sys.executable, "cwd": str(home), "path": [str(home), *sys.path[1:]]}
    client.ask("hello", on_disconnect=policy, environment=where)
    gates = [Gate(tmp_path / str(n)) for n in range(4)]
    ids = [job["id"] for job in client.ask("submit", jobs=[gate.spec for gate in gates])["jobs"]]
    for gate in gates[:2]:
        gate.wait_until_it_runs()
    client.kill()
    wait_until(lambda: no_session_left(daemon))
    if policy == "keep":
        for gate in gates:
            gate.open()
    states = {job["state"] for job in daemon.result("wait", ids=ids)["jobs"]}
    assert states == ({"cancelled"} if policy == "cancel" else {"done"})
    closed = [facts["reason"] for _, topic, facts in daemon.result("events", limit=1000)["events"] if "closed" in topic]
    assert closed == ["its process has ended"]
    job = daemon.result("submit", jobs=[call("math:sqrt", 4)], wait=30)["jobs"][0]
    assert job["value"] == 2


def test_a_burner_that_is_owned_ends_with_its_client_and_another_does_not(
    daemon: RunningDaemon, client: Client
) -> None:
    client.ask("hello")
    mine = client.ask("start", **(START | {"name": "mine", "load": 5, "owned": True}))["pids"]
    client.ask("start", **(START | {"name": "ours", "load": 5}))
    client.kill()
    wait_until(lambda: [burner["name"] for burner in daemon.result("status")["burners"]] == ["ours"])
    wait_until(lambda: not alive(set(mine)))
    assert daemon.error("start", **(START | {"name": "nobody", "owned": True}))["code"] == "invalid-params"
    daemon.result("stop", all=True)


def test_a_client_beyond_the_limit_is_told_so_and_served_without_a_session(
    start_daemon: Callable[..., RunningDaemon],
) -> None:
    daemon = start_daemon(config="[limits]\nsessions = 1\n[pool.default]\nworkers = 1\n")
    with Peer(daemon.endpoint) as first, Peer(daemon.endpoint) as second:
        first.result("hello")
        error = second.error("hello")
        assert error["code"] == "too-many-sessions"
        assert error["retryable"]
        assert "result" in second.ask("ping")
        first.result("bye")
        second.result("hello")


# --- peers that behave badly


def test_a_peer_that_never_reads_holds_nobody_up(lasting: RunningDaemon) -> None:
    with Peer(lasting.endpoint, options={zmq.RCVHWM: 1, zmq.SNDHWM: 0}) as deaf, Peer(lasting.endpoint) as other:
        for number in range(10_000):
            deaf.post("status", number)
            if number % 1000 == 0:
                assert "result" in other.ask("ping", number)
        assert "result" in other.ask("ping")
        assert [deaf.receive()[0]["id"] for _ in range(10_000)] == list(range(10_000))


def descriptors(pid: int) -> int:
    """How many it has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x26\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER\x08Identity" + bytes(4)


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        random.Random(1).randbytes(4096),
        b"\xff" * 100,
        GREETING[:11],
        GREETING[:-1],
        GREETING,
        GREETING + b"\x04\xff",
        GREETING + READY[:-5],
        GREETING + READY + b"\x02" + b"\xff" * 8,
        GREETING + READY + b"\x01\x05hello",
        GREETING + READY + b"\x00\x00",
    ],
    ids=range(12),
)
def test_what_is_not_even_zmtp_leaves_no_trace(lasting: RunningDaemon, rubbish: bytes) -> None:
    lasting.call("ping")
    before = descriptors(lasting.pid)
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(lasting.path))
            raw.sendall(rubbish)
    assert "result" in lasting.call("ping")
    wait_until(lambda: descriptors(lasting.pid) <= before)


def test_a_thousand_connections_leave_no_descriptor_behind(lasting: RunningDaemon) -> None:
    lasting.call("ping")
    before = descriptors(lasting.pid)
    for _ in range(1000):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(lasting.path))
    assert "result" in lasting.call("ping")
    wait_until(lambda: descriptors(lasting.pid) <= before)


def test_a_second_daemon_is_refused_and_the_first_does_not_notice(lasting: RunningDaemon, short_path: Path) -> None:
    second = RunningDaemon(short_path / "second", "--socket", lasting.endpoint)
    assert second.process.wait(30) == 69
    assert second.ready["error"]["code"] == "endpoint-in-use"
    assert second.ready["error"]["hint"]
    assert "result" in lasting.call("ping")
    assert lasting.path.exists()


def test_a_daemon_that_ends_answers_whoever_waits(daemon: RunningDaemon, tmp_path: Path) -> None:
    with Peer(daemon.endpoint) as peer:
        wait = peer.result("submit", jobs=[{"command": {"argv": ["sleep", "600"]}}])["jobs"][0]["id"]
        peer.post("result", 1, id=wait)
        peer.post("shutdown", 2, grace=0)
        answers = {head["id"]: head for head in (peer.receive()[0], peer.receive()[0])}
        assert answers[2]["result"]["pid"] == daemon.pid
        assert "error" in answers[1] or answers[1]["result"]["job"]["state"] != "running"
    assert daemon.process.wait(30) == 0


def test_it_answers_in_the_end_and_has_logged_no_bug(lasting: RunningDaemon) -> None:
    assert "result" in lasting.call("ping")
    assert "a handler failed" not in lasting.log
    assert "a bug in the daemon" not in lasting.log
    assert lasting.process.poll() is None
