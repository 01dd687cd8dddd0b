"""What a head says is checked against the struct of its method, and the refusal helps."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from stoker.errors import InvalidParams, MalformedMessage, StokerError, UnknownMethod, UnsupportedVersion
from stoker.protocol import codec, typed
from stoker.protocol.methods import METHODS
from stoker.protocol.models import JobInfo
from stoker.protocol.requests import CallSpec, JobSpec, Ping, StartBurner, Submit, SubmitReply
from stoker.protocol.states import JobState


def head(method: Any = "ping", params: Any = None, **more: Any) -> dict[str, Any]:
    return {"v": 1, "id": 1, "method": method, "params": {} if params is None else params} | more


def refused(request: dict[str, Any]) -> StokerError:
    with pytest.raises(StokerError) as caught:
        typed.decode_request(request)
    codec.encode_error(1, caught.value.to_wire())
    return caught.value


def test_version_and_parameters_may_be_left_out() -> None:
    assert typed.decode_request({"id": "x", "method": "ping"}) == Ping()


@pytest.mark.parametrize("version", [0, 2, -1, 2**64 - 1, "1", 1.0, True, None, [], {}, b"1"])
def test_another_version_is_refused_and_told_which_is_spoken(version: Any) -> None:
    error = refused(head(v=version))
    assert isinstance(error, UnsupportedVersion)
    assert "version 1" in error.hint


@pytest.mark.parametrize("bad", [None, True, 1.5, [], {}, b"x", "x" * 129, math.nan])
def test_an_id_must_be_an_integer_or_a_short_string(bad: Any) -> None:
    assert isinstance(refused(head(id=bad)), MalformedMessage)
    assert typed.request_id({"id": bad}) is None


@pytest.mark.parametrize("good", [0, -1, 2**64 - 1, "", "x" * 128])
def test_ids_are_integers_and_strings(good: Any) -> None:
    assert typed.request_id({"id": good}) == good
    assert typed.decode_request(head(id=good)) == Ping()


@pytest.mark.parametrize(("wrong", "right"), [("methd", "method"), ("parms", "params"), ("Id", "id")])
def test_the_hint_names_the_nearest_key_of_a_request(wrong: str, right: str) -> None:
    error = refused(head(**{wrong: 1}))
    assert isinstance(error, MalformedMessage)
    assert wrong in error.message
    assert right in error.hint


@pytest.mark.parametrize(
    ("wrong", "right"), [("pong", "ping"), ("submitt", "submit"), ("staus", "status"), ("lock.aquire", "lock.acquire")]
)
def test_the_hint_names_the_nearest_method(wrong: str, right: str) -> None:
    error = refused(head(wrong))
    assert isinstance(error, UnknownMethod)
    assert wrong in error.message
    assert f'"{right}"' in error.hint


@pytest.mark.parametrize("method", ["", "x" * 1_000_000, 5, None, [], {}, b"ping", 1.5, ["ping"], "ping\0", "PING "])
def test_a_method_that_is_none_gets_a_short_answer_with_a_hint(method: Any) -> None:
    error = refused(head(method))
    assert isinstance(error, UnknownMethod)
    assert len(error.message) < 200
    assert error.hint


def deep(depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("key", ["v", "id", "method", "params"])
@pytest.mark.parametrize("depth", [500, 1000, 5000])
def test_deep_nesting_anywhere_is_refused(key: str, depth: int) -> None:
    assert refused(head(**{key: deep(depth)})).message


@pytest.mark.parametrize(
    ("method", "params", "right"),
    [
        ("start", {"kind": "burner", "name": "x", "load": 5, "worker": 2}, "workers"),
        ("start", {"kind": "burner", "name": "x", "laod": 5}, "load"),
        ("submit", {"jobs": [{"cal": {}}]}, "call"),
        ("submit", {"jobs": [{"call": {"functoin": "a:b"}}]}, "function"),
        ("wait", {"id": [1]}, "ids"),
        ("hello", {"environment": {"executable": "/x", "cdw": "/"}}, "cwd"),
    ],
)
def test_the_hint_names_the_nearest_field(method: str, params: dict[str, Any], right: str) -> None:
    error = refused(head(method, params))
    assert isinstance(error, InvalidParams)
    assert f'"{right}"' in error.hint
    assert error.message.startswith(f"{method}: ")


@pytest.mark.parametrize(
    ("method", "params", "words"),
    [
        ("start", {"kind": "burnr", "name": "x", "load": 5}, ["burner", "process", "pool"]),
        ("start", {"name": "x"}, ["burner", "process", "pool"]),
        ("hello", {"on_disconnect": "cancle"}, ["keep", "cancel"]),
        ("jobs", {"states": ["done", "runing"]}, ["running", "done"]),
        ("start", {"kind": "burner", "name": "x", "load": 5, "of": "machin"}, ["machine"]),
    ],
)
def test_the_hint_names_the_words_that_are_allowed(method: str, params: dict[str, Any], words: list[str]) -> None:
    error = refused(head(method, params))
    assert isinstance(error, InvalidParams)
    assert all(word in error.hint for word in words)


BURNER = {"kind": "burner", "name": "heat", "load": 50}


@pytest.mark.parametrize(
    ("method", "params", "where"),
    [
        ("start", BURNER | {"load": 100.1}, "load"),
        ("start", BURNER | {"load": -1}, "load"),
        ("start", BURNER | {"load": math.nan}, "load"),
        ("start", BURNER | {"load": "50"}, "load"),
        ("start", BURNER | {"load": True}, "load"),
        ("start", BURNER | {"workers": 0}, "workers"),
        ("start", BURNER | {"workers": 10_000}, "workers"),
        ("start", BURNER | {"workers": 1.5}, "workers"),
        ("start", BURNER | {"seconds": 0}, "seconds"),
        ("start", BURNER | {"seconds": math.nan}, "seconds"),
        ("start", BURNER | {"cpus": [-1]}, "cpus"),
        ("start", BURNER | {"nice": 20}, "nice"),
        ("start", BURNER | {"name": ""}, "name"),
        ("start", BURNER | {"name": "a b"}, "name"),
        ("start", BURNER | {"name": "heat\n"}, "name"),
        ("start", BURNER | {"name": "-x"}, "name"),
        ("start", BURNER | {"name": "x" * 129}, "name"),
        ("upload", {"function": "sha256:" + "0" * 64 + "\n"}, "function"),
        ("wait", {"ids": []}, "ids"),
        ("wait", {"ids": [0]}, "ids"),
        ("wait", {"ids": [1], "timeout": math.nan}, "timeout"),
        ("submit", {"jobs": []}, "jobs"),
        ("submit", {"jobs": [{"priority": 101}]}, "priority"),
        ("submit", {"jobs": [{"timeout": 0}]}, "timeout"),
        ("cancel", {"ids": [1], "grace": -1}, "grace"),
        ("status", {"names": "heat"}, "names"),
        ("ping", [], "ping"),
        ("ping", None, "ping"),
    ],
)
def test_a_wrong_value_is_refused_and_the_message_says_where(method: str, params: Any, where: str) -> None:
    error = refused({"id": 1, "method": method, "params": params})
    assert isinstance(error, InvalidParams)
    assert where in error.message
    assert error.data == {"method": method}


def test_a_refusal_does_not_echo_a_megabyte() -> None:
    for params in ({"x" * 1_000_000: 1}, {"on_disconnect": "x" * 1_000_000}):
        assert len(codec.encode_error(1, refused(head("hello", params)).to_wire())[1]) < 2000


def test_good_parameters_make_the_struct_of_their_method() -> None:
    assert isinstance(typed.decode_request(head("start", BURNER)), StartBurner)
    many = typed.decode_request(head("submit", {"jobs": [{"call": {"function": "m:f", "many": [[1], [2]]}}]}))
    assert isinstance(many, Submit)


def test_a_value_as_deep_as_messagepack_allows_is_told_whole() -> None:
    job = JobInfo(id=5, state=JobState.DONE, name="f", pool="default", form="call", value=deep(1010))
    told = typed.to_map(SubmitReply(jobs=(job, job)))
    (first, second) = told["jobs"]
    assert first.pop("value") is second.pop("value") is job.value
    assert codec.unpack(codec.pack(first))["state"] == "done"
    assert typed.decode(first, JobInfo, what="job") == msgspec.structs.replace(job, value=msgspec.UNSET)
    call = CallSpec(function="m:f", args=[deep(1010)])
    head = {"id": 1, "method": "submit", "params": typed.encode_params(Submit(jobs=[JobSpec(call=call)]))}
    request = typed.decode_request(codec.unpack(codec.pack(head)))
    assert isinstance(request, Submit)
    assert request.jobs[0].call is not None


def test_nearest_is_silent_where_nothing_is_near() -> None:
    assert typed.nearest("qqqqqqqq", METHODS) == ""
    assert typed.nearest("x" * 10_000_000, METHODS) == ""


def submit_head(number: int, **spec: Any) -> bytes:
    work = {"function": "builtins:abs", "lengths": b"\x05\0\0\0"}
    return codec.pack(
        {"id": number, "method": "submit", "params": {"jobs": [{"pickle": work, **spec}], "stream": True}}
    )


def test_like_submits_are_decoded_once_and_keep_their_own_ids() -> None:
    first, second = typed.quick_request(submit_head(1)), typed.quick_request(submit_head(2))
    assert first is not None
    assert second is not None
    assert (first[0], second[0]) == (1, 2)
    assert first[1] is second[1]


@pytest.mark.parametrize(
    "spec", [{"key": "once"}, {"environment": {"executable": "/usr/bin/python3", "cwd": "/", "env": {"TOKEN": "x"}}}]
)
def test_of_a_submit_with_a_key_or_an_environment_nothing_is_remembered(spec: dict[str, Any]) -> None:
    first, second = typed.quick_request(submit_head(1, **spec)), typed.quick_request(submit_head(2, **spec))
    assert first is not None
    assert second is not None
    assert first[1] == second[1]
    assert first[1] is not second[1]


def test_what_is_remembered_of_submits_is_bounded() -> None:
    for number in range(3 * typed.REMEMBERED):
        assert typed.quick_request(submit_head(1, name=f"job {number}")) is not None
    assert len(typed._remembered) <= typed.REMEMBERED
    large = codec.pack(
        {
            "id": 1,
            "method": "submit",
            "params": {"jobs": [{"pickle": {"function": "a:b", "lengths": bytes(4 * typed.MAX_REMEMBERED)}}]},
        }
    )
    before = dict(typed._remembered)
    assert typed.quick_request(large) is not None
    assert typed._remembered == before
