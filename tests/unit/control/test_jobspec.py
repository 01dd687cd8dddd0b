"""What a submit asks for: every refusal, before anything is queued."""

from __future__ import annotations

import hashlib
from array import array
from types import SimpleNamespace
from typing import Any

import pytest

from stoker.errors import InvalidParams, NoSuchJob, NoSuchPool, StokerError, UnknownFunction
from stoker.protocol import typed
from stoker.protocol.models import Environment
from stoker.protocol.requests import Initializer, Submit, Upload
from stokerd.control.caller import Caller, Session
from stokerd.control.jobspec import SHOWN_OF_CIRCLE, beginning_of, check_upload, orders_of
from stokerd.pool.batch import Batch, Function
from stokerd.pool.settings import PoolSettings
from stokerd.pool.tags import of_session

DEFAULT = Environment(executable="/usr/bin/python3", cwd="/")
CALL = {"call": {"function": "math:factorial", "args": [3]}}
COMMAND = {"command": {"argv": ["true"]}}
CODE = b"code"
UPLOADED = f"sha256:{hashlib.sha256(CODE).hexdigest()}"


class Parts:
    """As much of a daemon as a submit is checked against: one pool, job 7, the key ``known``, one function."""

    def __init__(self, *, can_keep: bool = True) -> None:
        self.config = SimpleNamespace(limits=SimpleNamespace(jobs_per_request=100_000))
        self.forker = SimpleNamespace(default=DEFAULT)
        self.functions = self.pools = self
        self.can_keep = can_keep
        self.job = _job()

    def get(self, name: str) -> Any:
        if name != "default":
            raise NoSuchPool(f"there is no pool {name!r}")
        return SimpleNamespace(settings=PoolSettings(workers=1, result_ttl=50.0))

    def find(self, *what: Any) -> Any:
        if what == (7,):
            return self.job, 0
        if what == ("s1", UPLOADED):
            return Function(UPLOADED.encode(), CODE, "f")
        raise NoSuchJob("there is no such job") if len(what) == 1 else UnknownFunction("it was not uploaded")

    def with_key(self, key: str) -> Batch | None:
        return self.job if key == "known" else None


def _job() -> Batch:
    lengths = array("I", [0])
    return Batch(name="f", pool="", session="", form=0, template=b"", lengths=lengths, blob=b"", environment=DEFAULT)


def orders(*jobs: dict[str, Any], payload: tuple[bytes, ...] = (), most: int | None = None, **request: Any) -> Any:
    session = Session(id="s1", most=most, weight=2.0)
    parts: Any = request.pop("parts", None) or Parts()
    asked = typed.decode({"jobs": list(jobs), **request}, Submit, what="submit")
    return orders_of(parts, Caller(session, payload), asked)


def pickled(function: str = "math:sqrt", *, lengths: bytes | None = None, payload: int = 0) -> dict[str, Any]:
    lengths = array("I", [3]).tobytes() if lengths is None else lengths
    return {"pickle": {"function": function, "shape": "item", "lengths": lengths, "payload": payload}}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "none of call"),
    (CALL | COMMAND, "call and command"),
    ({"call": {"function": "math.factorial"}}, 'did you mean "math:factorial"'),
    ({"call": {"function": "math:1st"}}, "does not name a function"),
    ({"call": {"function": "math:factorial", "many": []}}, "many is empty"),
    ({"call": {"function": "math:factorial", "args": [1], "many": [[1]]}}, "both args and many"),
    (pickled(payload=1), "frame 1 is named"),
    (pickled(lengths=b""), "not an array"),
    (pickled(lengths=b"12345"), "not an array"),
    (pickled(lengths=array("I", [4]).tobytes()), "add up to 4"),
    (pickled("sqrt"), "does not name a function"),
    ({"command": {"argv": [""]}}, "name is empty"),
    ({"command": {"argv": ["a\0b"]}}, "zero byte"),
    ({"command": {"argv": ["a"], "cwd": "here"}}, "not an absolute path"),
    ({"command": {"argv": ["a"], "env": {"A=B": "1"}}}, "environment variable"),
    (CALL | {"delay": 1.0, "at": 2.0}, "both delay and at"),
    (CALL | {"tags": ["a", "a"]}, "given twice"),
    (CALL | {"after": ["#1"]}, "has 1 entries"),
    (CALL | {"after": ["#x"]}, "has 1 entries"),
    (CALL | {"after": ["#"]}, "has 1 entries"),
    (CALL | {"after": ["#-1"]}, "has 1 entries"),
    (CALL | {"after": ["#" + "9" * 255]}, "has 1 entries"),
    (CALL | {"after": ["#0"]}, "#0 → #0"),
    (CALL | {"key": "me", "after": ["me"]}, "#0 → #0"),
    (CALL | {"environment": {"executable": "python3", "cwd": "/"}}, "executable 'python3' is not an absolute"),
    (CALL | {"environment": {"executable": "/x", "cwd": "."}}, "cwd '.' is not an absolute"),
    (CALL | {"environment": {"executable": "/x", "cwd": "/", "path": ["a\0"]}}, "zero byte"),
    (CALL | {"environment": {"executable": "/x", "cwd": "/", "env": {"": "1"}}}, "environment variable"),
]


@pytest.mark.parametrize(("job", "why"), REFUSED, ids=[why for _, why in REFUSED])
def test_an_entry_that_can_t_be_run_as_it_is_is_refused_with_the_reason(job, why):
    with pytest.raises(InvalidParams) as refusal:
        orders(job, payload=(b"abc",))
    assert why in f"{refusal.value.message} {refusal.value.hint}"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("slots", 0),
        ("tags", ["no spaces"]),
        ("tags", [""]),
        ("tags", ["a\n"]),
        ("delay", -1.0),
        ("at", -1.0),
        ("after_end", "never"),
        ("retries", -1),
        ("backoff", -0.1),
        ("retry_on", [""]),
        ("on_crash", "ignore"),
        ("key", ""),
        ("durable", "maybe"),
        ("priority", 101),
        ("timeout", 0),
        ("colour", "red"),
    ],
)
def test_a_field_outside_its_limits_is_refused_by_name(field, value):
    with pytest.raises(InvalidParams, match=field):
        orders(CALL | {field: value})


@pytest.mark.parametrize(
    ("job", "error"),
    [
        (CALL | {"pool": "other"}, NoSuchPool),
        (CALL | {"after": [8]}, NoSuchJob),
        (CALL | {"after": ["unknown"]}, NoSuchJob),
        (pickled("sha256:" + "0" * 64), UnknownFunction),
    ],
)
def test_what_is_not_there_is_named(job: dict[str, Any], error: type[StokerError]):
    with pytest.raises(error):
        orders(job, payload=(b"abc",))


def test_more_jobs_than_a_request_may_hold_are_refused():
    many = {"call": {"function": "math:sqrt", "many": [[1]] * 100_000}}
    assert orders(many)[0].batch.count == 100_000
    with pytest.raises(InvalidParams, match="100001 jobs"):
        orders(many, CALL)


# --- circles


@pytest.mark.parametrize(
    ("afters", "circle"),
    [
        ([["#1"], ["#0"]], "#0 → #1 → #0"),
        ([[], ["#2"], ["#3"], ["#1"]], "#1 → #2 → #3 → #1"),
        ([["#1", "#2"], ["#2"], ["#1"]], "#1 → #2 → #1"),
    ],
)
def test_entries_that_wait_for_each_other_are_refused_with_the_circle(afters, circle):
    with pytest.raises(InvalidParams) as refusal:
        orders(*(CALL | {"after": after} for after in afters))
    assert refusal.value.message.endswith(circle)


def test_entries_that_meet_again_are_no_circle():
    jobs = [CALL | {"after": after} for after in (["#1", "#2"], ["#3"], ["#3"], [])]
    before = [{batch for batch, _ in order.before} for order in orders(*jobs)]
    assert [len(others) for others in before] == [2, 1, 1, 0]


def test_a_chain_may_be_longer_than_python_s_stack():
    length = 5000
    chain = orders(*(CALL | {"after": [f"#{number + 1}"]} for number in range(length - 1)), CALL)
    assert chain[0].before == ((chain[1].batch, 0),)
    with pytest.raises(InvalidParams) as refusal:
        orders(*(CALL | {"after": [f"#{(number + 1) % length}"]} for number in range(length)))
    assert refusal.value.message.count("#") == SHOWN_OF_CIRCLE
    assert refusal.value.message.endswith("… → #0")


# --- what is meant


def test_every_job_of_what_is_named_comes_first():
    many = {"call": {"function": "math:sqrt", "many": [[1], [2]]}, "key": "mine"}
    parts = Parts()
    first, second = orders(many, CALL | {"after": ["#0", "mine", 7, "known"]}, parts=parts)
    own = [(first.batch, 0), (first.batch, 1)]
    assert list(second.before) == [*own, *own, (parts.job, 0), (parts.job, 0)]
    assert first.before == ()


@pytest.mark.parametrize(
    ("job", "can_keep", "durable"),
    [
        (CALL, True, False),
        (COMMAND, True, True),
        (COMMAND, False, False),
        (CALL | {"key": "k"}, True, True),
        (CALL | {"key": "k"}, False, False),
        (CALL | {"durable": True}, False, True),
        (COMMAND | {"durable": False}, True, False),
        (CALL | {"durable": "if-possible"}, True, True),
    ],
)
def test_what_is_durable_where_nobody_says_so(job, can_keep, durable):
    (order,) = orders(job, parts=Parts(can_keep=can_keep))
    assert order.batch.options.durable is durable


def test_what_is_asked_for_arrives():
    asked = {"slots": 2, "tags": ["a"], "retries": 3, "backoff": 1.0, "backoff_most": 9.0, "retry_on": ["failed"]}
    (order,) = orders(CALL | asked | {"on_crash": "requeue", "delay": 4.0, "after_end": "any", "after": [7]})
    options = order.batch.options
    assert {name: getattr(options, name) for name in asked} == asked | {"tags": ("a",), "retry_on": ("failed",)}
    assert (options.requeue, options.delay, options.after_any) == (True, 4.0, True)
    assert order.batch.weight == 2.0


def test_a_session_with_a_bound_of_its_own_has_a_tag_for_it():
    (order,) = orders(CALL | {"tags": ["a"]}, most=3)
    assert order.batch.tags == ("a", of_session("s1"))
    assert order.batch.options.tags == ("a",)


@pytest.mark.parametrize(
    ("job", "stream", "keep"),
    [(CALL, False, 50.0), (CALL, True, 0.0), (CALL | {"key": "k"}, True, 50.0), (CALL | {"ttl": 3.0}, True, 3.0)],
)
def test_values_are_kept_where_somebody_may_ask_for_them(job, stream, keep):
    (order,) = orders(job, stream=stream)
    assert order.batch.keep == keep


# --- functions


@pytest.mark.parametrize("payload", [(), (CODE, CODE)])
def test_an_upload_is_one_frame(payload):
    with pytest.raises(InvalidParams, match="payload frames"):
        check_upload(Caller(Session(id="s1"), payload), Upload(function=UPLOADED))


def test_an_upload_is_what_its_name_says():
    assert check_upload(Caller(Session(id="s1"), (CODE,)), Upload(function=UPLOADED)) == CODE
    with pytest.raises(InvalidParams, match="digest"):
        check_upload(Caller(Session(id="s1"), (b"other",)), Upload(function=UPLOADED))


@pytest.mark.parametrize(
    "asked",
    [
        {},
        CALL | pickled(),
        {"call": {"function": "math:sqrt", "many": [[1], [2]]}},
        pickled(),
    ],
)
def test_an_initializer_is_one_call_of_one_function(asked):
    parts: Any = Parts()
    with pytest.raises(InvalidParams):
        beginning_of(parts, Caller(Session(id="s1"), (b"abc",)), typed.decode(asked, Initializer, what="start"))
